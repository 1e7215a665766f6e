"""How strong the ridge of a map should be: from strong to weak, judged on rows that the map has not seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from transferability.relatedness.maps.feature_map import AffineMap

__all__ = ["RidgeChoice", "ridge_path"]

_FIRST = 1.0
_STEP = 10.0
_RANGE = (1e-7, 1e4)
_MUCH_WORSE = 1.02  # times the best: no weaker ridge is tried
_PATIENCE = 2  # so many that are worse, but not much


class RidgeChoice(NamedTuple):
    """The best place map of a path."""

    place_map: AffineMap
    ridge: float  # infinite where the start was best
    bound: float


def ridge_path(
    start: AffineMap, fit: Callable[[AffineMap, float], AffineMap], judge: Callable[[AffineMap], float]
) -> RidgeChoice:
    """Return the map with the smallest held-out bound.

    The path begins at ridge 1 and goes down in factors of ten, each fit starting where the last one ended, until the
    bound turns up. Where the first one is the best it goes up as well: no end of a grid is ever taken for an optimum.
    Leaving the features as they are competes.

    Parameters
    ----------
    start : AffineMap
        The place map that leaves the features as they are.
    fit : callable (from where, ridge) -> map
    judge : callable map -> held-out bound
    """
    best = RidgeChoice(start, float("inf"), judge(start))
    first: RidgeChoice | None = None
    for factor in (1 / _STEP, _STEP):
        ridge, current, worse = _FIRST if factor < 1 else _FIRST * factor, start, 0
        if factor > 1 and best is not first:
            break  # downhill lies the optimum
        while _RANGE[0] <= ridge <= _RANGE[1] and worse < _PATIENCE:
            current = fit(current, ridge)
            tried = RidgeChoice(current, ridge, judge(current))
            first = tried if first is None else first
            if tried.bound < best.bound:
                best, worse = tried, 0
            else:
                worse += 1
                if tried.bound > _MUCH_WORSE * best.bound or not np.isfinite(tried.bound):
                    break
            ridge *= factor
    return best
