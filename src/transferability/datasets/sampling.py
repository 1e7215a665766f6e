"""Rows of a data set: stratified subsamples, splits and folds, deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferability._array import BoolArray, IntArray
from transferability._folds import RowFolds
from transferability._validate import check_seed
from transferability.errors import OptionError

__all__ = ["folds", "split", "stratified_sample"]


def stratified_sample(labels: IntArray | None, n_samples: int, size: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return `size` row numbers, ascending, with the class shares of the whole.

    Each class keeps at least two rows, one to fit on and one to measure on, where `size` has room for that, else one.

    Parameters
    ----------
    labels : array of int of shape (n_samples,), or None
        Without labels the rows are drawn uniformly.
    n_samples : int
        Number of rows there are.
    size : int
        Number of rows wanted; all of them if there are no more.
    seed : int, default=0
        The same seed gives the same rows.

    Raises
    ------
    OptionError
        If `size` is not positive, or smaller than the number of classes.

    Examples
    --------
    >>> stratified_sample(np.array([0, 0, 0, 0, 1, 1]), 6, 3)
    array([0, 2, 5])
    """
    if not isinstance(size, int | np.integer) or size < 1:
        message = f"`limit` must be an integer, at least 1; got {size!r}."
        raise OptionError(message)
    if size >= n_samples:
        return np.arange(n_samples)
    rng = np.random.default_rng(check_seed(seed))
    if labels is None:
        return np.sort(rng.permutation(n_samples)[:size])
    classes, counts = np.unique(labels, return_counts=True)
    if size < len(classes):
        message = f"`limit` must leave every class a sample; got {size} for {len(classes)} classes."
        raise OptionError(message)
    quotas = _quotas(counts, size)
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:quota] for label, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def split(
    labels: IntArray, test_share: float = 0.3, seed: int = 0, groups: npt.ArrayLike | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split rows into a fitting and a test part, class by class.

    Parameters
    ----------
    labels : array of int of shape (n_samples,)
        Classes; for an unlabelled task pass zeros.
    test_share : float, default=0.3
        Share of each class that goes to the test part, between 0 and 1. A class with at least two samples has at least
        one on each side; a class with a single sample stays in the fitting part. With `groups` the same holds of
        groups in place of samples, but groups of several classes may leave a class out of the test part.
    seed : int, default=0
        The same seed gives the same split.
    groups : array of shape (n_samples,), optional
        Rows with the same value stay on the same side: `duplicate_groups` gives those with the same content.

    Returns
    -------
    fit_rows, test_rows : arrays of int
        Ascending row numbers; together every row once.

    Raises
    ------
    OptionError
        If `test_share` is not between 0 and 1, or if `groups` differ from `labels` in length.

    Examples
    --------
    >>> split(np.array([0, 0, 1, 1, 2]), 0.5)
    (array([1, 3, 4]), array([0, 2]))
    """
    if not 0 < test_share < 1:
        message = f"`test_share` must be between 0 and 1; got {test_share}."
        raise OptionError(message)
    rng = np.random.default_rng(check_seed(seed))
    grouped = None if groups is None else _Grouped.of(labels, groups)
    if grouped is not None and len(grouped.sizes) < len(labels):
        in_test = grouped.in_test(test_share, rng)
        return np.flatnonzero(~in_test), np.flatnonzero(in_test)
    in_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) > 1:
            in_test[rows[: min(max(1, round(len(rows) * test_share)), len(rows) - 1)]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def folds(
    labels: IntArray, n_folds: int = 5, seed: int = 0, groups: npt.ArrayLike | None = None
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Divide rows into folds for cross-fitting: each row is in the test part of exactly one.

    Stratified: numbers of rows of a class differ between folds by at most one, and by no more than groups force.

    Parameters
    ----------
    labels : array of int of shape (n_samples,)
        Classes; for an unlabelled task pass zeros.
    n_folds : int, default=5
        From 2 to the number of rows, or of groups.
    seed : int, default=0
        The same seed gives the same folds.
    groups : array of shape (n_samples,), optional
        Rows with the same value are in the same fold.

    Returns
    -------
    list of (fit_rows, test_rows)
        Ascending row numbers; the two parts of a fold together hold every row once. A class with fewer rows (groups)
        than folds is missing from some test parts; one with a single row (group) is missing from the fitting part of
        the fold that tests it.

    Raises
    ------
    OptionError
        If `n_folds` is out of range, or if `groups` differ from `labels` in length.

    Examples
    --------
    >>> folds(np.array([0, 0, 0, 0, 1, 1]), 2)
    [(array([1, 2, 4]), array([0, 3, 5])), (array([0, 3, 5]), array([1, 2, 4]))]
    """
    grouped = _Grouped.of(labels, np.arange(len(labels)) if groups is None else groups)
    if not isinstance(n_folds, int | np.integer) or not 2 <= n_folds <= len(grouped.sizes):
        what = "rows" if groups is None else "groups of rows"
        message = f"`n_folds` must be an integer from 2 to the number of {what}, {len(grouped.sizes)}; got {n_folds!r}."
        raise OptionError(message)
    wanted = [(count / n_folds,) * n_folds for count in grouped.class_counts]
    fold_of = grouped.deal(wanted, np.random.default_rng(check_seed(seed)))[grouped.group_of]
    made = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(n_folds)]
    return RowFolds(made) if len(grouped.sizes) == len(labels) else made


