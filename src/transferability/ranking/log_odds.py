"""Accuracies as log odds and back, and how far both are from the truth for want of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transferability._array import FloatArray

__all__ = ["logit", "shares", "standard_error", "typical_rows"]


def logit(share: FloatArray, n_rows: float | FloatArray) -> FloatArray:
    """Return log odds, those of 0 and 1 as if half a row more had been the other way."""
    odds: FloatArray = np.log((share * n_rows + 0.5) / ((1 - share) * n_rows + 0.5))
    return odds


def shares(logits: FloatArray, n_rows: float) -> tuple[FloatArray, FloatArray]:
    """Return the share of so many rows that has these log odds, at most all of them, and the share that has them."""
    with np.errstate(over="ignore"):
        any_number: FloatArray = 1 / (1 + np.exp(-logits))
    return np.clip((any_number * (n_rows + 1) - 0.5) / n_rows, 0.0, 1.0), any_number


def typical_rows(rows: Sequence[int]) -> float:
    """Return on how many rows, in the harmonic mean, accuracies were measured: noise goes by 1 / n."""
    return float(len(rows) / np.sum(1 / np.asarray(rows, dtype=np.float64)))


def standard_error(share: FloatArray, n_rows: FloatArray, typical: float) -> FloatArray:
    """Return the standard error of the log odds of a share of so many rows, beyond that of typical ones."""
    smooth = (share * n_rows + 0.5) / (n_rows + 1)
    error: FloatArray = np.sqrt(np.maximum(1 / n_rows - 1 / typical, 0.0) / (smooth * (1 - smooth)))
    return error
