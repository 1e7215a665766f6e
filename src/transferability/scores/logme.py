r"""LogME: the evidence of a Bayesian linear model of the labels, at its maximum over both precisions.

.. math:: \text{LogME} = \frac1{nK} \sum_c \max_{\alpha, \beta}
          \log \mathcal N\big(y_c;\ 0,\ \beta^{-1} I + \alpha^{-1} X X^\top\big)

You et al. [1]_. With :math:`X = U \Sigma^{1/2} V^\top`, :math:`x = U^\top y` and :math:`t = \alpha / \beta`, the best
:math:`\beta` is :math:`n / a(t)`, :math:`a(t) = \sum_i x_i^2 t / (t + \sigma_i) + \|y\|^2 - \|x\|^2`, and one function
of one variable is left for each class:

.. math:: L(t) = \tfrac12 \Big[ n \log \tfrac{n}{a(t)} - \sum_i \log(1 + \sigma_i / t) - n - n \log 2\pi \Big].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat
import numpy as np
import numpy.typing as npt

from transferability._array import Array, FloatArray, Namespace, as_numpy
from transferability._validate import check_magnitude
from transferability.errors import LabelError
from transferability.scores._evidence import maximize_evidence
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import IterativeResult
from transferability.statistics._inputs import SumOfSquares, as_features, one_hot, row_blocks, to_float64
from transferability.statistics.moments import ClassMoments
from transferability.statistics.roots import Rows, positive_cutoff
from transferability.statistics.spectrum import eigen_projections

__all__ = ["SCORES", "LogMEResult", "logme", "logme_from_moments"]


@dataclass(frozen=True)
class LogMEResult(IterativeResult):
    """LogME.

    Attributes
    ----------
    evidences : tuple of float
        Maximum log evidence per sample, for each class, label or target; `value` is their mean.
    """

    name: ClassVar[str] = "logme"
    needs_with_targets: ClassVar[frozenset[str] | None] = frozenset({"features", "targets"})

    evidences: tuple[float, ...]


def logme(features: Any, labels: Any, *, regression: bool = False) -> LogMEResult:
    """Return LogME of features for labels.

    Higher is better; any real number, in nats per sample and class. Invariant to rotations and to the scale of the
    features, not to a shift of them: there is no intercept in the model.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of shape (n_samples,) or (n_samples, n_targets)
        Classes: integers, whole floats, booleans or strings; or, for several labels per sample, a 0/1 indicator of
        shape (n_samples, n_labels).
    regression : bool, default=False
        Take `labels` as real targets, one column each.

    Returns
    -------
    LogMEResult
        `value`, `evidences`, `converged`, `iterations`.

    Raises
    ------
    FeatureError, LabelError
        If an argument is not as said above.
    LabelError
        If the labels of a class are an exact linear function of fewer features than samples: the evidence then has no
        maximum.

    Notes
    -----
    Cost O(n d² + d³), memory O(d²); O(n² d + n³) for n ≤ d. Against public implementations:

    1. The maximum over t is global and found to rounding. The fixed-point code stops after 11 steps, at a relative
       change of 1e-3; its 1e-5 in the denominators ties the value to the scale of the features.
    2. For n < d the fixed-point code leaves out ½(d − k) log α, k the rank, and is wrong by several nats.
    3. Precisions are not carried from one class to the next, so the order of classes does not matter
       (transformer-ranker). −½ log 2π is there (not so in PACTran's copy).

    References
    ----------
    .. [1] You et al. LogME: practical assessment of pre-trained models for transfer learning. ICML 2021.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 1.0], [1.0, 0.9], [1.0, -1.0], [1.0, -1.1]])
    >>> round(float(logme(x, np.array([0, 0, 1, 1]))), 4)
    0.2531
    """
    targets = as_numpy(labels)
    if not regression and targets.ndim == 1:
        return _of_classes(LabelledFeatures(features, labels))
    array, xp = as_features(features)
    targets = _as_targets(targets, array.shape[0], regression=regression)
    norms = (targets**2).sum(axis=0)
    device = array_api_compat.device(array)
    if array.shape[0] <= array.shape[1]:
        return _from_kernel(xp, array, xp.asarray(targets, device=device), norms)
    gram = SumOfSquares(xp, array[0, :])
    cross = xp.zeros((array.shape[1], targets.shape[1]), dtype=xp.float64, device=device)
    for start, block in row_blocks(xp, array):
        gram.add(block)
        cross += block.T @ xp.asarray(targets[start : start + block.shape[0]], device=device)
    values, projections = eigen_projections(xp, gram.total(), cross, lambda: Rows(xp, array))
    return _from_spectrum(values, _unit_squares(values, projections), norms, len(targets))


def logme_from_moments(moments: ClassMoments) -> LogMEResult:
    """Return LogME for classification from streamed moments: the same number as `logme` on their samples.

    Raises
    ------
    LabelError
        If a class has no sample, or the evidence has no maximum (see `logme`).
    """
    moments.require_every_class()
    return _from_moments(moments, lambda: _rows_of(moments))


def _from_moments(moments: ClassMoments, rows: Callable[[], Rows]) -> LogMEResult:
    sums = (moments.class_roots() ** 2 * moments.class_means).T  # (d, K): Xᵀ times the indicators
    gram = moments.gram()
    n_zero = int(moments.xp.count_nonzero(moments.xp.linalg.diagonal(gram) == 0))
    values, projections = eigen_projections(moments.xp, gram, sums, rows, n_zero=n_zero)
    return _from_spectrum(
        values, _unit_squares(values, projections), moments.counts.astype(np.float64), moments.n_samples
    )


def _rows_of(moments: ClassMoments) -> Rows:
    """Return d + 1 rows with the Gram matrix of the moments: far from the origin that matrix has lost the scatter."""
    xp = moments.xp
    values, vectors = xp.linalg.eigh(moments.scatter)
    cutoff = positive_cutoff(as_numpy(values), moments.n_features)
    scatter = (vectors * xp.sqrt(xp.where(values > cutoff, values, 0.0))).T
    return Rows(xp, xp.concat([scatter, math.sqrt(moments.n_samples) * moments.mean[None, :]], axis=0))


def _of_classes(data: LabelledFeatures) -> LogMEResult:
    if data.tall:
        return _from_moments(data.moments, lambda: Rows(data.xp, data.array))
    indicator = one_hot(data.xp, data.labels, data.n_classes, data.array)
    return _from_kernel(data.xp, data.array, indicator, np.bincount(data.labels).astype(np.float64))


def _from_kernel(xp: Namespace, array: Array, targets: Array, norms: FloatArray) -> LogMEResult:
    """LogME through X Xᵀ, for n ≤ d; `targets` (n, m) and their squared norms."""
    whole = to_float64(xp, array)
    values, projections = eigen_projections(xp, whole @ whole.T, targets, lambda: Rows(xp, array, dual=True))
    return _from_spectrum(values, projections**2, norms, array.shape[0])  # the kernel's eigenvectors are U itself


def _unit_squares(values: FloatArray, projections: FloatArray) -> FloatArray:
    """Turn VᵀXᵀy into x = Uᵀy, squared; directions without variance get zero, for they are not in the design."""
    kept = values > 0
    return np.where(kept[:, None], projections**2 / np.where(kept, values, 1.0)[:, None], 0.0)


def _from_spectrum(values: FloatArray, squares: FloatArray, norms: FloatArray, n_samples: int) -> LogMEResult:
    kept = values > 0
    sigma, inside = values[kept], squares[kept]
    if len(sigma) == n_samples:
        residuals = np.zeros_like(norms)
    else:
        residuals = norms - inside.sum(axis=0)
        exact = residuals <= 1e-10 * norms
        if exact.any():
            which = int(np.argmax(exact))
            message = (
                f"`labels` must not be an exact linear function of the features; column {which} is, with {len(sigma)} "
                f"independent features for {n_samples} samples, and its evidence has no maximum. Leave the labels, "
                "and whatever copies them, out of the features."
            )
            raise LabelError(message)
    evidences, converged, iterations = maximize_evidence(sigma, inside, norms, residuals, n_samples)
    per_sample = tuple(float(each) / n_samples for each in evidences)
    return LogMEResult(float(np.mean(per_sample)), converged=converged, iterations=iterations, evidences=per_sample)


def _as_targets(array: npt.NDArray[Any], n_samples: int, *, regression: bool) -> FloatArray:
    """Return several labels, or targets, as (n, m) float."""
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "iubf" or 0 in array.shape or len(array) != n_samples:
        message = (
            f"`labels` must be numbers, one row for each of the {n_samples} rows of the features; "
            f"got {array.dtype} of shape {array.shape}."
        )
        raise LabelError(message)
    targets = array.astype(np.float64)
    if not np.isfinite(targets).all():
        message = f"`labels` must be finite; row {int(np.argmin(np.isfinite(targets).all(axis=1)))} is not."
        raise LabelError(message)
    check_magnitude(np.abs(targets).max(axis=0), "labels", LabelError)
    if not regression and not np.isin(targets, (0.0, 1.0)).all():
        message = "`labels` of two dimensions must be a 0/1 indicator. Pass regression=True for real targets."
        raise LabelError(message)
    empty = ~targets.any(axis=0)
    if empty.any():
        message = f"`labels` must not have a column of zeros; column {int(np.argmax(empty))} is one. Leave it out."
        raise LabelError(message)
    return targets


def _from_inputs(inputs: ScoreInputs) -> LogMEResult:
    if inputs.labels is None:
        return logme(inputs.features, inputs.targets, regression=True)
    return _of_classes(inputs.labelled)


SCORES = (
    ScoreInfo(
        "logme",
        LogMEResult,
        description="evidence of a Bayesian linear model of the labels, at its maximum",
        range="ℝ, nats",
        cost="O(n d² + d³)",
        limitations="features that copy the labels: no maximum, an error",
        function=_from_inputs,
        invariant_to=frozenset({"scale", "rotation"}),
    ),
)
