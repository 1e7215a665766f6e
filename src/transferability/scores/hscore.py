r"""H-score: how much of the class structure a linear function of the features can express.

.. math:: H = \operatorname{tr}\big(\operatorname{cov}(f)^{+} \operatorname{cov}(\mathbb E[f \mid y])\big)
            = \sum_c n_c \|U^\top \hat m_c\|^2

Bao et al. [1]_; the second form, with U an orthonormal basis of the centred features' columns and the mean taken over
the class, is what is computed here, from class moments. Multivariate statistics calls it Pillai's trace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from transferability._array import Array, IntArray, Namespace
from transferability._validate import check_choice
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import one_hot, to_float64
from transferability.statistics.moments import ClassMoments
from transferability.statistics.roots import Rows
from transferability.statistics.shrinkage import ledoit_wolf_shrinkage, shrunk_covariance, shrunk_rows
from transferability.statistics.spectrum import eigen_projections, inverse_trace

__all__ = ["SCORES", "HScoreResult", "h_score", "h_score_from_moments"]


@dataclass(frozen=True)
class HScoreResult(ScoreResult):
    """H-score.

    Attributes
    ----------
    rank : int
        Rank of the centred features.
    shrinkage : float
        Weight of the identity in the covariance; 0 for the plain score.
    """

    name: ClassVar[str] = "h_score"
    lower_bound: ClassVar[float] = 0.0  # the upper bound is K − 1

    rank: int
    shrinkage: float = 0.0


def h_score(features: Any, labels: Any, *, shrinkage: str | None = None) -> HScoreResult:
    """Return the H-score of features for labels.

    Higher is better; between 0 and K − 1, without unit.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.
    shrinkage : {None, "ledoit-wolf"}, default=None
        With Ledoit–Wolf shrinkage of the covariance the score is a different number by design [2]_, of use where there
        are few samples: the plain score is K − 1 for **any** features in general position once n ≤ d, and says nothing.

    Returns
    -------
    HScoreResult
        `value`, `rank`, `shrinkage`, and a note where the score says nothing.

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n d² + d³/3), memory O(d²); O(n² d + n³) for n ≤ d. Against public implementations:

    1. Directions without variance are left out by a relative cut-off (as `numpy.linalg.pinv`); with its 1e-15 they
       contribute rounding noise, and a ridge of 1e-6 (PACTran's code) depends on the scale of the features.
    2. The shrunk score keeps the two different divisors of the code of [2]_: n for the covariance of the features,
       n − 1 for that of the class means, so that published numbers are met.
    3. The features are not changed.

    References
    ----------
    .. [1] Bao et al. An information-theoretic approach to transferability in task transfer learning. ICIP 2019.
    .. [2] Ibrahim, Ponomareva, Mazumder. Newer is not always better. ECML PKDD 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [0.1, 0.0], [1.0, 1.0], [0.9, 0.0]])
    >>> round(float(h_score(x, np.array([0, 0, 1, 1]))), 4)
    0.9878
    """
    if shrinkage is not None:
        check_choice(shrinkage, ["ledoit-wolf"], "shrinkage")
    return _h_score(LabelledFeatures(features, labels), shrinkage)


def h_score_from_moments(moments: ClassMoments, *, shrinkage: str | None = None) -> HScoreResult:
    """Return the H-score from streamed moments: the same number as `h_score` on the samples they were made of.

    Raises
    ------
    LabelError
        If a class has no sample.
    OptionError
        If `shrinkage` is neither None nor "ledoit-wolf".
    """
    moments.require_every_class()
    if shrinkage is not None:
        check_choice(shrinkage, ["ledoit-wolf"], "shrinkage")
    return _from_moments(moments, shrinkage, None)


def _from_moments(moments: ClassMoments, shrinkage: str | None, rows: Callable[[], Rows] | None) -> HScoreResult:
    if shrinkage is None:
        value, rank = inverse_trace(moments.xp, moments.scatter, moments.between(), rows)
        return _plain(value, rank, moments.n_samples, moments.n_classes)
    alpha = ledoit_wolf_shrinkage(moments)
    shrunk = rows and (lambda: shrunk_rows(rows(), moments, alpha))
    value, rank = inverse_trace(moments.xp, shrunk_covariance(moments, alpha), moments.between(), shrunk)
    return HScoreResult((1 - alpha) * value / (moments.n_samples - 1), rank=rank, shrinkage=alpha)


def _h_score(data: LabelledFeatures, shrinkage: str | None) -> HScoreResult:
    if shrinkage is None and not data.tall:
        return _plain(*_dual(data.xp, data.array, data.labels), data.n_samples, data.n_classes)
    return _from_moments(data.moments, shrinkage, data.centred_rows if data.tall else None)


def _plain(value: float, rank: int, n_samples: int, n_classes: int) -> HScoreResult:
    value = min(max(value, 0.0), n_classes - 1.0)  # rounding must not leave the range
    if rank < n_samples - 1:
        return HScoreResult(value, rank=rank)
    note = (
        f"says nothing: with {n_samples} samples and {rank} independent features the H-score is K − 1 whatever the "
        "features. Use shrinkage='ledoit-wolf' or more samples."
    )
    return HScoreResult(value, rank=rank, notes=(note,))


def _dual(xp: Namespace, features: Array, labels: IntArray) -> tuple[float, int]:
    """Score and rank through the (n, n) matrix of inner products, for n ≤ d."""
    centred = to_float64(xp, features)
    mean = xp.mean(centred, axis=0)
    centred = centred - mean
    spread = xp.sqrt(xp.sum(centred * centred, axis=0))
    varies = spread > 4 * float(np.finfo(np.float64).eps) * features.shape[0] * xp.abs(mean)  # the rest is rounding
    scale = xp.where(varies, 1 / xp.where(varies, spread, 1.0), 0.0)  # the rank must not depend on units
    centred = centred * scale
    indicator = one_hot(xp, labels, int(labels.max()) + 1, features)
    values, projections = eigen_projections(
        xp, centred @ centred.T, indicator, lambda: Rows(xp, features, mean, dual=True), scale=scale, n_zero=1
    )
    kept = values > 0
    shares = projections[kept] ** 2 / np.bincount(labels)
    return float(shares.sum()), int(kept.sum())


def _plain_score(inputs: ScoreInputs) -> HScoreResult:
    return _h_score(inputs.labelled, None)


def _shrunk_score(inputs: ScoreInputs) -> HScoreResult:
    return _h_score(inputs.labelled, "ledoit-wolf")


SCORES = (
    ScoreInfo(
        "h_score",
        HScoreResult,
        description="share of the class structure that a linear function of the features expresses, times K",
        range="0 … K−1",
        cost="O(n d² + d³)",
        limitations="n ≤ d: it is K − 1 whatever the features",
        function=_plain_score,
        invariant_to=frozenset({"shift", "scale", "rotation"}),
    ),
    ScoreInfo(
        "h_score_shrunk",
        HScoreResult,
        description="H-score with Ledoit–Wolf shrinkage of the covariance",
        range="≥ 0",
        cost="O(n d² + d³)",
        limitations="none known",
        function=_shrunk_score,
        invariant_to=frozenset({"shift", "scale", "rotation"}),
    ),
)
