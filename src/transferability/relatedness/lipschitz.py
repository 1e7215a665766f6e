r"""A softmax classifier whose Lipschitz constant is known, not estimated.

.. math::
    \min_{W, c} \; \sum_n \omega_n \bigl[\operatorname{lse}(W z_n + c) - (W z_n + c)_{y_n}\bigr]
    \quad \text{subject to} \quad \lVert w_j - w_k \rVert_2 \le \tau \;\; \text{for all } j, k.

The gradient of :math:`-\log h_j` is a difference of two convex combinations of the rows of :math:`W`, so the constraint
makes every :math:`-\log h_j` :math:`\tau`-Lipschitz *everywhere*, for every class. The paper (App. C.3.1) penalises
sampled gradient norms instead, which bounds nothing between the samples and needs second derivatives.

The problem is convex. It is solved by the method of multipliers: L-BFGS on the augmented Lagrangian, a step on the
multipliers, and so on until the constraint holds to a thousandth; a last rescale of :math:`W` makes it hold exactly.
The multipliers also give a lower bound on the optimum, hence `gap`: how far from the optimum the result can be at most.
Where that is more than a hundredth, the solver goes on from there with more care.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray
from transferability._validate import check_features, check_labels, check_positive
from transferability.errors import FeatureError

__all__ = ["SoftmaxClassifier", "fit_and_hold_out", "fit_lipschitz_softmax"]

_ROUNDS = 10
_PENALTY = 1.0  # nats, shared by the K classes
_TARGET_GAP = 1e-2


class _Accuracy(NamedTuple):
    """When to stop."""

    violation: float  # of the squared constraint; the final rescale costs about as much in loss
    steps: int  # of L-BFGS per round
    decrease: float  # of the loss, relative, that ends a round


_QUICK = _Accuracy(1e-3, 40, 5e-7)
_CAREFUL = _Accuracy(3e-4, 80, 5e-8)  # for the few that the quick one leaves more than a hundredth from the optimum


class _State(NamedTuple):
    theta: FloatArray
    multipliers: FloatArray
    penalty: float
    steps: int

    def in_unit(self, problem: _Problem, scale: float) -> _State:
        """Return the state for features that are divided by `scale`: weights grow by it."""
        weights, intercept = problem.split(self.theta)
        return self._replace(theta=np.concatenate([(weights * scale).ravel(), intercept]))


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
        """Return ``W z + c``, shape (n_samples, n_classes), in float64."""
        return np.asarray(features @ self.weights.T + self.intercept, dtype=np.float64)

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
    Cost O(n d K) per step, about a hundred steps; memory of two copies of the features and one (n, K) array. The matrix
    products run in float32, sums and the optimiser in float64; the result is measured in float64.

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
    return _fit(checked, classes, tau, weight, None)[0]


def fit_and_hold_out(
    features: FloatArray, labels: IntArray, tau: float, first_rows: IntArray, held_out: IntArray
) -> tuple[SoftmaxClassifier, FloatArray]:
    """Fit the classifier to all rows, and say what it does on rows it has not seen.

    Parameters
    ----------
    features, labels, tau
        As in `fit_lipschitz_softmax`.
    first_rows, held_out : arrays of int
        Rows of a first fit, of every class at least one, and other rows, which it does not see.

    Returns
    -------
    classifier : SoftmaxClassifier
        Fitted to all rows, from where the first fit ended.
    logits : array of shape (len(held_out), n_classes)
        Of the first classifier, on the rows that it has not seen.

    Notes
    -----
    Cost of one and a half fits: the second one starts near its end.
    """
    share = np.full(len(first_rows), 1.0 / len(first_rows))
    first, state = _fit(features[first_rows], labels[first_rows], tau, share, None)
    both, _ = _fit(features, labels, tau, np.full(len(labels), 1.0 / len(labels)), state)
    return both, first.logits(features[held_out])


def _fit(
    checked: FloatArray, classes: IntArray, tau: float, weight: FloatArray, start: _State | None
) -> tuple[SoftmaxClassifier, _State]:
    """Solve from `start`; this state and the one returned are in the unit of the features as they are given."""
    scale = float(np.sqrt(np.mean(np.square(checked / (np.abs(checked).max() or 1.0))))) * float(np.abs(checked).max())
    scale = scale or 1.0  # the problem is the same for features / scale with tau * scale, and float32 is safe there
    scaled = checked / np.float64(scale)
    exact = _Problem(scaled, classes, weight, tau * scale)
    problem = _Problem(scaled.astype(np.float32), classes, weight, tau * scale)
    state = _start(problem) if start is None else start.in_unit(problem, scale)._replace(steps=0)
    for accuracy in (_QUICK, _CAREFUL):
        state = _method_of_multipliers(problem, state, accuracy)
        found = _finish(exact, state, scale)
        if found.converged:
            break
        problem = exact  # what is left to gain is less than float32 resolves
    return found, state.in_unit(problem, 1 / scale)


def _check_weight(sample_weight: FloatArray | None, n_samples: int) -> FloatArray:
    if sample_weight is None:
        return np.full(n_samples, 1.0 / n_samples)
    weight = np.array(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,) or not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
        message = f"`sample_weight` must be ({n_samples},), finite, non-negative and not all zero; got {weight.shape}."
        raise FeatureError(message)
    return weight / float(weight.sum())


class _Problem:
    """Loss and constraints on ``theta = [W, c]``, with features scaled so that float32 products are safe."""

    def __init__(self, features: FloatArray, labels: IntArray, weight: FloatArray, tau: float) -> None:
        self.features, self.labels, self.weight, self.tau = features, labels, weight, tau
        self.shape = (int(labels.max()) + 1, features.shape[1])
        self.rows = np.arange(len(labels))

    def split(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        size = self.shape[0] * self.shape[1]
        return theta[:size].reshape(self.shape), theta[size:]

    def cross_entropy(self, weights: FloatArray, intercept: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Return the loss and its gradients in `weights` and `intercept`."""
        dtype = self.features.dtype
        scores = self.features @ weights.T.astype(dtype) + intercept.astype(dtype)  # (n, K)
        scores -= scores.max(axis=1, keepdims=True)
        own = scores[self.rows, self.labels].astype(np.float64)
        np.exp(scores, out=scores)
        total = scores.sum(axis=1)
        loss = float(self.weight @ (np.log(total.astype(np.float64)) - own))
        scores *= (self.weight / total)[:, None]
        scores[self.rows, self.labels] -= self.weight  # (h − e_y) ω
        return loss, (scores.T @ self.features).astype(np.float64), scores.sum(axis=0, dtype=np.float64)

    def violation(self, weights: FloatArray) -> FloatArray:
        """Return ``‖w_j − w_k‖² / τ² − 1`` for all pairs, shape (K, K)."""
        return _pair_distances_squared(weights / self.tau) - 1.0

    def lagrangian(self, theta: FloatArray, multipliers: FloatArray, penalty: float) -> tuple[float, FloatArray]:
        """Return the augmented Lagrangian and its gradient; with ``penalty=0`` the plain one."""
        weights, intercept = self.split(theta)
        loss, gradient, gradient_c = self.cross_entropy(weights, intercept)
        violation = self.violation(weights)
        if penalty:
            active = np.maximum(multipliers + penalty * violation, 0.0)
            np.fill_diagonal(active, 0.0)
            loss += float((active**2 - multipliers**2).sum()) / (4 * penalty)  # each pair is counted twice
        else:
            active = multipliers
            loss += float((multipliers * violation).sum()) / 2
        # d/dW of Σ_{j<k} m_jk ‖w_j − w_k‖² / τ² is 2 (diag(m 1) − m) W / τ².
        gradient += 2 / self.tau**2 * (active.sum(axis=1)[:, None] * weights - active @ weights)
        return loss, np.concatenate([gradient.ravel(), gradient_c])


