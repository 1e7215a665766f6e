"""What statistics of classes share: how many samples each has, the labels of a part, and the merging of many parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from transferability._array import FloatArray, IntArray, as_numpy
from transferability._validate import check_labels
from transferability.errors import LabelError, TaskError

__all__ = ["ClassCounts", "merge_parts", "stream_labels"]


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Samples per class.

    Attributes
    ----------
    counts : int array of shape (n_classes,)
    """

    counts: IntArray

    @property
    def n_samples(self) -> int:
        """Number of samples seen."""
        return int(self.counts.sum())

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.counts)

    @property
    def class_priors(self) -> FloatArray:
        """Share of the samples in each class, (n_classes,)."""
        return self.counts / self.n_samples


class _Part(Protocol):
    def merge(self, other: Self) -> Self: ...


P = TypeVar("P", bound=_Part)


def merge_parts(parts: Iterable[P], kind: str) -> P:
    """Merge `parts` one after the other; `kind` says in the error what they are sets of.

    Raises
    ------
    TaskError
        If there is no part.
    """
    iterator = iter(parts)
    total = next(iterator, None)
    if total is None:
        message = f"`parts` must hold at least one set of {kind}; got none."
        raise TaskError(message)
    for part in iterator:
        total = total.merge(part)
    return total


def stream_labels(labels: Any, n_samples: int, n_classes: int | None) -> tuple[IntArray, int]:
    """Return checked labels and the number of classes.

    With `n_classes` the samples are a part of a stream, in which classes may be missing; with None they are all there
    are, and every class must have one.

    Raises
    ------
    LabelError
        If the labels are not integers, one per sample, in 0..n_classes − 1, or leave out a class.
    """
    if n_classes is None:
        checked = check_labels(labels, n_samples)
        return checked, int(checked.max()) + 1
    array = as_numpy(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) != n_samples:
        message = (
            f"`labels` must be integers of shape ({n_samples},), one per row of the features; "
            f"got {array.dtype} of shape {array.shape}."
        )
        raise LabelError(message)
    array = array.astype(np.int64, copy=False)
    if int(array.min()) < 0 or int(array.max()) >= n_classes:
        row = int(np.argmax((array < 0) | (array >= n_classes)))
        message = (
            f"`labels` must lie in 0..{n_classes - 1} (`n_classes` = {n_classes}); row {row} is {int(array[row])}."
        )
        raise LabelError(message)
    return array, n_classes
