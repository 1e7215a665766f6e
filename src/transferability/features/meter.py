"""How many items an encoder was given, counted where it is called: neither what a cache held nor what tried it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Meter", "count_items", "metered", "warming_up"]


class Meter:
    """The number of items that were encoded while it counted."""

    def __init__(self) -> None:
        self.n_items = 0
        self.warm_up_seconds = 0.0
        """In which the encoder was tried, compiled where that was asked for, and its items were not counted."""


_meters: ContextVar[tuple[Meter, ...]] = ContextVar("meters", default=())


@contextmanager
def metered() -> Iterator[Meter]:
    """Count items while the context is open, those of this thread; of other processes nothing is counted."""
    meter = Meter()
    token = _meters.set((*_meters.get(), meter))
    try:
        yield meter
    finally:
        _meters.reset(token)


@contextmanager
def warming_up() -> Iterator[None]:
    """Leave what an encoder is given meanwhile out of the counts, and tell the seconds apart."""
    before, started = [meter.n_items for meter in _meters.get()], time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - started
        for meter, n_items in zip(_meters.get(), before, strict=True):
            meter.n_items = n_items
            meter.warm_up_seconds += seconds


def count_items(n_items: int) -> None:
    """Tell all open meters of items that were encoded."""
    for meter in _meters.get():
        meter.n_items += n_items
