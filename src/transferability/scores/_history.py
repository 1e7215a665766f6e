"""The memory of L-BFGS."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["History"]

_Array = npt.NDArray[Any]  # float64 or float32


class History:
    """What L-BFGS remembers of its last steps in one system of coordinates."""

    def __init__(self, first_step: float, length: int) -> None:
        self.scale = first_step
        self.pairs: deque[tuple[_Array, _Array, float]] = deque(maxlen=length)

    def add(self, step: _Array, change: _Array) -> None:
        """Remember a step and by how much the gradient changed, unless rounding hides their product."""
        product, square = float(np.vdot(step, change)), float(np.vdot(change, change))
        if product > 8 * float(np.finfo(step.dtype).eps) * square:
            self.pairs.append((step, change, 1 / product))
            self.scale = product / square

    def direction(self, gradient: _Array) -> _Array:
        """Return the step that the model takes for the best (Nocedal and Wright, algorithm 7.4)."""
        scalar = gradient.dtype.type
        found = -gradient
        factors = []
        for step, change, inverse in reversed(self.pairs):
            factors.append(inverse * float(np.vdot(step, found)))
            found -= scalar(factors[-1]) * change
        found *= scalar(self.scale)
        for (step, change, inverse), factor in zip(self.pairs, reversed(factors), strict=True):
            found += scalar(factor - inverse * float(np.vdot(change, found))) * step
        return found
