r"""The solver of `lipschitz`: softmax regression under a bound on the distances between rows of the weights.

.. math:: \min_{W, c} L(W, c) \quad \text{subject to} \quad \lVert w_j - w_k \rVert^2 / \tau^2 \le 1.

With a multiplier :math:`m_{jk}` for each pair the constraints are a quadratic, :math:`Q = \tfrac{2}{\tau^2}
(\operatorname{diag}(m 1) - m)`, and `Descent` knows how to go downhill. Multipliers grow where a pair is too far apart
and fall where it is not: :math:`m_{jk} \leftarrow m_{jk} \lVert w_j - w_k \rVert / \tau`, for the weights that the
model of the next step predicts (where multipliers dominate, distances are as their inverse, and one such step is the
answer). A pair that was near enough so far has next to nothing to multiply: where it is too far apart now, it gets a
typical multiplier times :math:`\lVert w_j - w_k \rVert^2 / \tau^2 - 1`, as in an augmented Lagrangian, if that is more.
This costs no pass over the data, so it is done several times before each step.

Any multipliers give a lower bound on the optimum: the Lagrangian lies below the loss on the feasible set and above its
own tangent, and over feasible W, whose rows lie in a ball of radius :math:`\tau \sqrt{(K - 1) / 2K}` (Jung), the
tangent is smallest at minus that radius times :math:`\sum_j \lVert g_j \rVert`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import entr

from transferability._array import BoolArray, FloatArray, IntArray
from transferability.relatedness.classifier.descent import Descent, Look, Quadratic, cross_entropy
from transferability.relatedness.classifier.rows import Array, Rows

__all__ = ["FAIR_GAP", "Constrained", "Start", "pair_distances_squared", "solve_constrained"]

FAIR_GAP = 1e-2
"""Of a fit that counts as converged."""
_UPDATES = 4  # of the multipliers before each step
_FIRST_UPDATES = 10
_FACTORS = (0.1, 10.0)  # of one update
_TRUST = 4.0  # of all before a step: far from it, the model says little
_LEAST = 1e-6  # nats, of all multipliers together: from zero none would come back
_INTERCEPT_ROUNDS = 20
_MANY_CLASSES = 50  # from which a few pairs of many would shrink all of them
_REPAIRS = 8


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


class _Bounds(NamedTuple):
    largest: float  # distance of two rows, in units of τ
    upper: float  # what feasible weights lose, to first order
    lower: float  # on the optimum, if the intercepts were optimal


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
    n_classes = int(labels.max()) + 1
    begin = _priors_only(labels, weight, n_classes, rows.coordinates.shape[1]) if start is None else start
    loss = cross_entropy(labels, weight, rows.coordinates.dtype)
    descent = Descent(rows.coordinates, loss, rows.spectrum, begin.weights, begin.intercept)
    multipliers = _first_multipliers(descent, tau) if begin.multipliers is None else begin.multipliers
    updates = _FIRST_UPDATES if begin.multipliers is None else _UPDATES
    best: Constrained | None = None
    while True:
        bounds = _bounds(descent, multipliers, tau, gap)
        small = bounds.upper - bounds.lower <= gap * max(bounds.upper, 1.0)
        fair = bounds.upper - bounds.lower <= max(gap, FAIR_GAP) * max(bounds.upper, 1.0)
        over = descent.passes >= (most_passes if fair else 4 * most_passes)
        if small or over:
            found = _finish(descent, labels, weight, multipliers, tau)
            best = found if best is None or found.gap < best.gap else best
            if best.within(gap) or over:
                return best
        steps = descent.remembered(_quadratic(multipliers, tau, descent))
        low, high = multipliers / _TRUST, np.maximum(multipliers * _TRUST, _typical(multipliers))
        for _ in range(updates):
            ahead = descent.direction(_quadratic(multipliers, tau, descent), steps)
            multipliers = np.clip(_updated(multipliers, descent.weights + ahead[:, :-1], tau), low, high)
        quadratic = _quadratic(multipliers, tau, descent)
        if not descent.move(descent.direction(quadratic, steps), quadratic) and not descent.forget():
            found = _finish(descent, labels, weight, multipliers, tau)
            return found if best is None or found.gap < best.gap else best
        updates = _UPDATES


def pair_distances_squared(weights: Array) -> FloatArray:
    """Return ``‖w_j − w_k‖²`` of all pairs, (K, K)."""
    gram = np.asarray(weights @ weights.T, dtype=np.float64)
    squares = np.diag(gram)
    distances: FloatArray = np.maximum(squares[:, None] + squares - 2 * gram, 0.0)
    return distances


def _priors_only(labels: IntArray, weight: FloatArray, n_classes: int, n_features: int) -> Start:
    """Return the classifier that knows the priors only."""
    priors = np.bincount(labels, weights=weight, minlength=n_classes)
    log_priors = np.log(np.maximum(priors, 1e-12))
    return Start(np.zeros((n_classes, n_features)), log_priors - log_priors.mean(), None)


def _quadratic(multipliers: FloatArray, tau: float, descent: Descent) -> Quadratic:
    Q = -2 / tau**2 * multipliers
    np.fill_diagonal(Q, 0.0)
    np.fill_diagonal(Q, -Q.sum(axis=1))
    return Quadratic(Q.astype(descent.point.dtype))


def _first_multipliers(descent: Descent, tau: float) -> FloatArray:
    """Return equal multipliers, with which the mean distance that the model predicts is τ."""
    n_classes = len(descent.point)
    multipliers = np.full((n_classes, n_classes), 1.0 / n_classes**2)
    np.fill_diagonal(multipliers, 0.0)
    pairs = max(n_classes * (n_classes - 1), 1)
    for _ in range(20):
        ahead = descent.direction(_quadratic(multipliers, tau, descent), [])
        mean = float(pair_distances_squared(descent.weights + ahead[:, :-1]).sum()) / pairs
        multipliers = np.maximum(multipliers * (np.sqrt(mean) / tau), _LEAST / n_classes**2)
    return multipliers


def _updated(multipliers: FloatArray, weights: Array, tau: float) -> FloatArray:
    ratios = np.sqrt(pair_distances_squared(weights)) / tau
    updated: FloatArray = np.maximum(multipliers * np.clip(ratios, *_FACTORS), _LEAST / len(weights) ** 2)
    too_far = multipliers + _typical(multipliers) * (ratios * ratios - 1)
    np.maximum(updated, too_far, out=updated, where=ratios > 1)
    np.fill_diagonal(updated, 0.0)
    return updated


def _typical(multipliers: FloatArray) -> float:
    """Return the mean multiplier, each counted by itself: that of a pair that is held together."""
    return float(np.vdot(multipliers, multipliers)) / max(float(multipliers.sum()), np.finfo(float).tiny)


def _bounds(descent: Descent, multipliers: FloatArray, tau: float, gap: float) -> _Bounds:
    squares = pair_distances_squared(descent.weights) / tau**2
    largest = float(np.sqrt(squares.max()))
    of_loss = descent.slopes[:, :-1]
    falls = -float(np.vdot(of_loss, descent.weights))
    upper = descent.look.loss + max(1 - 1 / max(largest, 1.0), 0.0) * max(falls, 0.0)
    slopes = of_loss + _quadratic(multipliers, tau, descent).slope(descent.weights)
    lower = _lower(descent.look.loss, slopes, descent.weights, multipliers, squares, tau)
    if len(descent.point) >= _MANY_CLASSES and descent.look.loss - lower <= gap * max(descent.look.loss, 1.0) < (
        upper - lower
    ):
        moved = _feasible(descent.weights.astype(np.float64), tau) - descent.weights
        upper = min(upper, descent.look.loss + max(float(np.vdot(of_loss, moved)), 0.0))
    return _Bounds(largest, upper, lower)


def _feasible(weights: FloatArray, tau: float) -> FloatArray:
    """Return weights that keep the constraint, near those given: rows too far apart meet halfway, then all shrink.

    Of hundreds of thousands of pairs the worst may be several hundredths too far apart while nearly all are not; what
    shrinks all of them for its sake loses a tenth of the loss. Averages of projections on pairs, of O(K² d) each.
    """
    for _ in range(_REPAIRS):
        distances = np.sqrt(pair_distances_squared(weights))
        excess = np.maximum(1 - tau / np.maximum(distances, tau), 0.0)
        pairs = np.count_nonzero(excess, axis=1)
        if not pairs.any():
            break
        excess /= 2 * np.maximum(np.sqrt(np.maximum.outer(pairs, pairs)), 1)
        moved: FloatArray = excess.sum(axis=1)[:, None] * weights - excess @ weights
        weights = weights - moved
    largest = _largest(weights)
    return weights * min(1.0, tau / largest) if largest > 0 else weights


def _largest(weights: FloatArray) -> float:
    return float(np.sqrt(pair_distances_squared(weights).max()))


def _lower(
    loss: float, slopes: Array, weights: Array, multipliers: FloatArray, squares: FloatArray, tau: float
) -> float:
    n_classes = len(weights)
    value = loss + float((multipliers * (squares - 1)).sum()) / 2
    radius = tau * math.sqrt((n_classes - 1) / (2 * n_classes))
    return max(value - float(np.vdot(slopes, weights)) - radius * float(np.linalg.norm(slopes, axis=1).sum()), 0.0)


def _finish(descent: Descent, labels: IntArray, weight: FloatArray, multipliers: FloatArray, tau: float) -> Constrained:
    """Make the constraint hold exactly, refit the intercepts, and measure."""
    weights = descent.weights.astype(np.float64)
    weights -= weights.mean(axis=0)
    squares = pair_distances_squared(weights)
    intercept = descent.point[:, -1].astype(np.float64)
    plain = descent.logits - descent.point[:, -1:]
    if len(weights) < _MANY_CLASSES or squares.max() <= tau**2:
        largest = float(np.sqrt(squares.max()))
        factor = min(1.0, tau / largest) if largest > 0 else 1.0
        feasible: FloatArray = factor * weights
        its_plain = factor * plain
    else:
        feasible = _feasible(weights, tau)
        its_plain = np.ascontiguousarray((descent.features @ feasible.T.astype(plain.dtype)).T)
    shifts, loss, right, _ = _best_intercept(its_plain, labels, weight, intercept)
    _, lowest, _, slopes = _best_intercept(plain, labels, weight, intercept)
    gradient = slopes @ descent.features + _quadratic(multipliers, tau, descent).slope(weights)
    descent.passes += 1
    lower = _lower(lowest, gradient, weights, multipliers, squares / tau**2, tau)
    priors = np.bincount(labels, weights=weight)
    lower = min(lower, float(entr(priors).sum()))  # the optimum is no worse than the priors, whatever was rounded
    return Constrained(
        weights=feasible,
        intercept=shifts,
        multipliers=multipliers,
        loss=loss,
        accuracy=float(weight @ right),
        gap=max(loss - lower, 0.0),
        passes=descent.passes,
    )


def _best_intercept(
    plain: Array, labels: IntArray, weight: FloatArray, intercept: FloatArray
) -> tuple[FloatArray, float, BoolArray, Array]:
    """Refit the intercepts to logits without them, by damped Newton steps: K unknowns, and smooth.

    Return them, the loss, which rows are right, and the slopes of the loss.
    """
    loss, columns = cross_entropy(labels, weight, plain.dtype), np.arange(len(labels))
    share, tiny = weight.astype(plain.dtype), float(np.finfo(plain.dtype).eps)
    intercept = intercept - intercept.mean()

    def at(intercept: FloatArray) -> tuple[Look, BoolArray]:
        logits = plain + intercept[:, None].astype(plain.dtype)
        right = logits.argmax(axis=0) == labels
        return loss(logits), right

    look, right = at(intercept)
    for _ in range(_INTERCEPT_ROUNDS):
        excess = look.slopes.sum(axis=1, dtype=np.float64)
        if np.abs(excess).max() < tiny:
            break
        weighted = look.slopes.copy()
        weighted[labels, columns] += share
        sums = weighted.sum(axis=1, dtype=np.float64)
        hessian = -(np.divide(weighted, share, out=np.zeros_like(weighted), where=share > 0) @ weighted.T)
        hessian = hessian.astype(np.float64) + 1.0 / len(sums)  # a shift of all is the one thing it does not see
        hessian[np.diag_indices(len(sums))] += sums + 1e-12
        step = np.linalg.solve(hessian, excess)
        step -= step.mean()
        for shrink in (1.0, 0.3, 0.1, 0.01):
            trial, trial_right = at(intercept - shrink * step)
            if trial.loss <= look.loss:
                break
        else:
            break
        gained = look.loss - trial.loss
        intercept, look, right = intercept - shrink * step, trial, trial_right
        if gained <= tiny * look.loss:
            break
    return intercept, look.loss, right, look.slopes
