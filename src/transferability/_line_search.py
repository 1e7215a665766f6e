"""How far to go along a line on which a convex function falls: secants of its slope, from both sides of the minimum."""

from __future__ import annotations

import math

__all__ = ["Secants"]


class Secants:
    """The lengths to look at, one after the other.

    Parameters
    ----------
    slope : float
        Of the function at length 0, negative.
    """

    def __init__(self, slope: float) -> None:
        self._start = slope
        self._low, self._low_slope = 0.0, slope
        self._high, self._high_slope = math.inf, math.inf

    def after(self, length: float, slope: float) -> float:
        """Return the length to look at after one at which the function has this slope."""
        if slope < 0:
            self._low, self._low_slope = length, slope
        else:
            self._high, self._high_slope = length, slope
        if math.isinf(self._high):
            return length * (min(4.0, self._start / (self._start - slope)) if slope > self._start else 4.0)
        share = self._low_slope / (self._low_slope - self._high_slope)
        return self._low + min(max(share, 0.1), 0.9) * (self._high - self._low)
