r"""Softmax regression with a ridge on the weights, solved to convergence.

.. math:: \min_{W, b}\ \frac1n \sum_i -\log \operatorname{softmax}(W^\top x_i + b)_{y_i} + \frac\rho2 \|W\|_F^2

L-BFGS in the coordinates :math:`W = R^{-1} V` with :math:`R^\top R = c\, \operatorname{cov}(x) + \rho I`, in which the
Hessian is near the identity however uneven the spectrum of the features is: 30 passes where plain coordinates need
hundreds. Logits are linear along a line, so that the length of a step is found without a product with the features.
Own code for that, and because SciPy's L-BFGS-B spends as long on bookkeeping in double precision as a pass takes here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from transferability._array import FloatArray, IntArray
from transferability._line_search import Secants
from transferability.scores._history import History

__all__ = ["SoftmaxRegression", "fit_softmax_regression"]

_SINGLE_PRECISION_FROM = 50_000_000
"""Multiplications per pass from which on passes are made in float32."""
_SINGLE_AT_MOST = 150
"""Iterations in float32: whoever needs more needs float64."""
_TOLERANCES = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-8}
"""Expected decrease of one more step, of the value, at which to stop: weights are then good to about the root of it."""
_HISTORY = {np.dtype(np.float64): 40, np.dtype(np.float32): 8}
"""Steps remembered: many where they take little memory, which halves the iterations of the most uneven problems."""
_ITERATIONS_PER_STAGE = 8
"""After so many iterations to ask whether other coordinates would suit better."""
_SLOPE_LEFT = 0.3
"""A step is long enough where the slope along it has come down to this share."""
_TRIES = 30
_LEAST_CURVATURE = 1e-10
"""Of perfectly separated classes rounding leaves none."""
_ROWS_PER_BLOCK = 2048

_Array = npt.NDArray[Any]  # float64 or float32


@dataclass(frozen=True, eq=False)
class SoftmaxRegression:
    """Fitted weights.

    Attributes
    ----------
    weights : (n_features, n_classes) float64
    intercepts : (n_classes,) float64
        For features centred by `mean`.
    mean : (n_features,) float64
    loss : float
        Mean cross-entropy, without the ridge.
    curvatures : (n_samples,) float64
        Σ_k p_k (1 − p_k) of each row: what the row's |x|² + 1 counts in the trace of the Hessian.
    converged : bool
    iterations : int
    """

    weights: FloatArray
    intercepts: FloatArray
    mean: FloatArray
    loss: float
    curvatures: FloatArray
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
    large = features.size * (int(labels.max()) + 1) >= _SINGLE_PRECISION_FROM
    mean = features.mean(axis=0, dtype=np.float64)
    made = 0
    if large:
        fit = _fit(features, labels, ridge, mean, np.dtype(np.float32), tolerance, min(max_iterations, _SINGLE_AT_MOST))
        made = fit.iterations
        if fit.converged or made == max_iterations:
            return fit
    # Of a small problem, or of one so uneven that rounding defeats single precision.
    fit = _fit(features, labels, ridge, mean, np.dtype(np.float64), tolerance, max_iterations - made)
    return replace(fit, iterations=made + fit.iterations)


def _fit(
    features: FloatArray,
    labels: IntArray,
    ridge: float,
    mean: FloatArray,
    dtype: np.dtype[Any],
    tolerance: float | None,
    max_iterations: int,
) -> SoftmaxRegression:
    n, d = features.shape
    working = np.empty((n, d), dtype=dtype)
    for start in range(0, n, _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        np.subtract(features[rows], mean, out=working[rows], casting="same_kind")
    some = working[:: -(-n // (2 * d))]  # for a spectrum a few rows per feature are enough
    covariance = some.T @ some
    covariance /= len(some)
    objective = _Objective(working, labels, int(labels.max()) + 1, ridge)
    converged, iterations = _minimize(
        objective, covariance, _TOLERANCES[dtype] if tolerance is None else tolerance, max_iterations
    )
    weights, intercepts = (part.astype(np.float64) for part in objective.split(objective.parameters))
    return SoftmaxRegression(weights.T, intercepts, mean, objective.loss, objective.curvatures(), converged, iterations)


class _Objective:
    """The objective above, at a point that starts at zero and moves along lines.

    Parameters are flat: the weights as (K, d), then the K intercepts. Known at the point:

    parameters : (K (d + 1),)
    logits, residuals : (n, K)
        Residuals are shares minus one-hot labels.
    loss : float
        Mean cross-entropy.
    curvature : float
        p (1 − p), mean over rows and classes.
    """

    def __init__(self, features: _Array, labels: IntArray, n_classes: int, ridge: float) -> None:
        self.features, self.labels, self.ridge = features, labels, ridge
        self.rows = np.arange(len(labels))
        self.n_classes, self.d = n_classes, features.shape[1]
        self.parameters = np.zeros(n_classes * (self.d + 1), dtype=features.dtype)
        self.logits = np.zeros((len(labels), n_classes), dtype=features.dtype)
        self.residuals = np.empty_like(self.logits)
        self._look_from(self.logits, 0.0)

    def split(self, flat: _Array) -> tuple[_Array, _Array]:
        """Return views of the weights, (K, d), and of the intercepts, (K,)."""
        return flat[: -self.n_classes].reshape(self.n_classes, self.d), flat[-self.n_classes :]

    def value(self) -> float:
        """Return the objective."""
        weights = self.split(self.parameters)[0]
        return self.loss + 0.5 * self.ridge * float(np.vdot(weights, weights))

    def gradient(self) -> _Array:
        """Return the gradient of the objective: half a pass."""
        found = np.empty_like(self.parameters)
        weights, intercepts = self.split(found)
        np.matmul(self.residuals.T, self.features, out=weights)
        np.sum(self.residuals, axis=0, out=intercepts)
        found /= len(self.rows)
        weights += found.dtype.type(self.ridge) * self.split(self.parameters)[0]
        return found

    def curvatures(self) -> FloatArray:
        """Return Σ_k p_k (1 − p_k) of each row."""
        shares = self.residuals.astype(np.float64)
        shares[self.rows, self.labels] += 1
        curvatures: FloatArray = (shares * (1 - shares)).sum(axis=1)
        return curvatures

    def move(self, step: _Array, slope: float) -> float:
        """Go as far along `step` as it pays, and return how far; zero if rounding hides the minimum. Half a pass.

        The objective is convex, and a look from elsewhere on the line costs O(n K).
        """
        weights, ahead = self.split(self.parameters)[0], self.split(step)[0]
        rise, bend = (self.ridge * float(np.vdot(each, ahead)) for each in (weights, ahead))
        change = self.features @ ahead.T
        change += self.split(step)[1]
        secants, length = Secants(slope), 1.0
        for _ in range(_TRIES):
            self._look_from(change, length)
            new_slope = np.einsum("ij,ij->i", self.residuals, change).mean(dtype=np.float64) + rise + length * bend
            if abs(new_slope) <= _SLOPE_LEFT * abs(slope):
                break
            length = secants.after(length, new_slope)
        else:
            length = 0.0
            self._look_from(change, length)
        change *= change.dtype.type(length)
        self.logits += change
        self.parameters += change.dtype.type(length) * step
        return length

    def _look_from(self, change: _Array, length: float) -> None:
        """Find residuals, loss and curvature where the logits have moved by `length` times `change`."""
        work = np.multiply(change, change.dtype.type(length), out=self.residuals)
        work += self.logits
        largest = work.max(axis=1)
        own = work[self.rows, self.labels]
        work -= largest[:, None]
        np.exp(work, out=work)
        sums = work.sum(axis=1)
        self.loss = float((np.log(sums) + (largest - own)).mean(dtype=np.float64))
        work /= sums[:, None]
        self.curvature = (1 - float(np.vdot(work, work)) / len(work)) / self.n_classes
        work[self.rows, self.labels] -= 1


class _Coordinates:
    """Coordinates R W and √c b of weights and intercepts, with RᵀR = c cov(x) + ρ I."""

    def __init__(self, objective: _Objective, covariance: _Array, curvature: float) -> None:
        self.split, self.curvature = objective.split, curvature
        gram = (covariance * covariance.dtype.type(curvature)).T  # as LAPACK has it: no copy
        # Coordinates only: what is added here moves no minimum, and collinear features need more than rounding.
        floor = len(gram) * float(np.finfo(gram.dtype).eps) * float(gram.diagonal().max())
        gram[np.arange(len(gram)), np.arange(len(gram))] += max(objective.ridge, floor)
        self.root = scipy.linalg.cholesky(gram, lower=False, overwrite_a=True, check_finite=False)
        self.intercept_root = covariance.dtype.type(curvature**0.5)
        self.solve_triangular = scipy.linalg.get_blas_funcs("trsm", (self.root,))

    def parameters(self, point: _Array) -> _Array:
        """Return the parameters that have these coordinates."""
        return self._solve(point, transposed=False)

    def gradient(self, in_parameters: _Array) -> _Array:
        """Return a gradient, given in the parameters, in these coordinates."""
        return self._solve(in_parameters, transposed=True)

    def gradient_in_parameters(self, gradient: _Array) -> _Array:
        """Undo `gradient`."""
        weights, intercepts = self.split(gradient)
        return np.concatenate([(weights @ self.root).ravel(), self.intercept_root * intercepts])

    def _solve(self, flat: _Array, *, transposed: bool) -> _Array:
        found = flat.copy()
        weights, intercepts = self.split(found)
        weights.T[:] = self.solve_triangular(1.0, self.root, weights.T, trans_a=transposed, overwrite_b=True)
        intercepts /= self.intercept_root
        return found


def _minimize(objective: _Objective, covariance: _Array, tolerance: float, max_iterations: int) -> tuple[bool, int]:
    """Move the objective's point to the minimum; return whether it is good to `tolerance`, and the iterations made."""
    # The curvature p (1 − p) starts near 1/K and falls with the loss, and with it the c that suits: now and then the
    # coordinates are made anew if it has fallen far. That an eighth of the mean serves best was found by trial.
    coordinates = _Coordinates(objective, covariance, 1.0 / objective.n_classes**2)
    length = _HISTORY[covariance.dtype]
    history = History(objective.n_classes * coordinates.curvature, length)
    gradient = coordinates.gradient(objective.gradient())
    for iteration in range(max_iterations):
        suits = max(objective.curvature / 8, _LEAST_CURVATURE)
        if iteration and iteration % _ITERATIONS_PER_STAGE == 0 and suits < coordinates.curvature / 4:
            gradient = coordinates.gradient_in_parameters(gradient)
            del coordinates  # before the next ones: two roots at once would be the peak of memory
            coordinates = _Coordinates(objective, covariance, suits)
            gradient = coordinates.gradient(gradient)
            history = History(0.125, length)
        direction = history.direction(gradient)
        slope = float(np.vdot(gradient, direction))
        if -0.5 * slope <= tolerance * objective.value():  # the decrease that the model expects
            return True, iteration
        moved = objective.move(coordinates.parameters(direction), slope)
        if not moved:
            return False, iteration
        direction *= gradient.dtype.type(moved)
        last, gradient = gradient, coordinates.gradient(objective.gradient())
        history.add(direction, gradient - last)
    return False, max_iterations
