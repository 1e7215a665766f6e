r"""SFDA: mean posterior of the right class in a self-challenging Fisher space.

Shao et al. [1]_. A linear discriminant with covariance :math:`(1 - \lambda) S_w + \lambda \mu I`,
:math:`\lambda = \max(e^{-5 \sigma_{\max}(S_w)}, 10^{-10})`, gives each sample a confidence :math:`p_i` in its class;
samples are mixed with the mean of the other classes' centroids, :math:`p_i x_i + (1 - p_i) \bar m_{\ne y_i}`, to make
the problem harder; the score is the mean posterior of a second discriminant fitted to the mixed samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat

from transferability._array import Array, IntArray, Namespace
from transferability.scores._discriminant import Discriminant, fit_discriminant, own_entries, row_softmax
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import row_blocks
from transferability.statistics.moments import moments_of_blocks

__all__ = ["SCORES", "SfdaResult", "sfda"]


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


def sfda(features: Any, labels: Any) -> SfdaResult:
    """Return SFDA of features for labels.

    Higher is better; between 0 and 1, a mean probability.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.

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
    return _sfda(LabelledFeatures(features, labels))


def _sfda(data: LabelledFeatures) -> SfdaResult:
    xp, first = data.xp, data.discriminant

    def mixed_blocks() -> Iterator[tuple[Array, IntArray]]:
        return _mixed_blocks(xp, data.array, data.labels, first)

    moments = moments_of_blocks(xp, mixed_blocks, data.n_classes, data.array)
    second = fit_discriminant(moments, mixed_blocks, first.shrinkage)
    total = 0.0
    for block, block_labels in mixed_blocks():
        total += float(xp.sum(own_entries(xp, second.posteriors(xp, block), block_labels)))
    value = min(total / data.n_samples, 1.0)
    if data.tall:
        return SfdaResult(value, shrinkage=first.shrinkage)
    note = f"saturated: with {data.n_samples} samples in {data.n_features} dimensions SFDA is near 1 for any features."
    return SfdaResult(value, shrinkage=first.shrinkage, notes=(note,))


def _mixed_blocks(
    xp: Namespace, features: Array, labels: IntArray, first: Discriminant
) -> Iterator[tuple[Array, IntArray]]:
    """Yield the samples, in blocks, mixed with the centroids of the other classes as their confidence asks."""
    means = first.class_means
    others = (xp.sum(means, axis=0) - means) / (means.shape[0] - 1)  # (K, d)
    for start, block in row_blocks(xp, features):
        own = labels[start : start + block.shape[0]]
        # The authors soften the posteriors by a second softmax.
        confidence = own_entries(xp, row_softmax(xp, first.posteriors(xp, block)), own)[:, None]
        rows = xp.take(others, xp.asarray(own, device=array_api_compat.device(block)), axis=0)
        yield confidence * block + (1 - confidence) * rows, own


def _from_inputs(inputs: ScoreInputs) -> SfdaResult:
    return _sfda(inputs.labelled)


SCORES = (
    ScoreInfo(
        "sfda",
        SfdaResult,
        description="mean posterior of the right class in a self-challenging Fisher space",
        range="0 … 1",
        cost="O(n d² + d³)",
        limitations="n ≤ d: it saturates at 1; its shrinkage depends on the scale of the features",
        function=_from_inputs,
        invariant_to=frozenset({"shift", "rotation"}),
    ),
)
