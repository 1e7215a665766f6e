"""Rows with the same content: found by their bytes, and kept on one side of every split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from transferability._array import IntArray
from transferability.datasets.base import Dataset
from transferability.datasets.near_duplicates import near_groups
from transferability.datasets.sampling import split
from transferability.errors import DatasetError, TransferabilityError

__all__ = ["RowSplit", "duplicate_groups", "same_rows", "split_rows"]

_SHOWN = 3


class RowSplit(NamedTuple):
    """Rows for fitting and for measuring, and which rows belong together.

    Attributes
    ----------
    fit_rows, test_rows : arrays of int
        Ascending row numbers.
    groups : array of int of shape (n,)
        Rows of one number are copies that a split must not divide: for `folds`.
    notes : tuple of str
        What a reader must know: how many copies there are, and where they had to be divided.
    """

    fit_rows: IntArray
    test_rows: IntArray
    groups: IntArray
    notes: tuple[str, ...]


def split_rows(dataset: Dataset, test_share: float = 0.3, seed: int = 0, *, near: bool = False) -> RowSplit:
    """Split a data set for fitting and measuring: by the splits it comes in, else class by class at random.

    Copies of a row stay on one side. A class whose rows are all copies of one is divided all the same, and said. Where
    the data come in splits, test rows that repeat a fitting row are not measured, unless a class would be left without.

    Parameters
    ----------
    dataset : Dataset
    test_share : float, default=0.3
        As in `split`.
    seed : int, default=0
        Likewise.
    near : bool, default=False
        Keep pictures that look the same together too (`near_groups`): each is decoded once more.

    Raises
    ------
    DatasetError
        If rows cannot be read, as far as that shows without decoding them: all that are found, in one sentence.
    """
    groups = duplicate_groups(dataset)
    n_contents = len(np.unique(groups))
    labels = np.zeros(len(dataset), dtype=np.int64) if dataset.labels is None else dataset.labels
    notes = _said(dataset, groups)
    if near:
        groups = near_groups(dataset, groups)
        n_alike = n_contents - len(np.unique(groups))
        notes.append(f"{n_alike:,} further pictures of data {dataset.name!r} look like another; they stay with it.")
    if dataset.in_test is not None:
        fit_rows, test_rows = np.flatnonzero(~dataset.in_test), np.flatnonzero(dataset.in_test)
        repeated = np.isin(groups[test_rows], groups[fit_rows])
        if repeated.any():
            said = (
                f"{int(repeated.sum()):,} of {len(test_rows):,} test rows of data {dataset.name!r} repeat a fitting row"
            )
            if np.array_equal(np.unique(labels[test_rows[~repeated]]), np.unique(labels[test_rows])):
                test_rows, said = test_rows[~repeated], f"{said} and are not measured"
            notes = [f"{said}."]
        return RowSplit(fit_rows, test_rows, groups, tuple(notes))
    groups, divided = _divisible(labels, groups)
    if divided:
        names = [str(label) if dataset.class_names is None else dataset.class_names[label] for label in divided]
        shown = ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
        which = f"class {shown} of data" if len(names) == 1 else f"classes {shown} of data"
        which = which if dataset.labels is not None else "data"
        notes.append(f"all rows of {which} {dataset.name!r} are copies of one: they are on both sides of the split.")
    return RowSplit(*split(labels, test_share, seed, groups=groups), groups, tuple(notes))


def duplicate_groups(dataset: Dataset) -> IntArray:
    """Return a number per row, shape (n,), the same for rows with the same content.

    Contents are read and hashed; of files those whose size another file shares.

    Raises
    ------
    DatasetError
        If rows cannot be read, as far as that shows without decoding them.
    """
    sizes = _sizes(dataset)
    shared = Counter(sizes)
    numbers: dict[object, int] = {}
    groups = np.empty(len(dataset), dtype=np.int64)
    for row, size in enumerate(sizes):
        key: object = row if shared[size] == 1 else (size, _digest(dataset, row))
        groups[row] = numbers.setdefault(key, len(numbers))
    return groups


def same_rows(first: Dataset, second: Dataset) -> int:
    """Return how many rows of a data set have the content of a row of another.

    Raises
    ------
    DatasetError
        If rows cannot be read, as far as that shows without decoding them.
    """
    if first.modality != second.modality:
        return 0
    sizes, others = _sizes(first), _sizes(second)
    common = set(sizes) & set(others)
    known = {_digest(second, row) for row, size in enumerate(others) if size in common}
    return sum(_digest(first, row) in known for row, size in enumerate(sizes) if size in common)


def _sizes(dataset: Dataset) -> list[int]:
    """Return the size of the content of each row as far as that is known without reading it, else 0."""
    if dataset.inspect is None:
        return [0] * len(dataset)
    sizes, faults = [], []
    for position in dataset.rows.tolist():
        try:
            sizes.append(dataset.inspect(position))
        except TransferabilityError as error:
            faults.append(str(error))
        except (OSError, ValueError) as error:
            faults.append(f"row {str(dataset.all_ids[position])!r} cannot be read: {error}.")
    if faults:
        message = f"{len(faults):,} of {len(dataset):,} rows of data {dataset.name!r} cannot be read: "
        message += " ".join(faults[:_SHOWN]) + (" …" if len(faults) > _SHOWN else "")
        raise DatasetError(faults[0] if len(faults) == 1 else message)
    return sizes


def _digest(dataset: Dataset, row: int) -> bytes:
    return hashlib.blake2b(dataset.content_of(row), digest_size=16).digest()


def _divisible(labels: IntArray, groups: IntArray) -> tuple[IntArray, list[int]]:
    """Return groups in which the rows of classes that are copies of one row stand alone, and these classes."""
    n_groups_in_all = int(groups.max()) + 1
    pairs = np.unique(labels.astype(np.int64) * n_groups_in_all + groups)  # of each group, every class once
    classes, n_groups = np.unique(pairs // n_groups_in_all, return_counts=True)
    copies = classes[(n_groups == 1) & (np.bincount(labels)[classes] > 1)]
    alone = np.isin(labels, copies)
    if not alone.any():
        return groups, []
    divided = groups.copy()
    divided[alone] = n_groups_in_all + np.arange(int(alone.sum()))
    return divided, copies.tolist()


def _said(dataset: Dataset, groups: IntArray) -> list[str]:
    n_repeated = len(groups) - len(np.unique(groups))
    if not n_repeated:
        return []
    said = f"{n_repeated:,} of {len(groups):,} rows of data {dataset.name!r} repeat the content of another row; "
    said += "copies stay on one side of every split."
    if dataset.labels is not None:
        n_contrary = _n_contrary(zip(groups.tolist(), dataset.labels.tolist(), strict=True))
        if n_contrary:
            said += f" {n_contrary:,} contents have copies of different classes."
    return [said]


def _n_contrary(pairs: Iterable[tuple[int, int]]) -> int:
    """Return how many groups hold more than one class."""
    return sum(n_classes > 1 for n_classes in Counter(group for group, _ in set(pairs)).values())
