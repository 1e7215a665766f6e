r"""Softmax regression with a ridge on the weights, solved to convergence.

.. math:: \min_{W, b}\ \frac1n \sum_i -\log \operatorname{softmax}(W^\top x_i + b)_{y_i} + \frac\rho2 \|W\|_F^2

L-BFGS in the coordinates :math:`W = R^{-1} V` with :math:`R^\top R = c\, \operatorname{cov}(x) + \rho I`, in which the
Hessian is near the identity however uneven the spectrum of the features is: 30 passes where plain coordinates need
hundreds. Own code because SciPy's L-BFGS-B spends as long on bookkeeping in double precision as a pass takes here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from transferability._array import FloatArray, IntArray

__all__ = ["SoftmaxRegression", "fit_softmax_regression"]

_SINGLE_PRECISION_FROM = 50_000_000
"""Multiplications per pass above which passes are made in float32."""
_TOLERANCES = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-8}
"""Expected decrease of one more step, of the value, at which to stop: weights are then good to about the root of it."""
_HISTORY = 10
_ITERATIONS_PER_STAGE = 12
_ROWS_PER_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class SoftmaxRegression:
    """Fitted weights.

    Attributes
    ----------
    weights : (n_features, n_classes) float64
    intercepts : (n_classes,) float64
        For features centred by `mean`.
    mean : (n_features,) float64
    converged : bool
    iterations : int
    """

    weights: FloatArray
    intercepts: FloatArray
    mean: FloatArray
    converged: bool
    iterations: int

    def logits(self, features: FloatArray) -> FloatArray:
        """Return class scores, (n, d) -> (n, K), in float64."""
        scores: FloatArray = (features - self.mean) @ self.weights + self.intercepts
        return scores


def fit_softmax_regression(
    features: FloatArray,
    labels: IntArray,
    ridge: float,
    *,
    tolerance: float | None = None,
    max_iterations: int = 500,
) -> SoftmaxRegression:
    """Minimize the objective above until one more step is expected to gain less than `tolerance` of its value.

    Parameters
    ----------
    features : (n, d)
    labels : (n,)
        Checked by the caller.
    ridge : float
        ρ, positive.
    tolerance : float, optional
        Default: 1e-12 where passes are made in float64, 1e-8 where the problem is large and they are made in float32.
    """
    n, d = features.shape
    n_classes = int(labels.max()) + 1
    dtype = np.dtype(np.float64 if n * d * n_classes < _SINGLE_PRECISION_FROM else np.float32)
    tolerance = _TOLERANCES[dtype] if tolerance is None else tolerance
    mean = features.mean(axis=0, dtype=np.float64)
    working = np.empty((n, d), dtype=dtype)
    for start in range(0, n, _ROWS_PER_BLOCK):
        working[start : start + _ROWS_PER_BLOCK] = features[start : start + _ROWS_PER_BLOCK] - mean
    some = working[:: -(-n // (2 * d))]  # for a spectrum a few rows per feature are enough
    covariance = some.T @ some
    covariance /= len(some)

    # The curvature p (1 − p) starts near 1/K and falls with the loss, and with it the c that suits: now and then the
    # coordinates are made anew if it has fallen far. That an eighth of the mean serves best was found by trial.
    problem = _Problem(working, labels, n_classes, ridge, covariance, 1.0 / n_classes**2)
    point = np.zeros((d + 1, n_classes), dtype=dtype)
    state = _State(problem(point), first_step=n_classes * problem.curvature)
    converged, iterations = False, 0
    while not converged and not state.stuck and iterations < max_iterations:
        share = min(_ITERATIONS_PER_STAGE, max_iterations - iterations)
        point, converged, made = _minimize(problem, point, state, tolerance, share)
        iterations += made
        if problem.mean_curvature / 8 < problem.curvature / 4 and not converged:
            point, last = problem.change_coordinates(covariance, problem.mean_curvature / 8, point, state.last)
            state = _State(last, first_step=0.125)
    weights, intercepts = problem.parameters(point)
    return SoftmaxRegression(weights.astype(np.float64), intercepts.astype(np.float64), mean, converged, iterations)


class _Problem:
    """Objective and gradient in preconditioned coordinates: rows 0..d−1 are R W, row d is √c b."""

    def __init__(
        self,
        features: npt.NDArray[Any],
        labels: IntArray,
        n_classes: int,
        ridge: float,
        covariance: npt.NDArray[Any],
        curvature: float,
    ) -> None:
        self.features, self.labels, self.ridge = features, labels, ridge
        self.mean_curvature = 1.0 / n_classes  # of the last point looked at
        self._make_root(covariance, curvature)

    def _make_root(self, covariance: npt.NDArray[Any], curvature: float) -> None:
        self.curvature = curvature
        shape = (covariance * covariance.dtype.type(curvature)).T  # as LAPACK has it: no copy
        shape[np.arange(len(shape)), np.arange(len(shape))] += self.ridge
        self.root = scipy.linalg.cholesky(shape, lower=False, overwrite_a=True, check_finite=False)
        self.intercept_root = covariance.dtype.type(curvature**0.5)

    def change_coordinates(
        self, covariance: npt.NDArray[Any], curvature: float, point: npt.NDArray[Any], last: _Evaluated
    ) -> tuple[npt.NDArray[Any], _Evaluated]:
        """Take another curvature; return the point and what is known there in the coordinates that it makes."""
        (weights, intercepts), (value, gradient) = self.parameters(point), last
        plain = self.root.T @ gradient[:-1], self.intercept_root * gradient[-1]
        del self.root  # before the next one: both at once would be the peak of memory
        self._make_root(covariance, curvature)
        point = np.concatenate([self.root @ weights, (self.intercept_root * intercepts)[None]])
        return point, (value, self._gradient(*plain))

    def parameters(self, point: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return weights and intercepts at these coordinates."""
        return scipy.linalg.solve_triangular(self.root, point[:-1], check_finite=False), point[-1] / self.intercept_root

    def __call__(self, point: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any]]:
        n = len(self.features)
        weights, intercepts = self.parameters(point)
        scores = self.features @ weights  # (n, K)
        scores += intercepts
        largest = scores.max(axis=1)
        own = scores[np.arange(n), self.labels]
        scores -= largest[:, None]
        np.exp(scores, out=scores)
        sums = scores.sum(axis=1)
        loss = float((np.log(sums) + (largest - own)).mean(dtype=np.float64))
        value = loss + 0.5 * self.ridge * float(np.vdot(weights, weights))
        scores /= sums[:, None]
        self.mean_curvature = (1 - float(np.vdot(scores, scores)) / n) / scores.shape[1]
        scores[np.arange(n), self.labels] -= 1
        scores /= n  # now the gradient in the scores
        outer = self.features.T @ scores  # (d, K)
        outer += point.dtype.type(self.ridge) * weights
        return value, self._gradient(outer, scores.sum(axis=0))

    def _gradient(self, in_weights: npt.NDArray[Any], in_intercepts: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the gradient in these coordinates."""
        first = scipy.linalg.solve_triangular(self.root, in_weights, trans="T", check_finite=False)
        return np.concatenate([first, (in_intercepts / self.intercept_root)[None]])


_Evaluated = tuple[float, npt.NDArray[Any]]  # value and gradient
_Pair = tuple[npt.NDArray[Any], npt.NDArray[Any], float]  # step, change of the gradient, 1 / their product


@dataclass
class _State:
    """What L-BFGS carries from one call to the next in the same coordinates."""

    last: _Evaluated
    first_step: float
    pairs: deque[_Pair] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    stuck: bool = False


def _minimize(
    problem: _Problem, point: npt.NDArray[Any], state: _State, tolerance: float, max_iterations: int
) -> tuple[npt.NDArray[Any], bool, int]:
    """Go on with L-BFGS (Nocedal and Wright, algorithm 7.5) on a convex function, with backtracking."""
    scalar = point.dtype.type
    noise = 8 * float(np.finfo(point.dtype).eps)  # what rounding alone may add to a value
    pairs = state.pairs
    value, gradient = state.last
    for iteration in range(max_iterations):
        direction = gradient.copy()
        factors = []
        for step, change, inverse in reversed(pairs):
            factors.append(inverse * float(np.vdot(step, direction)))
            direction -= scalar(factors[-1]) * change
        if pairs:
            step, change, inverse = pairs[-1]
            direction *= scalar(1 / (inverse * float(np.vdot(change, change))))
        else:
            direction *= scalar(state.first_step)
        for (step, change, inverse), factor in zip(pairs, reversed(factors), strict=True):
            direction += scalar(factor - inverse * float(np.vdot(change, direction))) * step

        slope = float(np.vdot(gradient, direction))  # twice the decrease that the model expects
        if 0.5 * slope <= tolerance * value:
            return point, True, iteration
        length = 1.0
        while True:
            step = scalar(-length) * direction
            new_value, new_gradient = problem(point + step)
            if new_value <= value - 1e-4 * length * slope + noise * abs(value):
                break
            length *= 0.5
            if length < 1e-6:
                state.stuck, state.last = True, (value, gradient)
                return point, False, iteration
        change = new_gradient - gradient
        product = float(np.vdot(step, change))
        if product > noise * float(np.vdot(change, change)):
            pairs.append((step, change, 1 / product))
        point, value, gradient = point + step, new_value, new_gradient
    state.last = (value, gradient)
    return point, False, max_iterations
