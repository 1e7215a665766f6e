"""One part of a task as the solvers see it."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.descent import Rows

__all__ = ["Sample", "at_most", "hold_out", "stratified_folds"]

_HELD_OUT = 0.25


class _Arrays(NamedTuple):
    features: FloatArray  # (n, d)
    labels: IntArray  # (n,)


class Sample(_Arrays):
    """Standardised features and labels of one part of a task."""

    @cached_property
    def rows(self) -> Rows:
        """The features as solvers want them, decomposed once for every fit to this sample."""
        return Rows.of(self.features)

    def take(self, rows: IntArray) -> Sample:
        """Return the sample on these rows."""
        return Sample(self.features[rows], self.labels[rows])


def at_most(labels: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """Draw so many rows, stratified: of each class its share, and one at least."""
    if len(labels) <= n:
        return np.arange(len(labels))
    rows = rng.permutation(len(labels))
    rows = rows[np.argsort(labels[rows], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen: IntArray = np.sort(rows[rank < np.repeat(np.maximum(1, counts * n // len(labels)), counts)])
    return chosen


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

    Rows with the same features and label stay together: what was fitted on one of them has seen the others. Where a
    class has too few different rows for that, they are dealt one by one. No test part is empty.
    """
    classes = np.zeros(len(features), dtype=np.int64) if labels is None else labels
    group = _equal_rows(features, classes, least=2 * n_folds)
    first = np.unique(group, return_index=True)[1]
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(classes[first[order]], kind="stable")]
    fold_of_group = np.empty(len(first), dtype=np.int64)
    fold_of_group[order] = np.arange(len(first)) % n_folds
    fold = fold_of_group[group]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]


def _equal_rows(features: FloatArray, classes: IntArray, *, least: int) -> IntArray:
    """Return the group of equal rows of each row, (n,); single rows in classes with fewer than `least` groups."""
    plain = np.ascontiguousarray(features + 0.0)  # −0 is 0
    as_bytes = plain.view(np.dtype((np.void, plain.shape[1] * plain.itemsize))).ravel()
    kinds = np.unique(as_bytes, return_inverse=True)[1]
    _, first, group = np.unique(np.stack([classes, kinds]), axis=1, return_index=True, return_inverse=True)
    few = np.bincount(classes[first], minlength=int(classes.max()) + 1) < least
    alone = few[classes]
    group[alone] = len(first) + np.arange(int(alone.sum()))
    return np.unique(group, return_inverse=True)[1]
