"""kNN: leave-one-out accuracy of the nearest neighbours' vote."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from transferability._array import Array, IntArray, Namespace, as_numpy
from transferability._validate import check_labels
from transferability.errors import OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import as_features, row_blocks

__all__ = ["SCORES", "KnnResult", "knn"]

_BLOCK_ELEMENTS = 1 << 20


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
    Cost O(n² d), memory O(n d) once (the features, centred) and a block of distances. Products are formed in the
    precision of the features: with float32 a few neighbours at all but equal distance may change places. Where classes
    tie, the one whose sample is nearest wins; transformer-ranker takes the smallest label, which depends on how
    classes are numbered.

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
    mean = sum((xp.sum(block, axis=0) for _, block in row_blocks(xp, array)), start=0.0) / n
    centred = array - xp.astype(mean, array.dtype)  # distances lose fewer digits near the origin
    norms = xp.linalg.vecdot(centred, centred)
    rows = max(1, _BLOCK_ELEMENTS // n)
    right = 0
    for start in range(0, n, rows):
        block = centred[start : min(start + rows, n), ...]
        distances = norms - 2 * (block @ centred.T)  # squared, less the norm of the block's own sample
        nearest = _nearest(xp, distances, start, int(n_neighbors))
        votes = checked[nearest]  # (rows, k), nearest first
        counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
        winner = votes[np.arange(len(votes)), counts.argmax(axis=1)]  # the first, hence nearest, of the best
        right += int((winner == checked[start : start + rows]).sum())
    return KnnResult(right / n)


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
