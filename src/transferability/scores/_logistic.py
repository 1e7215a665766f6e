r"""Softmax regressions of the same rows for many ridges and many parts of the rows at once.

.. math:: \min_{W, b}\ \frac1n \sum_i -\log \operatorname{softmax}(W^\top z_i + b)_{y_i} + \frac\rho2 \|W\|_F^2

A ridge does not see rotations, so features are replaced once by their principal coordinates, of which there are no more
than rows. Their covariance is diagonal: what preconditions L-BFGS is a division, whatever the ridge. Parts of the rows
(folds) differ in which rows count, so that one product with the coordinates serves all of them, and gives the logits of
the rows that were left out. Solutions of one ridge are where those of the next start.

`_softmax_regression` solves one such problem, larger ones, and to more digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special

from transferability._array import BoolArray, FloatArray, IntArray
from transferability.statistics._inputs import constant_columns

__all__ = ["Coordinates", "Regressions", "Standardisation", "Weights", "losses_and_shares", "principal_coordinates"]

_LARGEST = 5.0
"""Standard deviations at which features are cut. A feature that is nearly dead on the fitting rows, and alive on
another, is hundreds of deviations from its mean there and takes the logits of that row anywhere. On four encoders of
pictures and three targets the cut brings the cross-validated loss from .72 to .58 nats, accuracy by 0.9 points."""
_SMALLEST_EIGENVALUE = 1e-10
"""Share of the largest below which a principal coordinate is rounding."""
_SINGLE_PRECISION_FROM = 1_000_000
"""Features in float32 from which on they are rotated in float32: of the loss three digits are wanted."""
_SMALLEST_IN_SINGLE = 1e-6
_INTERCEPT_ROWS = 1.0
"""How many rows' worth of belief holds the intercepts at the logarithms of the class shares: a class that is missing
from a part keeps a chance above zero."""
_TOLERANCE = 1e-4
"""Relative decrease of an iteration at which to stop: to choose a ridge two digits of the loss are enough."""
_MAX_ITERATIONS = 200
_LEAST_CURVATURE = 1e-6


class Standardisation(NamedTuple):
    """Zero mean and unit deviation of each feature, cut at five deviations."""

    mean: FloatArray  # (d,)
    scale: FloatArray  # (d,)

    @classmethod
    def of(cls, features: FloatArray) -> Standardisation:
        """Measure rows, (n, d)."""
        mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        scale[constant_columns(features, scale)] = 1.0
        return cls(mean, scale)

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return standardised rows, in the precision of mean and scale where that is more."""
        x: FloatArray = (features - self.mean) / self.scale
        return np.clip(x, -_LARGEST, _LARGEST, out=x)

    def in_single(self) -> Standardisation:
        """Return what gives float32 of float32."""
        return Standardisation(self.mean.astype(np.float32), self.scale.astype(np.float32))


