r"""A softmax classifier whose Lipschitz constant is known, not estimated.

.. math::
    \min_{W, c} \; \sum_n \omega_n \bigl[\operatorname{lse}(W z_n + c) - (W z_n + c)_{y_n}\bigr]
    \quad \text{subject to} \quad \lVert w_j - w_k \rVert_2 \le \tau \;\; \text{for all } j, k.

The gradient of :math:`-\log h_j` is a difference of two convex combinations of the rows of :math:`W`, so the constraint
makes every :math:`-\log h_j` :math:`\tau`-Lipschitz *everywhere*, for every class. The paper (App. C.3.1) penalises
sampled gradient norms instead, which bounds nothing between the samples and needs second derivatives.

The problem is convex; `constrained` solves it. A last rescale of :math:`W` makes the constraint hold exactly. The
multipliers of the constraints also give a lower bound on the optimum, hence `gap`: how far from the optimum the result
can be at most. Small problems are solved to six digits, large ones to two in float32, or in float64 where that does not
suffice.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._validate import check_features, check_labels, check_positive
from transferability.errors import FeatureError
from transferability.linear.rows import Rows
from transferability.relatedness.classifier.constrained import (
    FAIR_GAP,
    Constrained,
    Start,
    solve_constrained,
)
from transferability.relatedness.classifier.pairs import pair_distances_squared

__all__ = ["SoftmaxClassifier", "fit_lipschitz_softmax", "fit_rows"]

_SMALL = 50_000  # multiplications of half a pass
_GAPS = (1e-6, 1e-3, 8e-3)  # at which to stop: small problems, others, and large ones in float32
_MOST_PASSES = 100
_SAFE_UNIT = (1e-3, 1e3)  # of features that float32 products are safe with


@dataclass(frozen=True, eq=False)
class SoftmaxClassifier:
    """``h(z) = softmax(W z + c)`` and what is known of it.

    `loss` and `accuracy` are those on the fitting data, `certified_tau` is the largest distance between two rows of
    `weights`, `gap` bounds ``loss − optimum`` of the constrained problem, in nats; `converged` says that it is
    below a hundredth of the loss, or of one nat where the loss is smaller.
    """

    weights: FloatArray  # (n_classes, n_features)
    intercept: FloatArray  # (n_classes,)
    loss: float
    accuracy: float
    certified_tau: float
    gap: float
    converged: bool
    iterations: int

    def logits(self, features: FloatArray) -> FloatArray:
        """Return ``W z + c``, (n, K), in float64; of float32 features by a product in float32."""
        logits = np.asarray(features @ self.weights.T.astype(features.dtype, copy=False), dtype=np.float64)
        logits += self.intercept
        return logits

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.intercept)

    def scaled(self, scale: float) -> SoftmaxClassifier:
        """Return the classifier with its logits times `scale`: the same predictions, surer or less sure.

        `loss`, `gap`, `converged` and `iterations` go on speaking of the fit, which the scale has no part in.
        """
        return dataclasses.replace(
            self,
            weights=scale * self.weights,
            intercept=scale * self.intercept,
            certified_tau=scale * self.certified_tau,
        )


def fit_lipschitz_softmax(
    features: FloatArray,
    labels: IntArray,
    tau: float,
    *,
    sample_weight: FloatArray | None = None,
) -> SoftmaxClassifier:
    """Fit the softmax classifier with ``‖w_j − w_k‖ ≤ tau`` for all pairs of classes.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite.
    labels : array of int of shape (n_samples,)
        Classes 0..K−1, each present.
    tau : float
        Lipschitz constant, in nats per unit of feature distance; > 0.
    sample_weight : array of shape (n_samples,), optional
        Non-negative; rescaled to sum to 1.

    Returns
    -------
    SoftmaxClassifier
        The rows of its weights sum to zero, which a softmax does not notice.

    Raises
    ------
    FeatureError, LabelError, OptionError
        For bad features, labels or weights, or a `tau` that is not positive.

    Notes
    -----
    Cost O(n d K) per step, ten to thirty steps; memory of one copy of the features and a few (n, K) arrays. Where
    n d K is above 2e7 the steps are made in float32.

    Examples
    --------
    >>> import numpy as np
    >>> z = np.array([[-1.0], [1.0]])
    >>> h = fit_lipschitz_softmax(z, np.array([0, 1]), tau=2.0)
    >>> round(h.certified_tau, 6), round(h.loss, 4)  # the best slope is tau: log(1 + exp(-2))
    (2.0, 0.1269)
    """
    checked = check_features(features)
    classes = check_labels(labels, len(checked))
    tau = check_positive(tau, "tau")
    weight = _check_weight(sample_weight, len(checked))
    unit = _unit(checked)
    return fit_rows(
        Rows.of(checked if unit == 1 else checked / np.float64(unit)), classes, tau, weight=weight, unit=unit
    )[0]


def fit_rows(
    rows: Rows,
    labels: IntArray,
    tau: float,
    *,
    weight: FloatArray | None = None,
    start: Start | None = None,
    gap: float | None = None,
    unit: float = 1.0,
) -> tuple[SoftmaxClassifier, Start]:
    """Fit the classifier to rows that are decomposed already.

    Parameters
    ----------
    rows, labels, tau, weight
        As in `fit_lipschitz_softmax`; the weights sum to 1.
    start : Start, optional
        Where another fit ended: of other rows of the same features, or another τ.
    gap : float, optional
        How near the optimum is near enough, relative to the loss or one nat, where less than usual will do.
    unit : float, default=1.0
        The features were divided by it; `tau`, `start` and the classifier are in the features' own unit.

    Returns
    -------
    classifier, start
    """
    weight = np.full(len(labels), 1.0 / len(labels)) if weight is None else weight
    if start is not None:
        start = start._replace(weights=unit * rows.reduce(start.weights))
    fair = max(gap or 0.0, FAIR_GAP)

    def solve(each: Rows, begin: Start | None) -> Constrained:
        single = each.coordinates.dtype == np.float32
        size = each.coordinates.size * len(np.unique(labels))
        aim = max(gap or 0.0, _GAPS[2] if single else _GAPS[1] if size > _SMALL else _GAPS[0])
        return solve_constrained(each, labels, weight, tau * unit, begin, gap=aim, most_passes=_MOST_PASSES)

    working = rows.working(int(labels.max()) + 1)
    tried = [solve(working, start)]
    short = not tried[0].within(fair)
    double = working.in_double() if short else working
    if short and working.coordinates.dtype == np.float32:
        tried.append(solve(double, Start(tried[0].weights, tried[0].intercept, tried[0].multipliers)))
    if not tried[-1].within(fair) and (start is not None or len(tried) > 1):
        # A fit that was sure of everything is a bad start: the loss has no curvature there to go by.
        tried.append(solve(double, None))
    found = min(tried, key=lambda each: each.gap)
    passes = sum(each.passes for each in tried)
    weights = rows.expand(found.weights) / unit
    classifier = SoftmaxClassifier(
        weights=weights,
        intercept=found.intercept,
        loss=found.loss,
        accuracy=found.accuracy,
        certified_tau=float(np.sqrt(pair_distances_squared(weights).max())),
        gap=found.gap,
        converged=found.within(FAIR_GAP),
        iterations=passes,
    )
    return classifier, Start(weights, found.intercept, found.multipliers)


def _unit(features: FloatArray) -> float:
    """Return what to divide features by: their root mean square where it is far from one."""
    largest = float(np.abs(features).max()) or 1.0
    unit = float(np.sqrt(np.mean(np.square(features / largest)))) * largest
    return 1.0 if _SAFE_UNIT[0] < unit and largest < _SAFE_UNIT[1] else unit or 1.0


def _check_weight(sample_weight: FloatArray | None, n_samples: int) -> FloatArray:
    if sample_weight is None:
        return np.full(n_samples, 1.0 / n_samples)
    weight = np.array(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,) or not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
        message = f"`sample_weight` must be ({n_samples},), finite, non-negative and not all zero; got {weight.shape}."
        raise FeatureError(message)
    return weight / float(weight.sum())
