"""kNN: leave-one-out accuracy of the nearest neighbours' vote."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from transferability._array import Array, FloatArray, IntArray, Namespace, as_numpy
from transferability._validate import check_labels
from transferability.errors import OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import as_features, is_numpy, row_blocks

__all__ = ["SCORES", "KnnResult", "knn"]

_BLOCK_ELEMENTS = 1 << 20
_MANY = 8
"""Samples to measure again, per neighbour, beyond which a product in double precision is cheaper."""


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
    labels : array of int of shape (n_samples,)
        Classes 0..K−1, each with a sample.
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
    screened in single precision and those that it cannot tell apart are measured again, so that they are right to the
    precision of the features. Elsewhere products are formed in that precision: neighbours at all but equal distance may
    change places. Where classes tie, the one whose sample is nearest wins; transformer-ranker takes the smallest label,
    which depends on how classes are numbered.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [0.14]])
    >>> round(float(knn(x, np.array([0, 0, 0, 1, 1, 1]), n_neighbors=1)), 4)
    0.5
    """
    array, xp = as_features(features)
    checked = check_labels(labels, array.shape[0])
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
    rows = max(1, _BLOCK_ELEMENTS // n)
    screen = _Screen(array, centred, k) if is_numpy(xp) else None
    norms = xp.linalg.vecdot(centred, centred)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        found = screen.neighbours(start, stop) if screen else None
        if found is None:
            distances = norms - 2 * (centred[start:stop, ...] @ centred.T)  # squared, less that of the block's sample
            found = _nearest(xp, distances, start, k)
        yield start, found


class _Screen:
    """Neighbours by distances in single precision; where these cannot tell them apart, in double precision.

    A single-precision product of rows x and y of d features is off by at most d ε ‖x‖ ‖y‖, and rounding of the rows and
    of the squared norms adds a few ε (‖x‖² + ‖y‖²). Whatever is not farther than the k-th neighbour by twice the bound
    is measured again.
    """

    def __init__(self, features: FloatArray, centred: FloatArray, k: int) -> None:
        self._k, self._features = k, features
        largest = float(np.abs(centred).max()) or 1.0
        self._single = (centred / largest).astype(np.float32)  # neither squares nor bounds leave the range
        norms = np.einsum("ij,ij->i", self._single, self._single, dtype=np.float64)
        bounds = 2 * centred.shape[1] * np.sqrt(norms * norms.max()) + 16 * (norms + norms.max())
        self._slack = (2 * np.finfo(np.float32).eps * bounds).astype(np.float32)
        self._norms = norms.astype(np.float32)

    def neighbours(self, start: int, stop: int) -> IntArray | None:
        """Return the neighbours of a block of rows, (rows, k); None where too many are nearly as near."""
        distances = self._norms - 2 * (self._single[start:stop] @ self._single.T)
        distances[np.arange(stop - start), np.arange(start, stop)] = np.inf
        last = self._k - 1
        limits = np.partition(distances, last, axis=1)[:, last] + self._slack[start:stop]
        near = distances <= limits[:, None]
        if np.count_nonzero(near) > _MANY * self._k * (stop - start):
            return None
        rows, columns = np.nonzero(near)
        exact = np.empty(len(rows))
        step = max(1, _BLOCK_ELEMENTS // self._features.shape[1])
        for first in range(0, len(rows), step):
            pairs = slice(first, first + step)
            difference = np.subtract(
                self._features[start + rows[pairs]], self._features[columns[pairs]], dtype=np.float64
            )
            exact[pairs] = np.einsum("ij,ij->i", difference, difference)
        order = np.lexsort((exact, rows))
        firsts = np.searchsorted(rows, np.arange(stop - start))
        return np.asarray(columns[order][firsts[:, None] + np.arange(self._k)])


def _nearest(xp: Namespace, distances: Array, start: int, k: int) -> IntArray:
    """Return the columns of the k smallest entries of each row, smallest first, (rows, n) -> (rows, k) on the host.

    Entry (i, start + i) is a sample's distance to itself and left out.
    """
    columns = xp.arange(distances.shape[1], device=array_api_compat.device(distances))[None, :]
    own = xp.arange(start, start + distances.shape[0], device=array_api_compat.device(distances))[:, None]
    distances = xp.where(columns == own, math.inf, distances)
    if isinstance(distances, np.ndarray):
        part = np.argpartition(distances, k - 1, axis=1)[:, :k]
        return np.take_along_axis(part, np.take_along_axis(distances, part, axis=1).argsort(axis=1), axis=1)
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