def _pair_distances_squared(weights: FloatArray) -> FloatArray:
    gram = weights @ weights.T
    squares = np.diag(gram)
    distances: FloatArray = np.clip(squares[:, None] + squares[None, :] - 2 * gram, 0.0, None)
    return distances


def _start(problem: _Problem) -> _State:
    """Return the classifier that knows the priors only."""
    n_classes, n_features = problem.shape
    priors = np.bincount(problem.labels, weights=problem.weight, minlength=n_classes)
    log_priors = np.log(np.maximum(priors, 1e-12))
    theta = np.concatenate([np.zeros(n_classes * n_features), log_priors - log_priors.mean()])
    return _State(theta, np.zeros((n_classes, n_classes)), _PENALTY / n_classes, 0)


def _method_of_multipliers(problem: _Problem, state: _State, accuracy: _Accuracy) -> _State:
    theta, multipliers, penalty, steps = state
    worst = np.inf
    for _ in range(_ROUNDS):
        solution = minimize(
            problem.lagrangian,
            theta,
            args=(multipliers, penalty),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": accuracy.steps, "maxcor": 20, "ftol": accuracy.decrease, "gtol": 1e-7},
        )
        steps += int(solution.nit)
        theta = solution.x
        violation = problem.violation(problem.split(theta)[0])
        multipliers = np.maximum(multipliers + penalty * violation, 0.0)
        np.fill_diagonal(multipliers, 0.0)
        before, worst = worst, max(float(violation.max()), 0.0)
        if worst < accuracy.violation:
            break
        if worst > 0.25 * before:
            penalty *= 3.0
    return _State(theta, multipliers, penalty, steps)


