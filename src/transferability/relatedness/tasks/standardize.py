"""Zero mean and unit deviation per feature, as the paper standardises each task, for any finite input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferability._array import FloatArray

__all__ = ["Scaler"]

_LIMIT = 5.0
_ROWS_PER_BLOCK = 512
_NOTHING = {np.dtype(np.float32): 1e-7, np.dtype(np.float64): 1e-12}  # deviation of a constant, of its magnitude
_SAFE = (1e-25, 1e25)  # scales at which float32 does


@dataclass(frozen=True, eq=False)
class Scaler:
    """``z ↦ (z − mean) / scale``, cut off at five deviations; constant features are divided by their magnitude."""

    mean: FloatArray  # (d,)
    scale: FloatArray  # (d,)
    limit: float = _LIMIT  # deviations; what lies beyond is moved there

    @classmethod
    def fit(cls, features: FloatArray) -> Scaler:
        """Measure mean and deviation, safe for features near the limits of their type."""
        magnitude = np.maximum(features.max(axis=0), -features.min(axis=0))
        magnitude[magnitude == 0] = 1.0
        n, d = features.shape
        first = features[0] / magnitude  # to which the others are compared: of a constant column nothing is left
        sums, squares = np.zeros(d), np.zeros(d)
        for start in range(0, n, _ROWS_PER_BLOCK):
            block = features[start : start + _ROWS_PER_BLOCK] / magnitude
            block -= first
            sums += block.sum(axis=0)
            squares += np.einsum("nd,nd->d", block, block)
        mean = sums / n
        deviation = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
        constant = deviation <= _NOTHING[features.dtype]  # rounding alone makes a constant column look alive
        # By its magnitude, so that the unit does not matter and the rounding of a huge constant stays small.
        scale = np.where(constant, 1.0, deviation) * magnitude
        return cls((mean + first) * magnitude, np.where(scale > 0, scale, 1.0))

    @classmethod
    def identity(cls, n_features: int) -> Scaler:
        """Return the scaler that changes nothing."""
        return cls(np.zeros(n_features), np.ones(n_features), np.inf)

    @classmethod
    def levelled(cls, features: FloatArray) -> Scaler:
        """Return the scaler that moves the mean to zero and divides by one number: the root of the mean variance.

        Features that are constant do not count. Distances keep their proportions, and directions stay.
        """
        mean, variance = features.mean(axis=0), features.var(axis=0)
        alive = variance[variance > 0]
        unit = float(np.sqrt(alive.mean())) if len(alive) else 1.0
        return cls(mean, np.full(len(mean), unit or 1.0), np.inf)

    def apply(self, features: FloatArray) -> FloatArray:
        """Return standardised features in the precision they come in, others in float64.

        What is not standardised may lie millions from zero, where products in float32 lose more than a bound may.

        A unit that is all but dead on the fitting part has a deviation near zero, and the first sample that wakes it
        would lie thousands of deviations out: one such sample was seen to double the loss of a whole test part.
        """
        safe = (_SAFE[0] < self.scale).all() and (self.scale < _SAFE[1]).all() and np.isfinite(self.limit)
        if features.dtype == np.float32 and safe:
            standardised: FloatArray = features - self.mean.astype(np.float32)
            standardised /= self.scale.astype(np.float32)
        else:
            standardised = features / self.scale
            standardised -= self.mean / self.scale  # the difference of huge features might leave the range
        return np.clip(standardised, -self.limit, self.limit, out=standardised)
