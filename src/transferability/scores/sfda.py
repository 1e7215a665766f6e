r"""SFDA: mean posterior of the right class in a self-challenging Fisher space.

Shao et al. [1]_. A linear discriminant with covariance :math:`(1 - \lambda) S_w + \lambda \mu I`,
:math:`\lambda = \max(e^{-5 \sigma_{\max}(S_w)}, 10^{-10})`, gives each sample a confidence :math:`p_i` in its class;
samples are mixed with the mean of the other classes' centroids, :math:`p_i x_i + (1 - p_i) \bar m_{\ne y_i}`, to make
the problem harder; the score is the mean posterior of a second discriminant fitted to the mixed samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat
import numpy as np
import scipy.linalg

from transferability._array import Array, IntArray, Namespace
from transferability._validate import check_labels
from transferability.errors import FeatureError
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import add_to_diagonal, as_features, is_numpy, row_blocks
from transferability.statistics.moments import ClassMoments, class_moments, moments_of_blocks

__all__ = ["SfdaResult", "sfda"]


@dataclass(frozen=True)
class SfdaResult(ScoreResult):
    """SFDA.

    Attributes
    ----------
    shrinkage : float
        Weight λ of the identity in the within-class covariance.
    """

    name: ClassVar[str] = "sfda"
    lower_bound: ClassVar[float] = 0.0
    upper_bound: ClassVar[float] = 1.0

    shrinkage: float


@dataclass(frozen=True, eq=False)
class _Discriminant:
    """Linear discriminant: class scores are x @ weights + offsets."""

    weights: Array  # (d, K)
    offsets: Array  # (K,)
    class_means: Array  # (K, d), of what it was fitted to
    shrinkage: float

    def posteriors(self, xp: Namespace, features: Array) -> Array:
        return _softmax(xp, features @ self.weights + self.offsets)


def sfda(features: Any, labels: Any) -> SfdaResult:
    """Return SFDA of features for labels.

    Higher is better; between 0 and 1, a mean probability.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of int of shape (n_samples,)
        Classes 0..K−1, each with a sample.

    Returns
    -------
    SfdaResult

    Raises
    ------
    FeatureError, LabelError
        If an argument is not as said above.
    FeatureError
        If the features are constant within every class.

    Notes
    -----
    Cost O(n d² + d³), memory O(d²). Against the authors' code:

    1. All d generalized eigenvectors are used there, so that their product is the inverse of the within-class
       covariance: one Cholesky factorisation gives the same posteriors.
    2. The largest eigenvalue is exact, not three steps of a power iteration whose start depends on the axes.
    3. The features are not changed; neither they nor the mixed ones are held twice.

    It saturates at 1 once n < d, where classes can always be separated; the result then carries a note.

    References
    ----------
    .. [1] Shao et al. Not all models are equal: predicting model transferability in a self-challenging Fisher space.
       ECCV 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [0.1, 0.0], [0.6, 0.2], [1.0, 1.0], [0.9, 0.0], [0.4, 0.7]])
    >>> round(float(sfda(x, np.array([0, 0, 0, 1, 1, 1]))), 4)
    0.5829
    """
    array, xp = as_features(features)
    checked = check_labels(labels, array.shape[0])
    first = _fit(class_moments(array, checked), None)  # the moments are let go: d² numbers count

    def mixed_blocks() -> Iterator[tuple[Array, IntArray]]:
        return _mixed_blocks(xp, array, checked, first)

    second = _fit(moments_of_blocks(xp, mixed_blocks, first.class_means.shape[0], array), first.shrinkage)
    total = 0.0
    for block, block_labels in mixed_blocks():
        total += float(xp.sum(_own(xp, second.posteriors(xp, block), block_labels)))
    value = min(total / len(checked), 1.0)
    if array.shape[0] > array.shape[1]:
        return SfdaResult(value, shrinkage=first.shrinkage)
    note = (
        f"saturated: with {array.shape[0]} samples in {array.shape[1]} dimensions SFDA is near 1 whatever the features."
    )
    return SfdaResult(value, shrinkage=first.shrinkage, notes=(note,))


def _fit(moments: ClassMoments, shrinkage: float | None) -> _Discriminant:
    xp = moments.xp
    within = moments.within_scatter()
    within /= moments.n_samples
    level = float(xp.linalg.trace(within)) / moments.n_features
    if level <= 1e-14 * float(xp.linalg.trace(moments.scatter)) / moments.n_samples or level == 0:
        message = "`features` must vary within the classes; all samples of a class are equal. SFDA has no covariance."
        raise FeatureError(message)
    if shrinkage is None:
        largest = float(xp.linalg.eigvalsh(within)[-1])
        shrinkage = max(math.exp(-5 * largest), 1e-10)
    within *= 1 - shrinkage
    within = add_to_diagonal(xp, within, shrinkage * level)
    # The global mean shifts all class scores of a sample alike; without it the offsets do not cancel.
    means = moments.class_means - moments.mean
    if is_numpy(xp):
        weights = scipy.linalg.solve(within.T, means.T, assume_a="pos", overwrite_a=True, check_finite=False)
    else:
        weights = xp.linalg.solve(within, means.T)
    priors = xp.asarray(np.log(moments.class_priors), device=array_api_compat.device(means))
    offsets = -0.5 * xp.linalg.vecdot(means, weights.T) - moments.mean @ weights + priors
    return _Discriminant(weights, offsets, moments.class_means, shrinkage)


def _mixed_blocks(
    xp: Namespace, features: Array, labels: IntArray, first: _Discriminant
) -> Iterator[tuple[Array, IntArray]]:
    """Yield the samples, in blocks, mixed with the centroids of the other classes as their confidence asks."""
    means = first.class_means
    others = (xp.sum(means, axis=0) - means) / (means.shape[0] - 1)  # (K, d)
    for start, block in row_blocks(xp, features):
        own = labels[start : start + block.shape[0]]
        # The authors soften the posteriors by a second softmax.
        confidence = _own(xp, _softmax(xp, first.posteriors(xp, block)), own)[:, None]
        rows = xp.take(others, xp.asarray(own, device=array_api_compat.device(block)), axis=0)
        yield confidence * block + (1 - confidence) * rows, own


def _softmax(xp: Namespace, scores: Array) -> Array:
    exponentials = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=1, keepdims=True)


def _own(xp: Namespace, values: Array, labels: IntArray) -> Array:
    """Entry of each row at its label, (n, K) -> (n,)."""
    index = xp.asarray(labels[:, None], device=array_api_compat.device(values))
    return xp.take_along_axis(values, index, axis=1)[:, 0]
