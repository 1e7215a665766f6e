r"""GBC: overlap of the classes as Gaussians, by the Bhattacharyya coefficient.

.. math:: \text{GBC} = -\sum_{i \ne j} e^{-D_B(i, j)}, \qquad
          D_B = \tfrac18 \|m_i - m_j\|^2_{\Sigma^{-1}} + \tfrac12 \log \frac{|\Sigma|}{\sqrt{|\Sigma_i| |\Sigma_j|}},
          \quad \Sigma = \tfrac12 (\Sigma_i + \Sigma_j)

Pándy et al. [1]_, in the leading principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from transferability._array import FloatArray, as_numpy
from transferability._validate import check_choice
from transferability.errors import OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import class_sums

__all__ = ["SCORES", "GbcResult", "gbc"]

_COMPONENTS = 64
_FLOOR = 1e-4
"""Least variance of a class in a component, of the mean variance of the components."""


@dataclass(frozen=True)
class GbcResult(ScoreResult):
    """GBC.

    Attributes
    ----------
    n_dimensions : int
        Principal components kept.
    """

    name: ClassVar[str] = "gbc"
    upper_bound: ClassVar[float] = 0.0  # the lower bound is −K (K − 1)

    n_dimensions: int


def gbc(features: Any, labels: Any, *, covariance: str = "spherical", n_components: int = _COMPONENTS) -> GbcResult:
    """Return the Gaussian Bhattacharyya coefficient of the classes.

    Higher is better; between −K (K − 1), all classes alike, and 0, no overlap; without unit.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.
    covariance : {"spherical", "diagonal"}, default="spherical"
        Of each class: one variance, or one for each component.
    n_components : int, default=64
        Principal components to work in; fewer where the features have no more.

    Returns
    -------
    GbcResult

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above, or the features do not vary.

    Notes
    -----
    Cost O(n d² + d³ + K² p) for p components, memory O(d² + n p). Against the authors' code:

    1. For spherical classes that code takes the logarithm of one variance where the determinant is that variance to
       the power of p: the second term of :math:`D_B` is p times too small. Here it is the determinant. The order of
       encoders differs where their classes differ in spread.
    2. The variance of a class in a component is at least 1e-4 of the mean variance of the components; there it is at
       least 1e-4, whatever the scale of the features.

    References
    ----------
    .. [1] Pándy et al. Transferability estimation using Bhattacharyya class separability. CVPR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> round(float(gbc(x, np.array([0, 0, 1, 1]))), 4)  # variance ½ each, means 2 apart: −2 exp(−1)
    -0.7358
    """
    check_choice(covariance, ["spherical", "diagonal"], "covariance")
    if isinstance(n_components, bool) or not isinstance(n_components, (int, np.integer)) or n_components < 1:
        message = f"`n_components` must be a positive integer; got {n_components!r}."
        raise OptionError(message)
    return _gbc(LabelledFeatures(features, labels), covariance, int(n_components))


def _gbc(data: LabelledFeatures, covariance: str, n_components: int) -> GbcResult:
    xp = data.xp
    data.principal.require_variation()
    points = data.principal.coordinates(n_components)  # (n, p), mean zero
    counts = np.bincount(data.labels)[:, None]
    means = as_numpy(class_sums(xp, points, data.labels, data.n_classes)) / counts  # (K, p)
    own_means = xp.asarray(means[data.labels], device=array_api_compat.device(points))
    squares = as_numpy(class_sums(xp, (points - own_means) ** 2, data.labels, data.n_classes))
    p = means.shape[1]
    floor = _FLOOR * float(data.principal.values[:p].sum()) / (data.n_samples * p)
    variances = np.maximum(squares / counts, floor)  # (K, p)
    if covariance == "spherical":
        variances = np.repeat(variances.mean(axis=1, keepdims=True), p, axis=1)
    overlap = sum(_overlaps(means, variances, row) for row in range(data.n_classes))
    return GbcResult(-float(overlap), n_dimensions=p)


def _overlaps(means: FloatArray, variances: FloatArray, row: int) -> float:
    """Sum of the coefficients of one class with all others."""
    middle = 0.5 * (variances + variances[row])  # (K, p)
    distances = 0.125 * ((means - means[row]) ** 2 / middle).sum(axis=1)
    distances += 0.5 * (np.log(middle) - 0.5 * (np.log(variances) + np.log(variances[row]))).sum(axis=1)
    distances[row] = np.inf
    return float(np.exp(-distances).sum())


def _from_inputs(inputs: ScoreInputs) -> GbcResult:
    return _gbc(inputs.labelled, "spherical", _COMPONENTS)


SCORES = (
    ScoreInfo(
        "gbc",
        GbcResult,
        description="overlap of the classes as Gaussians (Bhattacharyya coefficient), negative",
        range="−K(K−1) … 0",
        cost="O(n d² + d³)",
        limitations="between targets of different K",
        function=_from_inputs,
        invariant_to=frozenset({"shift", "scale", "rotation"}),
    ),
)
