"""Nested samples of the target and the references of a race.

A sample is drawn in proportion, split by split and class by class. Beside it come the first rows of every class that it
would have too few of: without them nothing could be fitted, and nothing is measured on them, for the shares of the
classes are then no longer those of the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transferability._array import BoolArray, IntArray
from transferability.datasets import Dataset
from transferability.pipeline.data import Part, Split, prepare
from transferability.relatedness.references import LEAST_ROWS
from transferability.settings import Settings

__all__ = ["RaceSample", "Sampler", "n_classes_of", "nested_order", "sizes_of"]

_SMALLEST = 100  # rows of the first sample at least; on fewer the sign test drops nothing
_PER_CLASS = 8  # rows of the first sample for each class, on average: halves of folds need some of each
_FIRST_SHARE = 16  # the first sample is this part of the rows, where that is enough


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


def nested_order(dataset: Dataset, seed: int) -> IntArray:
    """Return the rows of a data set in an order of which every beginning has about the class shares of the whole.

    Splits of the data are kept in proportion too.
    """
    rng = np.random.default_rng(seed)
    position = np.empty(len(dataset))
    for rows in _strata(dataset):
        rows = rng.permutation(rows)
        position[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    order: IntArray = np.argsort(position, kind="stable")
    return order


def n_classes_of(dataset: Dataset) -> int:
    """Return how many classes have rows; 1 without labels."""
    return 1 if dataset.labels is None else len(np.unique(dataset.labels))


class RaceSample(NamedTuple):
    """The parts of a run, sampled.

    Attributes
    ----------
    target, references : Split or PackSource
    drawn : array of bool of shape (n_rows,)
        Which rows of the target were drawn in proportion.
    n_items : int
        Rows of all parts.
    """

    target: Split
    references: list[Part]
    drawn: BoolArray
    n_items: int


class Sampler:
    """Draws nested samples of the parts of a run.

    Parameters
    ----------
    target : Split
    references : sequence of Split or PackSource
        Each is sampled to the size of the target's sample, or to more where it has many classes. Packs stay whole.
    settings : Settings
    """

    def __init__(self, target: Split, references: Sequence[Part], settings: Settings) -> None:
        self._target = target
        self._references = references
        self._settings = settings
        splits = [target, *(part for part in references if isinstance(part, Split))]
        self._orders = {id(part): nested_order(part.dataset, settings.seed) for part in splits}

    def __call__(self, size: int) -> RaceSample:
        """Return a sample of so many rows of the target.

        Raises
        ------
        LabelError, TaskError
            If the rows make no task, because labels come with the features and are not known here.
        """
        order = self._orders[id(self._target)]
        target, rows = self._sampled(self._target, size)
        n_items = len(rows)
        references: list[Part] = []
        for part in self._references:
            if isinstance(part, Split):
                part, of_part = self._sampled(part, max(size, _PER_CLASS * n_classes_of(part.dataset)))
                n_items += len(of_part)
            references.append(part)
        return RaceSample(target, references, np.isin(rows, order[:size]), n_items)

    def _sampled(self, part: Split, size: int) -> tuple[Split, IntArray]:
        """Return a part with so many rows, and with the first of every class and split; and which rows these are."""
        order = self._orders[id(part)]
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        first = [rows[np.argsort(rank[rows])[:LEAST_ROWS]] for rows in _strata(part.dataset)]
        rows: IntArray = np.union1d(order[:size], np.concatenate(first))
        whole = len(rows) == len(order)
        return part if whole else prepare(part.dataset.subset(rows), self._settings), rows


def _strata(dataset: Dataset) -> list[IntArray]:
    """Return the rows of each class, of each split by itself."""
    labels = np.zeros(len(dataset), dtype=np.int64) if dataset.labels is None else dataset.labels
    strata = labels if dataset.in_test is None else 2 * labels + dataset.in_test
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
