"""Zero mean and unit deviation per feature, as the paper standardises each task, for any finite input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferability._array import FloatArray

__all__ = ["Scaler"]


@dataclass(frozen=True, eq=False)
class Scaler:
    """``z ↦ (z − mean) / scale``; features without spread keep scale 1."""

    mean: FloatArray  # (d,)
    scale: FloatArray  # (d,)

    @classmethod
    def fit(cls, features: FloatArray) -> Scaler:
        """Measure mean and deviation, safe for features near the limits of their type."""
        magnitude = np.abs(features).max(axis=0).astype(np.float64)
        magnitude[magnitude == 0] = 1.0
        relative = features / magnitude
        mean = relative.mean(axis=0)
        deviation = relative.std(axis=0)
        constant = deviation <= 1e-12  # rounding alone makes a constant column look alive
        scale = np.where(constant, 1.0, deviation * magnitude)
        return cls(mean * magnitude, np.where(scale > 0, scale, 1.0))

    @classmethod
    def identity(cls, n_features: int) -> Scaler:
        """Return the scaler that changes nothing."""
        return cls(np.zeros(n_features), np.ones(n_features))

    def apply(self, features: FloatArray) -> FloatArray:
        """Return standardised features in float64."""
        standardised: FloatArray = features / self.scale - self.mean / self.scale
        return standardised