class Weights(NamedTuple):
    """Of softmax regressions, one for each part of the rows: (r, parts, K) and (parts, K)."""

    weights: FloatArray
    intercepts: FloatArray


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Standardised features, cut at five deviations, in their principal coordinates.

    Attributes
    ----------
    values : (n, r)
    variances : (r,)
        Mean square of each coordinate.
    standardisation : Standardisation
    basis : (d, r)
        Standardised features times it are the coordinates.
    """

    values: FloatArray
    variances: FloatArray
    standardisation: Standardisation
    basis: FloatArray

    def of(self, features: FloatArray) -> FloatArray:
        """Return the coordinates of other rows, (m, d) -> (m, r)."""
        found: FloatArray = self.standardisation(features) @ self.basis
        return found


def principal_coordinates(features: FloatArray) -> Coordinates:
    """Standardise rows and rotate them, (n, d) -> (n, r) with r ≤ min(n, d)."""
    standardisation = Standardisation.of(features)
    single = features.dtype == np.float32 and features.size >= _SINGLE_PRECISION_FROM
    if single:
        standardisation = standardisation.in_single()
    x = standardisation(features)
    n, d = x.shape
    squares, axes = scipy.linalg.eigh(x @ x.T if n < d else x.T @ x, check_finite=False)
    kept = squares > (_SMALLEST_IN_SINGLE if single else _SMALLEST_EIGENVALUE) * float(squares[-1])
    if not kept.any():  # no feature varies: one coordinate, at which all rows are alike
        return Coordinates(np.zeros((n, 1)), np.zeros(1), standardisation, np.zeros((d, 1)))
    squares, axes = squares[kept], axes[:, kept]
    basis = x.T @ (axes / np.sqrt(squares)) if n < d else axes
    values = axes * np.sqrt(squares) if n < d else x @ axes
    return Coordinates(values, squares / n, standardisation, basis)


class Regressions:
    """Softmax regressions on parts of the rows, solved for one ridge after the other.

    Parameters
    ----------
    coordinates : Coordinates
    labels : (n,)
        Of K classes; some may be missing.
    n_classes : int
        K.
    counts : (n, parts) bool
        Whether the row counts in the part.
    """

    def __init__(self, coordinates: Coordinates, labels: IntArray, n_classes: int, counts: BoolArray) -> None:
        n, n_parts = counts.shape
        self._variances = coordinates.variances
        self._rows = coordinates.values.astype(np.float32)  # of the loss three digits are wanted
        self._share = (counts / counts.sum(axis=0)).astype(np.float32)  # (n, parts)
        self._hot = np.zeros((n, 1, n_classes), dtype=np.float32)
        self._hot[np.arange(n), 0, labels] = 1.0
        seen = np.einsum("np,nk->pk", counts.astype(np.float64), self._hot[:, 0]) + 1 / n_classes
        self._prior = np.log(seen / seen.sum(axis=1, keepdims=True))  # (parts, K)
        self._belief = _INTERCEPT_ROWS / counts.sum(axis=0)[:, None] / n_classes
        self._curvature = 1 / n_classes
        self.solution = Weights(np.zeros((self._rows.shape[1], n_parts, n_classes)), self._prior)
        self.iterations, self.converged = 0, True

    def solve(self, ridge: float, *, tolerance: float = _TOLERANCE) -> tuple[FloatArray, BoolArray]:
        """Move to the solutions; return losses of all rows, (n, parts), and which of them are right."""
        shape, size = self.solution.weights.shape, self.solution.weights.size
        scale = 1 / np.sqrt(self._curvature * self._variances + ridge)[:, None, None]  # (r, 1, 1)

        def value(flat: FloatArray) -> tuple[float, FloatArray]:
            at = Weights(flat[:size].reshape(shape) * scale, flat[size:].reshape(self._prior.shape))
            total, by_weights, by_intercepts = self._value(at, ridge)
            return total, np.concatenate([(by_weights * scale).ravel(), by_intercepts.ravel()])

        found = scipy.optimize.minimize(
            value,
            np.concatenate([(self.solution.weights / scale).ravel(), self.solution.intercepts.ravel()]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS, "ftol": tolerance, "gtol": 0.0},
        )
        self.iterations += int(found.nit)
        self.converged &= found.status != 1  # 1: too many iterations
        self.solution = Weights(found.x[:size].reshape(shape) * scale, found.x[size:].reshape(self._prior.shape))
        losses, shares = losses_and_shares(self._rows, self._hot, self.solution)
        right = shares.argmax(axis=2) == self._hot.argmax(axis=2)
        self._curvature = max(float((shares * (1 - shares)).mean()) / 4, _LEAST_CURVATURE)
        return losses, right

    def _value(self, at: Weights, ridge: float) -> tuple[float, FloatArray, FloatArray]:
        """Return the sum of the objectives, and its slopes by weights and intercepts."""
        losses, residuals = losses_and_shares(self._rows, self._hot, at)
        residuals -= self._hot
        residuals *= self._share[:, :, None]
        off = at.intercepts - self._prior
        penalty = ridge * float(np.vdot(at.weights, at.weights)) + float((self._belief * off**2).sum())
        total = float(np.vdot(losses, self._share)) + penalty / 2
        by_weights = (self._rows.T @ residuals.reshape(len(residuals), -1)).reshape(at.weights.shape)
        return total, by_weights + ridge * at.weights, residuals.sum(axis=0) + self._belief * off


def losses_and_shares(rows: FloatArray, hot: FloatArray, at: Weights) -> tuple[FloatArray, FloatArray]:
    """Return losses and class shares of rows, (n, r) and (n, 1, K) -> (n, parts) and (n, parts, K)."""
    _, n_parts, n_classes = at.weights.shape
    logits = rows @ at.weights.reshape(rows.shape[1], -1).astype(rows.dtype)
    logits = logits.reshape(len(rows), n_parts, n_classes)
    logits += at.intercepts.astype(rows.dtype)
    logits -= logits.max(axis=2, keepdims=True)
    own = np.einsum("npk,nqk->np", logits, hot)
    np.exp(logits, out=logits)
    sums = logits.sum(axis=2)
    logits /= sums[:, :, None]
    losses: FloatArray = np.log(sums) - own
    return losses, logits
