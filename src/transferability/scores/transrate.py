r"""TransRate: mutual information of features and labels, with the coding rate in place of the entropy.

.. math:: \text{TrR} = R(Z, \varepsilon) - \frac1K \sum_c R(Z_c, \varepsilon), \qquad
          R(Z, \varepsilon) = \tfrac12 \log\det\Big(I + \frac{1}{n \varepsilon} Z^\top Z\Big)

Huang et al. [1]_, with Z centred over all samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from transferability._array import Array, Namespace
from transferability._validate import check_positive
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import SumOfSquares, add_to_diagonal, row_blocks, to_float64
from transferability.statistics.roots import TRUSTED, Rows

__all__ = ["SCORES", "TransRateResult", "transrate"]

_EPSILON = 1e-4


@dataclass(frozen=True)
class TransRateResult(ScoreResult):
    """TransRate."""

    name: ClassVar[str] = "transrate"


def transrate(features: Any, labels: Any, *, epsilon: float = _EPSILON) -> TransRateResult:
    """Return TransRate of features for labels.

    Higher is better; in nats. It grows with the scale and the dimension of the features, so compare encoders of one
    dimension whose features have one scale.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.
    epsilon : float, default=1e-4
        Distortion, in units of the squared features; positive.

    Returns
    -------
    TransRateResult

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n d² + d³), memory O(d²). Classes weigh alike, as in the authors' listing; the paper's text weighs them by
    their samples, which is the same for balanced classes only.

    References
    ----------
    .. [1] Huang et al. Frustratingly easy transferability estimation. ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [0.1, 0.0], [1.0, 1.0], [0.9, 0.0]])
    >>> round(float(transrate(x, np.array([0, 0, 1, 1]))), 4)
    0.0061
    """
    epsilon = check_positive(epsilon, "epsilon")
    return _transrate(LabelledFeatures(features, labels), epsilon)


def _transrate(data: LabelledFeatures, epsilon: float) -> TransRateResult:
    xp, array = data.xp, data.array
    if data.tall:
        mean = data.moments.mean
        rate = _half_log_determinant(data.centred_rows(), data.moments.scatter / (data.n_samples * epsilon), epsilon)
    else:
        mean = sum((xp.sum(block, axis=0) for _, block in row_blocks(xp, array)), start=0.0) / data.n_samples
        rate = _coding_rate(xp, array, mean, epsilon)
    order = np.argsort(data.labels, kind="stable")
    classes = np.split(order, np.cumsum(np.bincount(data.labels))[:-1])
    for rows in classes:
        own = xp.take(array, xp.asarray(rows, device=array_api_compat.device(array)), axis=0)
        rate -= _coding_rate(xp, own, mean, epsilon) / len(classes)
    return TransRateResult(rate)


def _coding_rate(xp: Namespace, features: Array, mean: Array, epsilon: float) -> float:
    """Half the log determinant, through whichever of XᵀX and XXᵀ is smaller."""
    n, d = features.shape
    if n <= d:
        centred = to_float64(xp, features) - mean
        square = centred @ centred.T
    else:
        total = SumOfSquares(xp, mean)
        for _, block in row_blocks(xp, features):
            total.add(block - mean)
        square = total.total()
    square /= n * epsilon
    return _half_log_determinant(Rows(xp, features, mean, dual=n <= d), square, epsilon)


def _half_log_determinant(rows: Rows, square: Array, epsilon: float) -> float:
    """Half the log determinant of I + square, the products of `rows` over n ε; the content of `square` may be used up.

    A factor tells how many digits it has lost: what is left of each diagonal entry is the square of its own.
    """
    xp = rows.xp
    square = add_to_diagonal(xp, square, 1.0)
    before = xp.asarray(xp.linalg.diagonal(square), copy=True)
    try:
        left = xp.linalg.diagonal(xp.linalg.cholesky(square))
    except (np.linalg.LinAlgError, RuntimeError):  # torch has an error of its own
        left = None
    if left is None or bool(xp.any(left**2 < TRUSTED * before)):
        return 0.5 * float(np.log1p(rows.squares() / (rows.array.shape[0] * epsilon)).sum())
    return float(xp.sum(xp.log(left)))


def _from_inputs(inputs: ScoreInputs) -> TransRateResult:
    return _transrate(inputs.labelled, _EPSILON)


SCORES = (
    ScoreInfo(
        "transrate",
        TransRateResult,
        description="coding rate of the features, less its mean within classes",
        range="ℝ, nats",
        cost="O(n d² + d³)",
        limitations="between encoders of different dimension or scale of features",
        function=_from_inputs,
        invariant_to=frozenset({"shift", "rotation"}),
    ),
)
