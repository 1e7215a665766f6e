"""Encoders asked to compile their network."""

from __future__ import annotations

from transferability.encoders.base import Encoder
from transferability.encoders.precomputed import FeatureFiles
from transferability.errors import OptionError

__all__ = ["compiled"]


def compiled(encoder: Encoder | FeatureFiles) -> Encoder | FeatureFiles:
    """Return an encoder that was asked to compile its network, by a method `compile()`.

    Raises
    ------
    OptionError
        If it has none: it does not run in torch, or is code of somebody's own.
    """
    compile_network = getattr(encoder, "compile", None)
    if compile_network is None:
        message = f"`compile` must be left out for encoder {encoder.name!r}, which has no network of torch that is "
        raise OptionError(message + "known here; got True.")
    compile_network()
    return encoder
