"""Errors of the framework in training, said as errors of the encoder that was trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from transferability.errors import EncoderError, one_line, passes_through

__all__ = ["said_of"]


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
