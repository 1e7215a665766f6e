r"""The solver of `lipschitz`: softmax regression under a bound on the distances between rows of the weights.

.. math:: \min_{W, c} L(W, c) \quad \text{subject to} \quad \lVert w_j - w_k \rVert^2 / \tau^2 \le 1.

With a multiplier :math:`m_{jk}` for each pair the constraints are a quadratic, :math:`Q = \tfrac{2}{\tau^2}
(\operatorname{diag}(m 1) - m)`, and `Descent` knows how to go downhill. Before each step `multipliers` moves the
multipliers to where the step ahead keeps the constraint: that costs no pass over the rows. `pairs` says how far from
the optimum weights and multipliers are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import entr

from transferability._array import FloatArray, IntArray
from transferability.linear.descent import Descent, cross_entropy
from transferability.linear.rows import Rows
from transferability.relatedness.classifier.intercepts import refit_intercept
from transferability.relatedness.classifier.multipliers import MANY_CLASSES, Multipliers
from transferability.relatedness.classifier.pairs import feasible, lower_bound, pair_distances_squared

__all__ = ["FAIR_GAP", "Constrained", "Start", "solve_constrained"]

FAIR_GAP = 1e-2
"""Of a fit that counts as converged."""
_PROMISING = 0.25  # of the gap that is allowed: expected decrease from which on the gap is measured
_NEARLY = 0.99  # of τ: so near, what a few more steps would do is done by scaling
_SLACK = 0.1  # of the gap that is allowed: what the lower bound may lose to its δ


class Start(NamedTuple):
    """Where to begin, in the unit of the features."""

    weights: FloatArray  # (K, d)
    intercept: FloatArray  # (K,)
    multipliers: FloatArray | None  # (K, K); None where nothing is known of them

    def of_classes(self, kept: IntArray) -> Start:
        """Return what is known of these classes."""
        multipliers = None if self.multipliers is None else self.multipliers[np.ix_(kept, kept)]
        return Start(self.weights[kept], self.intercept[kept], multipliers)

    def scaled(self, factor: float) -> Start:
        """Return the start for a bound on the distances that is `factor` times as large."""
        return self._replace(weights=factor * self.weights, intercept=factor * self.intercept)


class Constrained(NamedTuple):
    """Feasible weights, and how good they are."""

    weights: FloatArray  # (K, r), in coordinates
    intercept: FloatArray  # (K,)
    multipliers: FloatArray  # (K, K)
    loss: float
    accuracy: float
    gap: float  # loss − lower bound on the optimum, ≥ 0
    passes: int

    def within(self, gap: float) -> bool:
        """Whether the loss is within `gap` of the optimum, relative to the loss or one nat, whichever is larger."""
        return self.gap <= gap * max(self.loss, 1.0)


class _Gap(NamedTuple):
    upper: float  # what feasible weights lose, to first order
    lower: float  # on the optimum, if the intercepts were optimal

    def within(self, gap: float) -> bool:
        return self.upper - self.lower <= gap * max(self.upper, 1.0)


def solve_constrained(
    rows: Rows, labels: IntArray, weight: FloatArray, tau: float, start: Start | None, *, gap: float, most_passes: int
) -> Constrained:
    """Solve until the loss is within `gap` of the optimum, relative to the loss or one nat, whichever is larger.

    Parameters
    ----------
    rows : Rows
        In the precision that passes are to be made in.
    labels, weight : arrays of shape (n,)
        Classes 0..K−1, each present; weights that sum to 1.
    tau : float
    start : Start, optional
        In coordinates.
    gap : float
    most_passes : int
        Four times as many where the gap is above `FAIR_GAP`.
    """
    n_classes, dtype = int(labels.max()) + 1, rows.coordinates.dtype
    begin = _priors_only(labels, weight, n_classes, rows.coordinates.shape[1]) if start is None else start
    descent = Descent(
        rows.coordinates, cross_entropy(labels, weight, dtype), rows.spectrum, begin.weights, begin.intercept
    )
    if begin.multipliers is None:
        multipliers = Multipliers.first(descent, tau)
    else:
        multipliers = Multipliers(begin.multipliers.astype(dtype), tau)
    best: Constrained | None = None
    expected = 0.0 if start is not None else np.inf  # decrease: far from the optimum there is no use in a bound
    while True:
        over = descent.passes >= 4 * most_passes
        if over or expected <= _PROMISING * gap * max(descent.look.loss, 1.0):
            reached = _gap(descent, multipliers, max(gap, FAIR_GAP) if descent.passes >= most_passes else gap)
            over = over or (descent.passes >= most_passes and reached.within(max(gap, FAIR_GAP)))
            if over or reached.within(gap):
                found = _finish(descent, labels, weight, multipliers, gap)
                best = found if best is None or found.gap < best.gap else best
                if best.within(gap) or over:
                    return best
        multipliers = multipliers.improved(descent)
        quadratic = multipliers.quadratic
        expected = descent.move(descent.direction(quadratic, descent.remembered(quadratic)), quadratic)
        if not expected and not descent.forget():
            found = _finish(descent, labels, weight, multipliers, gap)
            return found if best is None or found.gap < best.gap else best


def _priors_only(labels: IntArray, weight: FloatArray, n_classes: int, n_features: int) -> Start:
    """Return the classifier that knows the priors only."""
    priors = np.bincount(labels, weights=weight, minlength=n_classes)
    log_priors = np.log(np.maximum(priors, 1e-12))
    return Start(np.zeros((n_classes, n_features)), log_priors - log_priors.mean(), None)


def _gap(descent: Descent, multipliers: Multipliers, gap: float) -> _Gap:
    tau, loss = multipliers.tau, descent.look.loss
    slopes, weights = descent.slopes[:, :-1], descent.weights
    allowed = gap * max(loss, 1.0)
    if multipliers.idle(weights) > allowed:
        return _Gap(np.inf, 0.0)
    lower = lower_bound(loss, slopes, weights, multipliers.values, tau, slack=_SLACK * allowed, enough=loss - allowed)
    largest = float(np.sqrt(pair_distances_squared(weights).max())) / tau
    falls = max(-float(np.vdot(slopes, weights)), 0.0)
    upper = loss + max(1 - 1 / max(largest, 1.0), 0.0) * falls
    if len(weights) >= MANY_CLASSES and loss - lower <= allowed < upper - lower:
        moved = feasible(weights, tau) - weights
        upper = min(upper, loss + max(float(np.vdot(slopes, moved)), 0.0))
    return _Gap(upper, lower)


def _finish(
    descent: Descent, labels: IntArray, weight: FloatArray, multipliers: Multipliers, gap: float
) -> Constrained:
    """Make the constraint hold exactly, refit the intercepts, and measure."""
    tau = multipliers.tau
    weights: FloatArray = descent.weights.astype(np.float64)
    weights -= weights.mean(axis=0)
    largest = float(np.sqrt(pair_distances_squared(weights).max()))
    plain = descent.logits - descent.point[:, -1:]
    if largest > tau and len(weights) >= MANY_CLASSES:
        weights = feasible(weights.astype(plain.dtype), tau)
        plain = np.ascontiguousarray((descent.features @ weights.T.astype(plain.dtype)).T)
    elif largest > tau or (largest > _NEARLY * tau and np.vdot(descent.slopes[:, :-1], weights) < 0):
        weights *= tau / largest
        plain *= plain.dtype.type(tau / largest)
    refitted = refit_intercept(plain, labels, weight, descent.point[:, -1].astype(np.float64))
    slopes = refitted.slopes @ descent.features
    descent.passes += 1
    slack = _SLACK * gap * max(refitted.loss, 1.0)
    lower = lower_bound(refitted.loss, slopes, weights.astype(slopes.dtype), multipliers.values, tau, slack=slack)
    priors = np.bincount(labels, weights=weight)
    lower = min(lower, float(entr(priors).sum()))  # the optimum is no worse than the priors, whatever was rounded
    return Constrained(
        weights=weights,
        intercept=refitted.intercept,
        multipliers=multipliers.values,
        loss=refitted.loss,
        accuracy=float(weight @ refitted.right),
        gap=max(refitted.loss - lower, 0.0),
        passes=descent.passes,
    )
