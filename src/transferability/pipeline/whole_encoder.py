"""What a row of a ranking is of: the whole encoder, which layer of it, and which model."""

from __future__ import annotations

from typing import NamedTuple

from transferability.encoders import Encoder, FeatureFiles, OutputView
from transferability.encoders.identity import hash_json

__all__ = ["WholeEncoder", "base_of", "model_hash", "whole_encoder"]

_HEX = 16
_OURS = "transferability."
_OF_THE_PLACE = frozenset({"source", "versions", "device"})


class WholeEncoder(NamedTuple):
    """Fields of `Ranked`.

    Attributes
    ----------
    base_encoder, layer : str or None
        Names of the encoder and of its layer; None where the row is of the encoder itself.
    model_hash : str or None
    """

    base_encoder: str | None
    layer: str | None
    model_hash: str | None


def whole_encoder(view: Encoder | FeatureFiles) -> WholeEncoder:
    """Return what an encoder, or a layer of one, is of."""
    layer = view.output if isinstance(view, OutputView) else None
    return WholeEncoder(None if layer is None else base_of(view).name, layer, model_hash(view))


def base_of(encoder: Encoder | FeatureFiles) -> Encoder | FeatureFiles:
    """Return the encoder that has the weights: of a layer the one that it is a layer of."""
    return encoder.base if isinstance(encoder, OutputView) else encoder


def model_hash(encoder: Encoder | FeatureFiles) -> str | None:
    """Return what two names of one model have in common; None of what has no weights, or cannot tell.

    It is a hash of the whole identity: equal tensors make another model at another input size, or with another
    activation. Where the encoder was loaded from, on which device, and versions are left out.
    """
    base = base_of(encoder)
    identity = None if isinstance(base, FeatureFiles) else base.identity()
    weights = identity.get("weights") if isinstance(identity, dict) else None
    if identity is None or not isinstance(weights, str | dict | list) or not weights:
        return None
    kind = type(base)
    # What the keys of an encoder of somebody else mean is not known: two that differ in any are two models.
    left_out = _OF_THE_PLACE if kind.__module__.startswith(_OURS) else frozenset[str]()
    told = {name: value for name, value in identity.items() if name not in left_out}
    try:
        return hash_json([f"{kind.__module__}.{kind.__qualname__}", told])[:_HEX]
    except (TypeError, ValueError, RecursionError):  # no JSON values
        return None
