r"""Linear discriminant with the adaptive shrinkage of SFDA.

The within-class covariance is :math:`(1 - \lambda) S_w + \lambda \mu I` with :math:`\mu = \operatorname{tr}(S_w) / d`
and :math:`\lambda = \max(e^{-5 \sigma_{\max}(S_w)}, 10^{-10})`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import array_api_compat
import numpy as np
import scipy.linalg

from transferability._array import Array, IntArray, Namespace
from transferability.errors import FeatureError
from transferability.statistics._inputs import add_to_diagonal, is_numpy
from transferability.statistics.moments import ClassMoments

__all__ = ["Discriminant", "euclidean_discriminant", "fit_discriminant", "own_entries", "row_softmax"]


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Linear discriminant: class scores are x @ weights + offsets."""

    weights: Array  # (d, K)
    offsets: Array  # (K,)
    class_means: Array  # (K, d), of what it was fitted to
    shrinkage: float

    def posteriors(self, xp: Namespace, features: Array) -> Array:
        """Return the class posteriors of a block of rows, (n, d) -> (n, K)."""
        return row_softmax(xp, features @ self.weights + self.offsets)


def fit_discriminant(moments: ClassMoments, shrinkage: float | None = None) -> Discriminant:
    """Fit the discriminant; `shrinkage` in place of the adaptive one where given.

    Raises
    ------
    FeatureError
        If the features are constant within every class.
    """
    xp = moments.xp
    within = moments.within_scatter()
    within /= moments.n_samples
    level = float(xp.linalg.trace(within)) / moments.n_features
    if level <= 1e-14 * float(xp.linalg.trace(moments.scatter)) / moments.n_samples or level == 0:
        message = "`features` must vary within the classes; all samples of a class are equal: there is no covariance."
        raise FeatureError(message)
    if shrinkage is None:
        shrinkage = max(math.exp(-5 * _largest_eigenvalue(xp, within)), 1e-10)
    within *= 1 - shrinkage
    within = add_to_diagonal(xp, within, shrinkage * level)
    # The global mean shifts all class scores of a sample alike; without it the offsets do not cancel.
    means = moments.class_means - moments.mean
    if is_numpy(xp):
        weights = scipy.linalg.solve(within.T, means.T, assume_a="pos", overwrite_a=True, check_finite=False)
    else:
        weights = xp.linalg.solve(within, means.T)
    return _with_offsets(moments, weights, shrinkage)


def euclidean_discriminant(moments: ClassMoments) -> Discriminant:
    """Return the discriminant with the identity in place of the covariance."""
    return _with_offsets(moments, (moments.class_means - moments.mean).T, 1.0)


def _with_offsets(moments: ClassMoments, weights: Array, shrinkage: float) -> Discriminant:
    xp, means = moments.xp, moments.class_means - moments.mean
    priors = xp.asarray(np.log(moments.class_priors), device=array_api_compat.device(means))
    offsets = -0.5 * xp.linalg.vecdot(means, weights.T) - moments.mean @ weights + priors
    return Discriminant(weights, offsets, moments.class_means, shrinkage)


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
