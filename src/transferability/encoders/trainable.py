"""Which encoders can be fine-tuned: those that run in torch, and those that can be turned into such."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from transferability.encoders.base import Encoder, TrainableEncoder
from transferability.encoders.outputs import OutputView
from transferability.encoders.precomputed import FeatureFiles
from transferability.encoders.registry import prefixes_of
from transferability.errors import EncoderError

__all__ = ["ConvertibleEncoder", "as_trainable", "fine_tunable"]


@runtime_checkable
class ConvertibleEncoder(Encoder, Protocol):
    """An encoder that runs elsewhere and can be turned into a torch network: an ONNX graph."""

    def trainable(self) -> TrainableEncoder:
        """Return the same encoder in torch, with weights of its own; or raise `EncoderError` that says why not."""


def fine_tunable(encoder: Encoder | FeatureFiles) -> bool | None:
    """Tell whether an encoder can be fine-tuned, without converting it; None where only converting it tells."""
    base = encoder.base if isinstance(encoder, OutputView) else encoder
    if isinstance(base, TrainableEncoder):
        return True
    return None if isinstance(base, ConvertibleEncoder) else False


def as_trainable(encoder: Encoder) -> TrainableEncoder:
    """Return the encoder as one that can be trained.

    Raises
    ------
    EncoderError
        If it does not run in torch and cannot be converted.
    MissingExtraError
        If what converts it is not installed.
    """
    if isinstance(encoder, TrainableEncoder):
        return encoder
    if isinstance(encoder, ConvertibleEncoder):
        return encoder.trainable()
    in_torch = prefixes_of(lambda family: family.trainable)
    message = f"encoder {encoder.name!r} cannot be fine-tuned: only encoders that run in torch can ({in_torch}), and "
    message += "pictures through ONNX. Take method 'probe' of `validate`, which trains a linear classifier on top."
    raise EncoderError(message)
