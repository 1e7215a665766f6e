"""What a row of a ranking is of: the whole encoder, which layer of it, and which weights."""

from __future__ import annotations

from typing import NamedTuple

from transferability.encoders import Encoder, FeatureFiles, OutputView
from transferability.encoders.identity import hash_json

__all__ = ["WholeEncoder", "base_of", "weights_hash", "whole_encoder"]

_HEX = 16


class WholeEncoder(NamedTuple):
    """Fields of `Ranked`.

    Attributes
    ----------
    base_encoder, layer : str or None
        Names of the encoder and of its layer; None where the row is of the encoder itself.
    weights_hash : str or None
    """

    base_encoder: str | None
    layer: str | None
    weights_hash: str | None


def whole_encoder(view: Encoder | FeatureFiles) -> WholeEncoder:
    """Return what an encoder, or a layer of one, is of."""
    layer = view.output if isinstance(view, OutputView) else None
    return WholeEncoder(None if layer is None else base_of(view).name, layer, weights_hash(view))


def base_of(encoder: Encoder | FeatureFiles) -> Encoder | FeatureFiles:
    """Return the encoder that has the weights: of a layer the one that it is a layer of."""
    return encoder.base if isinstance(encoder, OutputView) else encoder


def weights_hash(encoder: Encoder | FeatureFiles) -> str | None:
    """Return what two names of one model have in common; None of what has no weights, or cannot tell.

    It is a hash of the weights and of how features are taken from them. Names, paths and versions are left out.
    """
    base = base_of(encoder)
    identity = None if isinstance(base, FeatureFiles) else base.identity()
    if identity is None or identity.get("weights") is None:
        return None
    return hash_json([identity.get(name) for name in ("weights", "output", "pooling")])[:_HEX]
