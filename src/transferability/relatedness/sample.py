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
    labels: IntArray | None, features: FloatArray, n_folds: int, seed: int
) -> list[tuple[IntArray, IntArray]]:
    """Return (fitting rows, test rows) of each fold: each row is in one test part, each class spread over the folds.

    Rows with the same features stay together: what was fitted on one of them has seen the others.
    """
    rng = np.random.default_rng(seed)
    # Equal rows have equal products; others almost surely have not.
    products = features @ np.random.default_rng(0).normal(size=features.shape[1])
    _, first, group = np.unique(products, return_index=True, return_inverse=True)
    order = rng.permutation(len(first))
    if labels is not None:
        order = order[np.argsort(labels[first[order]], kind="stable")]
    fold_of_group = np.empty(len(first), dtype=np.int64)
    fold_of_group[order] = np.arange(len(first)) % n_folds
    fold = fold_of_group[group]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]
