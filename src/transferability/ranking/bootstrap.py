"""Percentile bootstrap over encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transferability._array import FloatArray

__all__ = ["Estimate", "bootstrap_pairs"]


@dataclass(frozen=True)
class Estimate:
    """A statistic with its bootstrap interval.

    Attributes
    ----------
    value : float
        On all encoders.
    low, high : float
        Ends of the interval.
    """

    value: float
    low: float
    high: float

    def __float__(self) -> float:
        return self.value


def bootstrap_pairs(
    statistic: Callable[[FloatArray, FloatArray], float],
    first: FloatArray,
    second: FloatArray,
    *,
    confidence: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> Estimate:
    """Return the statistic of two paired samples and its percentile interval.

    Resamples in which one of the two does not vary are drawn again: a correlation is not defined there.
    `scipy.stats.bootstrap` would return nan for the whole interval.
    """
    values = np.empty(n_resamples)
    for index in range(n_resamples):
        while True:
            rows = rng.integers(len(first), size=len(first))
            a, b = first[rows], second[rows]
            if np.ptp(a) > 0 and np.ptp(b) > 0:
                break
        values[index] = statistic(a, b)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    value = statistic(first, second)
    # The resamples need not surround the statistic: an extreme one is not reached by most of them.
    return Estimate(value, min(float(low), value), max(float(high), value))
