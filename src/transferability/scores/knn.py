"""kNN: leave-one-out accuracy of the nearest neighbours' vote."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from transferability._array import Array, BoolArray, FloatArray, IntArray, Namespace, as_numpy
from transferability._class_numbers import class_codes
from transferability.errors import OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import as_features, is_numpy, row_blocks, to_float64

__all__ = ["SCORES", "KnnResult", "knn"]

_BLOCK_ELEMENTS = 1 << 20
_MANY = 8
"""Samples to measure again, per neighbour, that are few however few there are in all."""
_PRODUCT_PER_DIFFERENCE = 32
"""Entries of a product in double precision that take the time of one squared difference of two rows."""


@dataclass(frozen=True)
class KnnResult(ScoreResult):
    """Leave-one-out nearest-neighbour accuracy."""

    name: ClassVar[str] = "knn"
    lower_bound: ClassVar[float] = 0.0
    upper_bound: ClassVar[float] = 1.0


def knn(features: Any, labels: Any, *, n_neighbors: int = 3) -> KnnResult:
    """Return the leave-one-out accuracy of a vote among the nearest neighbours, in Euclidean distance.

    Higher is better; between 0 and 1, a share of the samples.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.
    n_neighbors : int, default=3
        How many vote; between 1 and n_samples − 1.

    Returns
    -------
    KnnResult

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n² d), memory O(n d) once (the features, centred) and a block of distances. On the host, neighbours are
    screened in single precision and those that it cannot tell apart are measured again, in double precision and from
    the differences of the rows, so that they are right to the precision of the features. Elsewhere products are formed
    in that precision, or in double where rounding would reach a hundredth of a squared distance: neighbours at all but
    equal distance may change places. Where classes tie, the one whose sample is nearest wins; transformer-ranker takes
    the smallest label, which depends on how classes are numbered.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [0.14]])
    >>> round(float(knn(x, np.array([0, 0, 0, 1, 1, 1]), n_neighbors=1)), 4)
    0.5
    """
    array, xp = as_features(features)
    checked = class_codes(labels, array.shape[0])
    n = array.shape[0]
    if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, (int, np.integer)) or not 1 <= n_neighbors < n:
        message = (
            f"`n_neighbors` must be an integer from 1 to {n - 1}, the number of other samples; got {n_neighbors!r}."
        )
        raise OptionError(message)
    right = 0
    for start, nearest in _neighbours(xp, array, int(n_neighbors)):
        votes = checked[nearest]  # (rows, k), nearest first
        counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
        winner = votes[np.arange(len(votes)), counts.argmax(axis=1)]  # the first, hence nearest, of the best
        right += int((winner == checked[start : start + len(votes)]).sum())
    return KnnResult(right / n)


def _neighbours(xp: Namespace, array: Array, k: int) -> Iterator[tuple[int, IntArray]]:
    """Yield (first row, neighbours of a block of rows, (rows, k), nearest first)."""
    n = array.shape[0]
    mean = sum((xp.sum(block, axis=0) for _, block in row_blocks(xp, array)), start=0.0) / n
    centred = array - xp.astype(mean, array.dtype)  # distances lose fewer digits near the origin
    screen = _HostScreen(array, mean, centred, k) if is_numpy(xp) else _DeviceScreen(xp, array, mean, centred, k)
    rows = max(1, _BLOCK_ELEMENTS // n)
    for start in range(0, n, rows):
        yield start, screen.neighbours(start, min(start + rows, n))


class _Products:
    """Squared distances from products of rows, in one precision, with a bound on how far rounding takes them.

    A product of rows x and y of d features is off by at most d ε ‖x‖ ‖y‖, and rounding of the rows and of the squared
    norms adds a few ε (‖x‖² + ‖y‖²).
    """

    def __init__(self, centred: FloatArray, dtype: type[np.floating[Any]]) -> None:
        largest = float(np.abs(centred).max()) or 1.0
        self._rows = np.divide(centred, largest).astype(dtype)  # neither squares nor bounds leave the range
        norms = np.einsum("ij,ij->i", self._rows, self._rows, dtype=np.float64)
        bounds = 2 * centred.shape[1] * np.sqrt(norms * norms.max()) + 16 * (norms + norms.max())
        self._slack = (2 * np.finfo(dtype).eps * bounds).astype(dtype)
        self._norms = norms.astype(dtype)

    def near(self, rows: IntArray | slice, own: IntArray, k: int) -> BoolArray:
        """Tell which samples may be among the k nearest of these rows, (rows, n)."""
        distances = self._norms - 2 * (self._rows[rows] @ self._rows.T)  # squared, less that of the row
        distances[np.arange(len(own)), own] = np.inf
        limits = np.partition(distances, k - 1, axis=1)[:, k - 1] + self._slack[rows]
        return np.asarray(distances <= limits[:, None])


class _HostScreen:
    """Neighbours by products in single precision, and what these cannot tell apart by differences.

    Where too many samples are nearly as near, products in double precision leave fewer; where these cannot tell them
    apart either (of groups that are farther from each other than 10⁷ times their width), all differences are taken.
    """

    def __init__(self, features: FloatArray, mean: FloatArray, centred: FloatArray, k: int) -> None:
        self._features, self._mean, self._k = features, mean, k
        self._single = _Products(centred, np.float32)
        self._many = max(_MANY * k, len(features) // _PRODUCT_PER_DIFFERENCE)

    @cached_property
    def _double(self) -> _Products:
        return _Products(self._features - self._mean, np.float64)  # not of what was centred in single precision

    @cached_property
    def _exact(self) -> FloatArray:
        return self._features.astype(np.float64, copy=False)

    def neighbours(self, start: int, stop: int) -> IntArray:
        """Return the neighbours of a block of rows, (rows, k)."""
        own, found = np.arange(start, stop), np.empty((stop - start, self._k), dtype=np.int64)
        near = self._single.near(slice(start, stop), own, self._k)
        clear = np.count_nonzero(near, axis=1) <= self._many
        if clear.all():
            return self._among(own, near)
        found[clear] = self._among(own[clear], near[clear])
        own = own[~clear]
        near = self._double.near(own, own, self._k)
        clear = np.count_nonzero(near, axis=1) <= self._many
        found[own[clear] - start] = self._among(own[clear], near[clear])
        if not clear.all():
            found[own[~clear] - start] = self._by_differences(own[~clear])
        return found

    def _among(self, own: IntArray, near: BoolArray) -> IntArray:
        """Return the nearest of the samples that are marked, (rows, n) -> (rows, k)."""
        rows, columns = np.nonzero(near)
        exact = np.empty(len(rows))
        step = max(1, _BLOCK_ELEMENTS // self._features.shape[1])
        for first in range(0, len(rows), step):
            pairs = slice(first, first + step)
            difference = np.subtract(self._features[own[rows[pairs]]], self._features[columns[pairs]], dtype=np.float64)
            exact[pairs] = np.einsum("ij,ij->i", difference, difference)
        return self._in_order(rows, columns, exact, len(own))

    def _by_differences(self, own: IntArray) -> IntArray:
        from scipy.spatial.distance import cdist

        different, place = np.unique(self._exact[own], axis=0, return_inverse=True)  # of copies, one is enough
        distances = cdist(different, self._exact, "sqeuclidean")[np.ravel(place)]
        distances[np.arange(len(own)), own] = np.inf
        limits = np.partition(distances, self._k - 1, axis=1)[:, self._k - 1]
        rows, columns = np.nonzero(distances <= limits[:, None])
        return self._in_order(rows, columns, distances[rows, columns], len(own))

    def _in_order(self, rows: IntArray, columns: IntArray, distances: FloatArray, n_rows: int) -> IntArray:
        """Return the k nearest columns of each row, the first of those at equal distance; `rows` ascend."""
        order = np.lexsort((distances, rows))
        firsts = np.searchsorted(rows, np.arange(n_rows))
        return np.asarray(columns[order][firsts[:, None] + np.arange(self._k)])


class _DeviceScreen:
    """Neighbours by products in the precision of the features, or in double precision where that loses them."""

    def __init__(self, xp: Namespace, features: Array, mean: Array, centred: Array, k: int) -> None:
        self._xp, self._features, self._mean, self._centred, self._k = xp, features, mean, centred, k
        self._norms = xp.linalg.vecdot(centred, centred)
        self._largest = float(xp.max(self._norms))

    @cached_property
    def _double(self) -> Array:
        return to_float64(self._xp, self._features) - self._mean

    def neighbours(self, start: int, stop: int) -> IntArray:
        """Return the neighbours of a block of rows, (rows, k)."""
        distances = self._distances(self._centred, self._norms, start, stop)
        found = _nearest(self._xp, distances, start, self._k)
        if self._centred.dtype == self._xp.float64 or not self._is_lost(distances, found[:, -1], start, stop):
            return found
        norms = self._xp.linalg.vecdot(self._double, self._double)
        return _nearest(self._xp, self._distances(self._double, norms, start, stop), start, self._k)

    def _distances(self, rows: Array, norms: Array, start: int, stop: int) -> Array:
        return norms - 2 * (rows[start:stop, ...] @ rows.T)  # squared, less that of the block's sample

    def _is_lost(self, distances: Array, last: IntArray, start: int, stop: int) -> bool:
        """Tell whether rounding may reach a hundredth of the squared distance to a k-th neighbour."""
        xp, norms = self._xp, self._norms[start:stop]
        column = xp.asarray(last[:, None], device=array_api_compat.device(distances))
        kth = xp.take_along_axis(distances, column, axis=1)[:, 0] + norms
        rounding = 4 * float(xp.finfo(distances.dtype).eps) * (norms + self._largest)
        return bool(xp.any(kth < 100 * rounding))


def _nearest(xp: Namespace, distances: Array, start: int, k: int) -> IntArray:
    """Return the columns of the k smallest entries of each row, smallest first, (rows, n) -> (rows, k) on the host.

    Entry (i, start + i) is a sample's distance to itself and left out.
    """
    columns = xp.arange(distances.shape[1], device=array_api_compat.device(distances))[None, :]
    own = xp.arange(start, start + distances.shape[0], device=array_api_compat.device(distances))[:, None]
    distances = xp.where(columns == own, math.inf, distances)
    found = []
    for _ in range(k):  # the standard has no partial sort
        column = xp.argmin(distances, axis=1, keepdims=True)
        found.append(as_numpy(column))
        distances = xp.where(columns == column, math.inf, distances)
    return np.concatenate(found, axis=1)


def _from_inputs(inputs: ScoreInputs) -> KnnResult:
    return knn(inputs.features, inputs.checked_labels)


SCORES = (
    ScoreInfo(
        "knn",
        KnnResult,
        description="leave-one-out accuracy of the vote of the three nearest neighbours",
        range="0 … 1",
        cost="O(n² d)",
        limitations="none known",
        function=_from_inputs,
        invariant_to=frozenset({"shift", "scale", "rotation"}),
    ),
)
