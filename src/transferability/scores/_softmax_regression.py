r"""Softmax regression with a ridge on the weights, solved to convergence.

.. math:: \min_{W, b}\ \frac1n \sum_i -\log \operatorname{softmax}(W^\top x_i + b)_{y_i} + \frac\rho2 \|W\|_F^2

L-BFGS in the coordinates :math:`W = R^{-1} V` with :math:`R^\top R = c\, \operatorname{cov}(x) + \rho I`, in which the
Hessian is near the identity however uneven the spectrum of the features is: 30 passes where plain coordinates need
hundreds. Own code because SciPy's L-BFGS-B spends as long on bookkeeping in double precision as a pass takes here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from transferability._array import FloatArray, IntArray

__all__ = ["SoftmaxRegression", "fit_softmax_regression"]

_SINGLE_PRECISION_FROM = 50_000_000
"""Multiplications per pass above which passes are made in float32: the gradient is good to 1e-6 of itself, and so is
what is reported, for loss and Hessian are evaluated in float64 at the end."""
_HISTORY = 10
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
    tolerance: float = 1e-10,
    max_iterations: int = 500,
) -> SoftmaxRegression:
    """Minimize the objective above until the expected decrease of one more step is below `tolerance`, in nats.

    Parameters
    ----------
    features : (n, d)
    labels : (n,)
        Checked by the caller.
    ridge : float
        ρ, positive.
    """
    n, d = features.shape
    n_classes = int(labels.max()) + 1
    dtype = np.float64 if n * d * n_classes < _SINGLE_PRECISION_FROM else np.float32
    mean = features.mean(axis=0, dtype=np.float64)
    working = np.empty((n, d), dtype=dtype)
    for start in range(0, n, _ROWS_PER_BLOCK):
        working[start : start + _ROWS_PER_BLOCK] = features[start : start + _ROWS_PER_BLOCK] - mean
    # p (1 − p) averages 1/K at the start and falls with the loss; for its spectrum a few rows per feature are enough.
    curvature = 1.0 / n_classes**2
    some = working[:: max(1, n // (2 * d))]
    shape = some.T @ some
    shape *= curvature / len(some)
    shape[np.arange(d), np.arange(d)] += ridge
    root = scipy.linalg.cholesky(shape, lower=False, overwrite_a=True, check_finite=False)
    problem = _Problem(working, labels, n_classes, ridge, root, curvature**-0.5)
    solution, converged, iterations = _minimize(
        problem, np.zeros((d + 1, n_classes), dtype=dtype), n_classes * curvature, tolerance, max_iterations
    )
    weights, intercepts = problem.parameters(solution)
    return SoftmaxRegression(
        weights.astype(np.float64), intercepts.astype(np.float64), mean, bool(converged), iterations
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """Objective and gradient in preconditioned coordinates: rows 0..d−1 are R W, row d is the scaled intercept."""

    features: npt.NDArray[Any]
    labels: IntArray
    n_classes: int
    ridge: float
    root: npt.NDArray[Any]
    intercept_scale: float

    def parameters(self, point: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        weights = scipy.linalg.solve_triangular(self.root, point[:-1], check_finite=False)
        return weights, point[-1] * point.dtype.type(self.intercept_scale)

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
        scores /= (sums * n)[:, None]
        scores[np.arange(n), self.labels] -= point.dtype.type(1 / n)  # now the gradient in the scores
        gradient = np.empty_like(point)
        outer = self.features.T @ scores  # (d, K)
        outer += point.dtype.type(self.ridge) * weights
        gradient[:-1] = scipy.linalg.solve_triangular(self.root, outer, trans="T", check_finite=False)
        gradient[-1] = scores.sum(axis=0) * self.intercept_scale
        return value, gradient


def _minimize(
    problem: Callable[[npt.NDArray[Any]], tuple[float, npt.NDArray[Any]]],
    point: npt.NDArray[Any],
    first_step: float,
    tolerance: float,
    max_iterations: int,
) -> tuple[npt.NDArray[Any], bool, int]:
    """L-BFGS (Nocedal and Wright, algorithm 7.5) for a convex function, with backtracking."""
    scalar = point.dtype.type
    noise = 8 * float(np.finfo(point.dtype).eps)  # what rounding alone may add to a value
    pairs: deque[tuple[npt.NDArray[Any], npt.NDArray[Any], float]] = deque(maxlen=_HISTORY)
    value, gradient = problem(point)
    for iteration in range(max_iterations + 1):
        direction = gradient.copy()
        factors = []
        for step, change, inverse in reversed(pairs):
            factors.append(inverse * float(np.vdot(step, direction)))
            direction -= scalar(factors[-1]) * change
        if pairs:
            step, change, inverse = pairs[-1]
            direction *= scalar(1 / (inverse * float(np.vdot(change, change))))
        else:
            direction *= scalar(first_step)
        for (step, change, inverse), factor in zip(pairs, reversed(factors), strict=True):
            direction += scalar(factor - inverse * float(np.vdot(change, direction))) * step

        slope = float(np.vdot(gradient, direction))  # twice the decrease that the model expects
        if 0.5 * slope <= tolerance:
            return point, True, iteration
        length = 1.0
        while True:
            step = scalar(-length) * direction
            new_value, new_gradient = problem(point + step)
            if new_value <= value - 1e-4 * length * slope + noise * abs(value):
                break
            length *= 0.5
            if length < 1e-6:
                return point, False, iteration
        change = new_gradient - gradient
        product = float(np.vdot(step, change))
        if product > noise * float(np.vdot(change, change)):
            pairs.append((step, change, 1 / product))
        point, value, gradient = point + step, new_value, new_gradient
    return point, False, max_iterations
