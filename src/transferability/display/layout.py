"""Where labels go so that they do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["spread"]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places near the given ones, in the same order, at least `gap` apart and between `low` and `high`.

    Where there is no room for all, the gap shrinks until there is.

    Examples
    --------
    >>> spread([5.0, 1.0, 1.2], 1.0, 0.0, 10.0)
    [5.0, 1.0, 2.0]
    >>> spread([9.9, 9.8], 1.0, 0.0, 10.0)
    [10.0, 9.0]
    """
    order = sorted(range(len(places)), key=lambda k: places[k])
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    found: list[float] = []
    for k in order:
        found.append(max(places[k], low, found[-1] + gap if found else low))
    ceiling = high
    for position in reversed(range(len(found))):
        found[position] = min(found[position], ceiling)
        ceiling = found[position] - gap
    back = dict(zip(order, found, strict=True))
    return [back[k] for k in range(len(places))]
