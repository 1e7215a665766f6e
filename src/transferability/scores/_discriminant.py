r"""Linear discriminant with the adaptive shrinkage of SFDA.

The within-class covariance is :math:`(1 - \lambda) S_w + \lambda \mu I` with :math:`\mu = \operatorname{tr}(S_w) / d`
and :math:`\lambda = \max(e^{-5 \sigma_{\max}(S_w)}, 10^{-10})`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import array_api_compat
import numpy as np
import scipy.linalg

from transferability._array import Array, IntArray, Namespace, as_numpy
from transferability.errors import FeatureError
from transferability.statistics._inputs import add_to_diagonal, is_numpy
from transferability.statistics.moments import ClassMoments, within_scatter

__all__ = [
    "Discriminant",
    "euclidean_discriminant",
    "fit_discriminant",
    "own_entries",
    "require_variation",
    "row_softmax",
]

_NEAR = 1e4
"""Class scores at the centre of the classes, seen from the origin, of which the rounding is below 1e-11."""
_ROUNDINGS = 4
"""Of a mean: a standard deviation within classes of so many times n ε of the size of the features is none."""


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Linear discriminant: class scores are (x − origin) @ weights + offsets."""

    origin: Array | None  # (d,), or None for zero
    weights: Array  # (d, K)
    offsets: Array  # (K,)
    class_means: Array  # (K, d), of what it was fitted to
    shrinkage: float

    def posteriors(self, xp: Namespace, features: Array) -> Array:
        """Return the class posteriors of a block of rows, (n, d) -> (n, K)."""
        if self.origin is not None:
            features = features - self.origin
        return row_softmax(xp, features @ self.weights + self.offsets)


def fit_discriminant(
    moments: ClassMoments,
    blocks: Callable[[], Iterator[tuple[Array, IntArray]]],
    shrinkage: float | None = None,
) -> Discriminant:
    """Fit the discriminant to blocks of rows whose moments are given; `shrinkage` in place of the adaptive one.

    Raises
    ------
    FeatureError
        If the features are constant within every class.
    """
    xp = moments.xp
    within = within_scatter(moments, blocks)
    require_variation(moments, within)
    within /= moments.n_samples
    level = float(xp.linalg.trace(within)) / moments.n_features
    if shrinkage is None:
        shrinkage = max(math.exp(-5 * _largest_eigenvalue(xp, within)), 1e-10)
    within *= 1 - shrinkage
    within = add_to_diagonal(xp, within, shrinkage * level)
    centre = _centre(moments)
    means = moments.class_means - centre
    if is_numpy(xp):
        weights = scipy.linalg.solve(within.T, means.T, assume_a="pos", overwrite_a=True, check_finite=False)
    else:
        weights = xp.linalg.solve(within, means.T)
    return _with_offsets(moments, centre, weights, shrinkage)


def require_variation(moments: ClassMoments, within: Array) -> None:
    """Raise `FeatureError` if what varies within the classes is the rounding of their means."""
    xp, n = moments.xp, moments.n_samples
    square = float(xp.linalg.trace(moments.scatter)) / n + float(moments.mean @ moments.mean)
    if float(xp.linalg.trace(within)) <= (_ROUNDINGS * float(np.finfo(np.float64).eps) * n) ** 2 * square:
        message = "`features` must vary within the classes; all samples of a class are equal: there is no covariance."
        raise FeatureError(message)


def euclidean_discriminant(moments: ClassMoments) -> Discriminant:
    """Return the discriminant with the identity in place of the covariance."""
    centre = _centre(moments)
    return _with_offsets(moments, centre, (moments.class_means - centre).T, 1.0)


def _centre(moments: ClassMoments) -> Array:
    """Return a point amid the class means: it shifts all class scores of a sample alike, and keeps them small.

    A median, since an outlier takes the mean, and that of its class, away from all others.
    """
    middle = np.sort(as_numpy(moments.class_means), axis=0)[moments.n_classes // 2]
    return moments.xp.asarray(middle, device=array_api_compat.device(moments.mean))


def _with_offsets(moments: ClassMoments, centre: Array, weights: Array, shrinkage: float) -> Discriminant:
    xp, means = moments.xp, moments.class_means - centre
    priors = xp.asarray(np.log(moments.class_priors), device=array_api_compat.device(means))
    offsets = -0.5 * xp.linalg.vecdot(means, weights.T) + priors
    at_centre = centre @ weights
    if float(xp.max(xp.abs(at_centre))) < _NEAR:  # which saves a pass over the features
        return Discriminant(None, weights, offsets - at_centre, moments.class_means, shrinkage)
    return Discriminant(centre, weights, offsets, moments.class_means, shrinkage)


def _largest_eigenvalue(xp: Namespace, matrix: Array) -> float:
    if not is_numpy(xp):
        return float(xp.linalg.eigvalsh(matrix)[-1])
    last = len(matrix) - 1
    (value,) = scipy.linalg.eigh(matrix, eigvals_only=True, subset_by_index=[last, last], check_finite=False)
    return float(value)


def row_softmax(xp: Namespace, scores: Array) -> Array:
    """Return the softmax of each row."""
    exponentials = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=1, keepdims=True)


def own_entries(xp: Namespace, values: Array, labels: IntArray) -> Array:
    """Return the entry of each row at its label, (n, K) -> (n,)."""
    index = xp.asarray(labels[:, None], device=array_api_compat.device(values))
    return xp.take_along_axis(values, index, axis=1)[:, 0]
