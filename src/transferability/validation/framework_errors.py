"""Errors of the framework in training, said as errors of the encoder that was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from transferability.errors import EncoderError, one_line, passes_through

__all__ = ["check_reached", "said_of"]


def check_reached(encoder: str, weights: Sequence[nn.Parameter]) -> None:
    """Refuse an encoder whose weights get no gradient: only the head would be trained, under the name of fine-tuning.

    Raises
    ------
    EncoderError
    """
    if weights and all(each.grad is None for each in weights):
        message = (
            f"encoder {encoder!r} cannot be fine-tuned: no gradient reaches its weights. They are frozen "
            "(network.requires_grad_(True) frees them), or its forward pass runs under no_grad."
        )
        raise EncoderError(message)


@contextmanager
def said_of(encoder: str) -> Iterator[None]:
    """Say whose training an error of the framework ended: memory that is short, a layer that wants two rows.

    Raises
    ------
    EncoderError
        For any error that is not one of ours already.
    """
    try:
        yield
    except Exception as error:
        if passes_through(error):
            raise
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        message = f"encoder {encoder!r} failed in training: {type(error).__name__}: {one_line(error)}."
        raise EncoderError(message) from error