def _finish(exact: _Problem, state: _State, scale: float) -> SoftmaxClassifier:
    """Make the constraint hold exactly, refit the intercept, and measure in float64."""
    weights, intercept = exact.split(state.theta)
    weights = weights - weights.mean(axis=0)
    largest = float(np.sqrt(_pair_distances_squared(weights).max()))
    feasible = weights * min(1.0, exact.tau / largest) if largest > 0 else weights
    scores = exact.features @ feasible.T
    intercept = _best_intercept(scores, exact, intercept)
    scores += intercept
    loss = float(exact.weight @ (logsumexp(scores, axis=1) - scores[exact.rows, exact.labels]))
    lower = _lower_bound(exact, weights, intercept, state.multipliers)
    gap = max(0.0, loss - max(lower, 0.0))
    feasible = feasible / scale
    certified = float(np.sqrt(_pair_distances_squared(feasible).max()))
    return SoftmaxClassifier(
        weights=feasible,
        intercept=intercept,
        loss=loss,
        accuracy=float(exact.weight @ (scores.argmax(axis=1) == exact.labels)),
        certified_tau=certified,
        gap=gap,
        converged=gap <= _TARGET_GAP * max(loss, 1.0),
        iterations=state.steps,
    )


def _best_intercept(scores: FloatArray, problem: _Problem, start: FloatArray) -> FloatArray:
    """Refit the intercept by damped Newton steps: K unknowns, and smooth."""
    onehot_mean = np.bincount(problem.labels, weights=problem.weight, minlength=len(start))

    def value(intercept: FloatArray) -> tuple[float, FloatArray]:
        shifted = scores + intercept
        normaliser = logsumexp(shifted, axis=1)
        loss = float(problem.weight @ (normaliser - shifted[problem.rows, problem.labels]))
        return loss, np.exp(shifted - normaliser[:, None])

    intercept: FloatArray = start - start.mean()
    loss, probabilities = value(intercept)
    for _ in range(20):
        weighted = probabilities * problem.weight[:, None]
        gradient = weighted.sum(axis=0) - onehot_mean
        if np.abs(gradient).max() < 1e-12:
            break
        hessian = np.diag(weighted.sum(axis=0)) - weighted.T @ probabilities
        step: FloatArray = np.linalg.lstsq(hessian + 1e-14 * np.eye(len(start)), gradient, rcond=1e-12)[0]
        step -= step.mean()
        for shrink in (1.0, 0.5, 0.1, 0.01):
            trial_loss, trial = value(intercept - shrink * step)
            if trial_loss <= loss:
                break
        else:
            break
        intercept, loss, probabilities = intercept - shrink * step, trial_loss, trial
    return intercept


def _lower_bound(problem: _Problem, weights: FloatArray, intercept: FloatArray, multipliers: FloatArray) -> float:
    r"""Bound the optimum from below.

    The Lagrangian lies below the loss on the feasible set (its multipliers are non-negative) and above its own tangent
    (it is convex). Over feasible W, centred so that :math:`\lVert w_j \rVert \le \tau`, the tangent is smallest at
    :math:`-\tau \sum_j \lVert g_j \rVert`. The intercept has no bound; there the gradient is made to vanish.
    """
    intercept = _best_intercept(problem.features @ weights.T, problem, intercept)
    value, gradient = problem.lagrangian(np.concatenate([weights.ravel(), intercept]), multipliers, 0.0)
    slope, _ = problem.split(gradient)
    return value - float((slope * weights).sum()) - problem.tau * float(np.linalg.norm(slope, axis=1).sum())
