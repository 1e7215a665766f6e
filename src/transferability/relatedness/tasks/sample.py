"""One part of a task as the solvers see it."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.linear.rows import Rows

__all__ = [
    "HeldOut",
    "Sample",
    "at_most",
    "dealt_together",
    "equal_rows",
    "hold_out",
    "hold_out_apart",
    "stratified_folds",
]

_HELD_OUT = 0.25
_ROUNDING = 1e-6  # of a feature, relative to itself and to its usual size: a row computed twice
_BLOCK = 1_000_000  # numbers that are compared at once
_OF_SPREAD = 1e-4  # of a feature, by which rounding may move it at most
_TYPICAL, _MOST = 256, 0.9  # rows that tell the size of a feature, and the share of them that is no larger
_FAR = 30  # times its spread
_NEIGHBOURS = 4  # along an axis, that rows are compared with: between two equal ones there may lie others


class _Arrays(NamedTuple):
    features: FloatArray  # (n, d)
    labels: IntArray  # (n,)


class HeldOut(NamedTuple):
    """Reference rows that the classifier that judges them has not seen."""

    logits: FloatArray  # (n, K_R)
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


def hold_out_apart(features: FloatArray, labels: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Hold out as `hold_out` does, copies of a row on one side; a class that has no other row stays whole."""
    leader = equal_rows(features, labels)
    first = np.flatnonzero(leader == np.arange(len(leader)))
    if len(first) == len(labels):
        return hold_out(labels, rng)
    fitted, held = hold_out(labels[first], rng)
    return np.flatnonzero(np.isin(leader, first[fitted])), np.flatnonzero(np.isin(leader, first[held]))


def stratified_folds(
    labels: IntArray | None, features: FloatArray, n_folds: int, seed: int, *, least: int = 2
) -> list[tuple[IntArray, IntArray]]:
    """Return (fitting rows, test rows) of each fold: each row is in one test part, each class spread over the folds.

    Rows of one label whose features are equal up to rounding stay together: what was fitted on one of them has seen the
    others. Those of a class with fewer than `least` different rows are dealt one by one, as each fold needs some to fit
    on, and so are all rows where fewer than `n_folds` differ: no test part is empty. The folds depend on the order of
    the rows and on which are equal, not on the values of the features.
    """
    classes = np.zeros(len(features), dtype=np.int64) if labels is None else labels
    first, group = np.unique(dealt_together(features, classes, n_folds, least=least), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(features))[first].argsort()
    order = order[np.argsort(classes[first[order]], kind="stable")]
    fold_of_group = np.empty(len(first), dtype=np.int64)
    fold_of_group[order] = np.arange(len(first)) % n_folds
    fold = fold_of_group[group]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]


def dealt_together(features: FloatArray, classes: IntArray, n_folds: int, *, least: int = 2) -> IntArray:
    """Return for each row the first of the rows that are in its fold whatever is drawn, (n,)."""
    one_by_one = np.arange(len(features))
    leader = equal_rows(features, classes)
    first = np.unique(leader)
    if len(first) < n_folds:
        return one_by_one
    few = np.bincount(classes[first], minlength=int(classes.max()) + 1) < least
    return np.where(few[classes], one_by_one, leader)


def equal_rows(features: FloatArray, classes: IntArray) -> IntArray:
    """Return the first of the rows that each row is equal to, up to rounding, (n,); itself where no earlier one is.

    Rows of a class are sorted along a random axis, where equal ones lie near each other, and each is compared with the
    few that follow it and are as near as rounding may put them: O(n d).
    """
    n, d = features.shape
    blocks = np.array_split(features, max(1, features.size // _BLOCK))
    size, most = _rounding_of(features)
    spread = np.where(np.isfinite(most), most / _OF_SPREAD, size)
    axis = np.random.default_rng(0).normal(size=d) / spread
    far = (size > _FAR * spread).any()  # from zero, where products in single precision are too coarse
    along = axis if far else axis.astype(features.dtype)
    place = np.concatenate([block @ along for block in blocks])
    length = np.sqrt(np.concatenate([np.einsum("nd,nd->n", block, block) for block in blocks]).astype(np.float64))
    reach = 2 * _ROUNDING * (length * np.linalg.norm(axis) + size @ np.abs(axis))  # Cauchy and Schwarz
    order = np.lexsort((place, classes))
    place, reach, sorted_classes = place[order], reach[order], classes[order]
    pairs = []
    for lag in range(1, min(_NEIGHBOURS, n - 1) + 1):
        candidate = (sorted_classes[lag:] == sorted_classes[:-lag]) & (place[lag:] - place[:-lag] <= reach[lag:])
        near = np.flatnonzero(candidate)
        for part in np.array_split(near, max(1, len(near) * d // _BLOCK)):
            one, other = (features[order[rows]].astype(np.float64, copy=False) for rows in (part, part + lag))
            change = np.abs(one - other)
            equal = (change <= _ROUNDING * (np.abs(other) + size)).all(axis=1)
            equal &= np.einsum("nd,nd->n", change / most, change / most) <= np.isfinite(most).sum()
            equal = part[equal]
            pairs.append(np.stack([order[equal], order[equal + lag]]))
    return _first_linked(n, np.concatenate(pairs, axis=1)) if pairs else np.arange(n)


def _rounding_of(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how large each feature is, and the most that rounding may change it by in the root mean square, (d,) each.

    Rounding is relative to the size, but far from zero it says nothing of rows that differ by a small share of the
    spread; a feature without a spread, up to rounding, has no such limit. A few rows that are far larger than the
    others do not count. A single feature far from zero is no evidence against a copy: of 512 features of one VGG16 one
    is 150 spreads from zero, where rounding is as large as the limit. So the limit is on all features together.
    """
    some = np.ascontiguousarray(features[:: -(-len(features) // _TYPICAL)].T, dtype=np.float64)  # (d, some)
    single = features.dtype == np.float32 or np.array_equal(some.astype(np.float32), some)
    middle = some.shape[1] // 2
    centre = np.partition(some, middle, axis=1)[:, middle]
    size, spread = _usual(np.abs(some)), _usual(np.abs(some - centre[:, None]))
    constant = spread <= (4e-7 if single else 1e-13) * size
    return np.where(size > 0, size, 1.0), np.where(constant, np.inf, _OF_SPREAD * spread)


def _usual(values: FloatArray) -> FloatArray:
    """Return what nine tenths of each row's values do not exceed; their mean where that is zero."""
    place = int(_MOST * (values.shape[1] - 1))
    usual = np.partition(values, place, axis=1)[:, place]
    found: FloatArray = np.where(usual > 0, usual, values.mean(axis=1))
    return found


def _first_linked(n: int, links: IntArray) -> IntArray:
    """Return the first of all rows that each row is linked with, (n,)."""
    if links.shape[1] == 0:
        return np.arange(n)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(links.shape[1]), tuple(links)), shape=(n, n))
    group = connected_components(graph, directed=False)[1]
    first = np.unique(group, return_index=True)[1]
    leader: IntArray = first[group]
    return leader
