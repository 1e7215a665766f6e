"""Where labels go so that they do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["apart", "spread"]


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


def apart(
    boxes: Sequence[tuple[float, float, float]], height: float, low: float, high: float
) -> list[tuple[float, float]]:
    """Return centres of boxes near the given ones, so that no two overlap and all lie between `low` and `high`.

    Parameters
    ----------
    boxes : sequence of (x, y, width)
        Centres and widths; all have the same height. Where there is no room left, a box may overlap others.

    Examples
    --------
    >>> apart([(50, 50, 20), (52, 51, 20)], 10, 0, 100)
    [(50, 50), (52, 61)]
    """
    placed: list[tuple[float, float, float]] = []
    for x, y, width in boxes:
        x = min(max(x, low + width / 2), high - width / 2)
        steps = [sign * k * height for k in range(int((high - low) / height) + 1) for sign in (1, -1)]
        wanted = [y + step for step in steps if low + height / 2 <= y + step <= high - height / 2]
        free = (place for place in wanted if not any(_overlap(x, place, width, box, height) for box in placed))
        placed.append((x, next(free, y), width))
    return [(x, y) for x, y, _ in placed]


def _overlap(x: float, y: float, width: float, box: tuple[float, float, float], height: float) -> bool:
    return abs(y - box[1]) < height and abs(x - box[0]) < (width + box[2]) / 2
