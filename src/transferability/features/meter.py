"""How many items an encoder was given, counted where it is called: what a cache held is not among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Meter", "count_items", "metered"]


class Meter:
    """The number of items that were encoded while it counted."""

    def __init__(self) -> None:
        self.n_items = 0


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


def count_items(n_items: int) -> None:
    """Tell all open meters of items that were encoded."""
    for meter in _meters.get():
        meter.n_items += n_items
