"""Few kernels in place of many: torch.compile for the part of a training step that is not the net.

The loss of K logits at every position reads and writes memory and computes little, so that its time is the number of
passes over (…, K). Inside `fusing(True)` functions taken from `fusible` are compiled; the numbers are the same but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar

import torch

__all__ = ["fusible", "fusing"]

F = TypeVar("F", bound=Callable[..., Any])
_FUSE: ContextVar[bool] = ContextVar("fuse", default=False)


@contextmanager
def fusing(on: bool) -> Iterator[None]:
    """Let `fusible` return compiled functions inside, or not."""
    token = _FUSE.set(on)
    try:
        yield
    finally:
        _FUSE.reset(token)


def fusible(function: F) -> F:
    """Return the function, compiled where that is asked for; inside one that is being compiled, as it is."""
    if torch.compiler.is_compiling():
        return function
    return _compiled(function) if _FUSE.get() else function


@cache
def _compiled(function: F) -> F:
    return torch.compile(function)
