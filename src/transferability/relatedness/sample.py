"""One part of a task as the solvers see it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray

__all__ = ["Sample", "hold_out"]

_HELD_OUT = 0.25


class Sample(NamedTuple):
    """Standardised features and labels of one part of a task."""

    features: FloatArray  # (n, d)
    labels: IntArray  # (n,)

    def take(self, rows: IntArray) -> Sample:
        """Return the sample on these rows."""
        return Sample(self.features[rows], self.labels[rows])


def hold_out(labels: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Hold out a quarter of each class; classes of one sample stay whole. Return the other rows, then these."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = rank < np.repeat(np.floor(counts * _HELD_OUT + 0.5), counts)
    held_out &= np.repeat(counts > 1, counts)
    return order[~held_out], order[held_out]


def stratified_folds(
    labels: IntArray | None, n_samples: int, n_folds: int, seed: int
) -> list[tuple[IntArray, IntArray]]:
    """Return (fitting rows, test rows) of each fold: each row is in one test part, each class spread over the folds."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(n_samples)
    if labels is not None:
        rows = rows[np.argsort(labels[rows], kind="stable")]
    fold = np.empty(n_samples, dtype=np.int64)
    fold[rows] = np.arange(n_samples) % n_folds
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]