@dataclass(frozen=True)
class _Grouped:
    """Rows in groups that stay together, and how many rows of each class a group holds."""

    group_of: IntArray  # (n_samples,)
    sizes: list[int]  # rows of each group
    counts: list[list[tuple[int, int]]]  # of each group, (class, rows)
    by_class: list[list[int]]  # groups that hold a class
    class_counts: list[int]

    @classmethod
    def of(cls, labels: IntArray, groups: npt.ArrayLike) -> _Grouped:
        values = np.asarray(groups)
        if values.shape != np.shape(labels):
            message = f"`groups` must have one entry per row; got shape {values.shape} for {len(labels)} rows."
            raise OptionError(message)
        group_of = np.unique(values, return_inverse=True)[1].astype(np.int64)
        class_of = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        n_groups, n_classes = int(group_of.max(initial=-1)) + 1, int(class_of.max(initial=-1)) + 1
        counts: list[list[tuple[int, int]]] = [[] for _ in range(n_groups)]
        by_class: list[list[int]] = [[] for _ in range(n_classes)]
        pairs, n_rows = np.unique(group_of * n_classes + class_of, return_counts=True)
        for pair, count in zip(pairs.tolist(), n_rows.tolist(), strict=True):
            group, label = divmod(pair, n_classes)
            counts[group].append((label, count))
            by_class[label].append(group)
        sizes = np.bincount(group_of, minlength=n_groups).tolist()
        return cls(group_of, sizes, counts, by_class, np.bincount(class_of, minlength=n_classes).tolist())

    def in_test(self, test_share: float, rng: np.random.Generator) -> BoolArray:
        """Return which rows are the test part's."""
        wanted = []
        for count, groups in zip(self.class_counts, self.by_class, strict=True):
            in_test = min(max(1, round(count * test_share)), count - 1) if len(groups) > 1 else 0
            wanted.append((count - in_test, in_test))
        part_of = self.deal(wanted, rng)
        for groups in self.by_class:  # groups of several classes may have drawn all of one class to the test part
            if part_of[groups].all():
                part_of[min(groups, key=self.sizes.__getitem__)] = 0
        in_test_part: BoolArray = part_of[self.group_of] == 1
        return in_test_part

    def deal(self, wanted: Sequence[Sequence[float]], rng: np.random.Generator) -> IntArray:
        """Return the part of each group, so that each part has about the rows of each class that are `wanted` of it.

        Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011): the class in the fewest groups first,
        its largest groups first, each to the part that misses most rows of the class, then most rows at all. Beyond
        that, the last groups of a class go to parts that still have none of it, so that no part is left without.
        """
        shuffled = rng.permutation(len(self.sizes)).tolist()
        order = {group: place for place, group in enumerate(shuffled)}
        missing = [list(parts) for parts in wanted]  # (class, part)
        left = [sum(parts) for parts in zip(*wanted, strict=True)]  # (part,)
        without = [{part for part, rows in enumerate(parts) if rows > 0} for parts in wanted]
        part_of = [-1] * len(self.sizes)
        for label in sorted(range(len(wanted)), key=lambda label: len(self.by_class[label])):
            rows_in = {
                group: count for group in self.by_class[label] for own, count in self.counts[group] if own == label
            }
            waiting = [group for group in self.by_class[label] if part_of[group] < 0]
            waiting.sort(key=lambda group: (-rows_in[group], order[group]))
            for place, group in enumerate(waiting):
                empty = without[label]
                choices = sorted(empty) if len(waiting) - place <= len(empty) else range(len(left))
                part = max(choices, key=lambda part: (missing[label][part], left[part]))
                part_of[group] = part
                left[part] -= self.sizes[group]
                for own, count in self.counts[group]:
                    missing[own][part] -= count
                    without[own].discard(part)
        return np.array(part_of, dtype=np.int64)


def _quotas(counts: IntArray, size: int) -> npt.NDArray[np.int64]:
    """Share `size` rows among classes in proportion to `counts`, by largest remainder, at least two each or one."""
    fewest = np.minimum(counts, 2)
    if fewest.sum() > size:
        fewest = np.minimum(counts, 1)
    exact = counts * (size / counts.sum())
    quotas: npt.NDArray[np.int64] = np.maximum(np.floor(exact).astype(np.int64), fewest)
    while quotas.sum() > size:  # the minimum of many rare classes: who has most to spare gives one back
        quotas[np.argmax(np.where(quotas > fewest, quotas - exact, -np.inf))] -= 1
    remainder_order = np.argsort(-(exact - quotas), kind="stable")
    quotas[remainder_order[: size - quotas.sum()]] += 1
    return quotas
