"""Nested samples of the target and the references of a race.

A sample is drawn in proportion, split by split and class by class. Beside it come the first rows of every class that it
would have too few of: without them nothing could be fitted, and nothing is measured on them, for the shares of the
classes are then no longer those of the target.

Where encoders have to encode the rows, every row of a sample is fitted on and measured, in folds. Where features are
computed already, fits are what costs: a sample is then of rows to fit on, and all test rows are measured. They tell
differences that more rows to fit on may turn round, so they count as no more rows than were fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from transferability._array import BoolArray, IntArray
from transferability.datasets import Dataset
from transferability.pipeline.data import Part, Split, prepare
from transferability.relatedness.references import LEAST_ROWS
from transferability.settings import Settings

__all__ = ["RaceSample", "Sampler", "fit_sizes_of", "n_classes_of", "nested_order", "sizes_of"]

_SMALLEST = 100  # rows of the first sample at least; on fewer the sign test drops nothing
_PER_CLASS = 8  # rows of the first sample for each class, on average: halves of folds need some of each
_FIRST_SHARE = 16  # the first sample is this part of the rows, where that is enough
_FIRST_FIT = 300  # rows to fit on first, where features are computed already
_FIT_GROWTH = 3  # of the rows to fit on: a fit of all rows must cost much more than the last sample
_TWO_FOLDS = 2_000  # rows of a sample that are enough to fit on one half


def sizes_of(n_rows: int, n_classes: int) -> list[int]:
    """Return the sizes of the samples, each twice the one before; all are smaller than the whole.

    Examples
    --------
    >>> sizes_of(10_000, 10), sizes_of(1_000, 10), sizes_of(150, 10)
    ([625, 1250, 2500, 5000], [125, 250, 500], [100])
    """
    least = max(_SMALLEST, _PER_CLASS * n_classes)
    size = n_rows / _FIRST_SHARE
    while size < least:
        size *= 2
    sizes = []
    while size < n_rows:
        sizes.append(int(size))
        size *= 2
    if not sizes and least < n_rows:
        sizes = [least]
    return sizes


def fit_sizes_of(n_rows: int, n_classes: int) -> list[int]:
    """Return how many rows are fitted on, each three times the one before; none is more than half of the rows.

    Examples
    --------
    >>> fit_sizes_of(7_000, 10), fit_sizes_of(1_400, 100)
    ([300, 900, 2700], [])
    """
    sizes, size = [], max(_FIRST_FIT, _PER_CLASS * n_classes)
    while size <= n_rows / 2:
        sizes.append(size)
        size *= _FIT_GROWTH
    return sizes


def nested_order(dataset: Dataset, seed: int, among: IntArray | None = None) -> IntArray:
    """Return the rows of a data set in an order of which every beginning has about the class shares of the whole.

    Splits of the data are kept in proportion too. With `among`, these rows only, in an order that does not depend on
    how they were drawn with the same seed.
    """
    rng = np.random.default_rng(seed if among is None else [seed, 1])
    position = np.full(len(dataset), np.inf)
    for rows in _strata(dataset):
        rows = rng.permutation(rows if among is None else rows[np.isin(rows, among)])
        position[rows] = (np.arange(len(rows)) + rng.random()) / max(1, len(rows))
    order: IntArray = np.argsort(position, kind="stable")
    return order if among is None else order[: len(among)]


def n_classes_of(dataset: Dataset) -> int:
    """Return how many classes have rows; 1 without labels."""
    return 1 if dataset.labels is None else len(np.unique(dataset.labels))


class RaceSample(NamedTuple):
    """The parts of a run, sampled.

    Attributes
    ----------
    target, references : Split or PackSource
    drawn : array of bool of shape (n_rows,)
        Which rows of the target were drawn in proportion, and are compared where they are measured.
    sizes : tuple of int
        Rows of the target and of each reference that an encoder has to encode, or that are fitted on where features are
        computed already; 0 of packs.
    weight : float
        As how much of a row each row that is compared counts.
    """

    target: Split
    references: list[Part]
    drawn: BoolArray
    sizes: tuple[int, ...]
    weight: float = 1.0

    def with_references(self, kept: Sequence[int]) -> RaceSample:
        """Return the sample with some of its references."""
        sizes = [size if place in kept else 0 for place, size in enumerate(self.sizes[1:])]
        return self._replace(references=[self.references[k] for k in kept], sizes=(self.sizes[0], *sizes))


class Sampler:
    """Draws nested samples of the parts of a run.

    Parameters
    ----------
    target : Split
    references : sequence of Split or PackSource
        Each is sampled to the size of the target's sample, or to more where it has many classes. Packs stay whole.
    settings : Settings
    computed : bool, default=False
        Whether the features of all encoders are computed already. Of a target with one split, sizes are then of rows to
        fit on.
    """

    def __init__(
        self, target: Split, references: Sequence[Part], settings: Settings, *, computed: bool = False
    ) -> None:
        self._target = target
        self._references = references
        self._settings = settings
        self.by_fits = computed and target.folds is None
        """Whether samples are of rows to fit on, and others are measured."""
        splits = [target, *(part for part in references if isinstance(part, Split))]
        self._orders = {id(part): nested_order(part.dataset, settings.seed) for part in splits}

    def sizes(self) -> list[int]:
        """Return the sizes of the samples of a race."""
        n_classes = n_classes_of(self._target.dataset)
        if self.by_fits:
            return fit_sizes_of(len(self._target.fit_rows), n_classes)
        return sizes_of(len(self._target.dataset), n_classes)

    def whole(self) -> tuple[int, ...]:
        """Return the `RaceSample.sizes` of all rows."""
        return tuple(self._size(part) for part in (self._target, *self._references))

    def __call__(self, size: int) -> RaceSample:
        """Return a sample of so many rows of the target.

        Raises
        ------
        LabelError, TaskError
            If the rows make no task, because labels come with the features and are not known here.
        """
        target, drawn = self._fitting(size) if self.by_fits else self._of_target(size)
        weight = min(1.0, size / len(target.test_rows)) if self.by_fits else 1.0
        share = 1 - self._settings.test_share if self.by_fits else 1.0
        references = [
            self._sampled(part, max(math.ceil(size / share), _PER_CLASS * n_classes_of(part.dataset)), self._settings)[
                0
            ]
            if isinstance(part, Split)
            else part
            for part in self._references
        ]
        return RaceSample(target, references, drawn, tuple(self._size(part) for part in (target, *references)), weight)

    def _size(self, part: Part) -> int:
        if not isinstance(part, Split):
            return 0
        return len(part.fit_rows) if self.by_fits else len(part.dataset)

    def _of_target(self, size: int) -> tuple[Split, BoolArray]:
        """Return so many rows of the target, all of which are measured; and which of them were drawn."""
        settings = self._settings
        if settings.folds == "auto" and size >= _TWO_FOLDS and self._target.dataset.in_test is None:
            settings = replace(settings, folds=2)  # a single split would measure a third of what was encoded
        target, rows = self._sampled(self._target, size, settings)
        return target, np.isin(rows, self._orders[id(self._target)][:size])

    def _fitting(self, size: int) -> tuple[Split, BoolArray]:
        """Return the target with so many of its rows to fit on, and all of its test rows; and which were drawn."""
        whole = self._target
        order = nested_order(whole.dataset, self._settings.seed, whole.fit_rows)
        rank = np.empty(len(whole.dataset), dtype=np.int64)
        rank[order] = np.arange(len(order))
        drawn = np.isin(np.arange(len(rank)), whole.test_rows)
        chosen = drawn.copy()
        chosen[order[:size]] = True
        for rows in _strata(whole.dataset):
            of_class = rows[np.isin(rows, whole.fit_rows)]
            chosen[of_class[np.argsort(rank[of_class])[:LEAST_ROWS]]] = True
        rows = np.flatnonzero(chosen)
        fit, test = (np.flatnonzero(np.isin(rows, part)) for part in (whole.fit_rows, whole.test_rows))
        groups = None if whole.groups is None else whole.groups[rows]
        return Split(whole.dataset.subset(rows), fit, test, None, groups), drawn[rows]

    def _sampled(self, part: Split, size: int, settings: Settings) -> tuple[Split, IntArray]:
        """Return a part with so many rows, and with the first of every class and split; and which rows these are."""
        order = self._orders[id(part)]
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        first = [rows[np.argsort(rank[rows])[:LEAST_ROWS]] for rows in _strata(part.dataset)]
        rows: IntArray = np.union1d(order[:size], np.concatenate(first))
        whole = len(rows) == len(order)
        return part if whole else prepare(part.dataset.subset(rows), settings), rows


def _strata(dataset: Dataset) -> list[IntArray]:
    """Return the rows of each class, of each split by itself."""
    labels = np.zeros(len(dataset), dtype=np.int64) if dataset.labels is None else dataset.labels
    strata = labels if dataset.in_test is None else 2 * labels + dataset.in_test
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
