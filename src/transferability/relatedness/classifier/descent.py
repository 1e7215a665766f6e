r"""Descent for classifiers that are linear in the features: a mean loss of logits plus a quadratic in the weights.

.. math::
    \min_{W, c}\ \sum_n \omega_n \ell_n(W z_n + c) + \tfrac12 \operatorname{tr}\bigl((W - W_0)^\top Q (W - W_0)\bigr)

L-BFGS, with what is known of the problem built in. The curvature of the loss is near :math:`h_j s_i` for class j and
the principal axis i of the features, with the mean :math:`h_j` of :math:`p_j (1 - p_j)` and the second moment
:math:`s_i`; that of the quadratic is Q. So the first guess of the inverse Hessian is a division by
:math:`h_j s_i + Q_{jj}`, and ten to thirty passes do what took a hundred and more. Q is exact in the remembered steps
too, and may change between steps. Logits are linear along a line: how far to go is found without a product with the
features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transferability._array import BoolArray, FloatArray, IntArray
from transferability._line_search import Secants

__all__ = ["Descent", "LogitLoss", "Look", "Quadratic", "Rows", "Spectrum", "cross_entropy", "mixture_entropy"]

_AXES = 64  # principal axes that are told apart; the others share their mean second moment
_ROWS_PER_AXIS = 16  # for a spectrum a few rows are enough
_LEAST_MOMENT = 1e-6  # of the largest: below is rounding
_POWER_ROUNDS = 3  # of the subspace iteration, on moments that fall off
_MOST_TO_REDUCE = 800  # rows; beyond, the decomposition costs more than it saves
_ROUNDING = 1e-13  # share of the largest squared singular value below which a direction is rounding
_SINGLE_PRECISION_FROM = 5_000_000  # multiplications of half a pass
_MEMORY, _SHORT_MEMORY = 10, 5  # steps; each costs a product with Q, which few rows of many classes notice
_MANY_CLASSES = 200
_SLOPE_LEFT = 0.3  # a step is long enough where the slope along it has come down to this share
_TRIES = 25
_LEAST_CURVATURE = 1e-10  # of perfectly separated classes rounding leaves none

Array = npt.NDArray[Any]  # float64 or float32


class Look(NamedTuple):
    """The loss at some logits."""

    loss: float
    slopes: Array  # (K, n), of the weighted loss in each logit
    curvature: Array  # (K,), Σ ω p (1 − p)


LogitLoss = Callable[[Array], Look]
"""From logits of shape (K, n) to the loss; may overwrite what it is given."""


def cross_entropy(labels: IntArray, weight: FloatArray, dtype: npt.DTypeLike) -> LogitLoss:
    """Return the weighted cross-entropy of a softmax of the logits."""
    columns, share = np.arange(len(labels)), weight.astype(dtype)

    def look(logits: Array) -> Look:
        logits -= logits.max(axis=0)
        own = logits[labels, columns].astype(np.float64)
        np.exp(logits, out=logits)
        total = logits.sum(axis=0)
        loss = float(weight @ (np.log(total, dtype=np.float64) - own))
        logits /= total
        curvature = logits @ share - np.einsum("kn,kn,n->k", logits, logits, share)
        logits *= share
        logits[labels, columns] -= share
        return Look(loss, logits, curvature)

    return look


def mixture_entropy(log_shares: FloatArray, weight: FloatArray, dtype: npt.DTypeLike) -> LogitLoss:
    """Return the weighted ``−log Σ_j B_j softmax_j``, for ``log B`` of each row, (n, K), −∞ where B is zero."""
    shift, share = np.ascontiguousarray(log_shares.T, dtype=dtype), weight.astype(dtype)

    def normalised(logits: Array) -> tuple[Array, FloatArray]:
        largest = logits.max(axis=0)
        logits -= largest
        np.exp(logits, out=logits)
        total = logits.sum(axis=0)
        logits /= total
        return logits, largest + np.log(total, dtype=np.float64)

    def look(logits: Array) -> Look:
        responsible, likely = normalised(logits + shift)
        shares, all_of_it = normalised(logits)
        curvature = shares @ share - np.einsum("kn,kn,n->k", shares, shares, share)
        shares -= responsible
        shares *= share
        return Look(float(weight @ (all_of_it - likely)), shares, curvature)

    return look


class Spectrum(NamedTuple):
    """Second moments of features along principal axes."""

    axes: Array | None  # (d, r), orthonormal; None where the features are given in their principal axes
    values: Array  # (r,)
    rest: float | None  # mean second moment across these axes; None where there is nothing across

    @classmethod
    def of(cls, features: Array) -> Spectrum:
        """Measure the largest 64 moments, by subspace iteration on a thousand rows: O(d²) each."""
        n, d = features.shape
        some = features[:: -(-n // (_ROWS_PER_AXIS * _AXES))]
        moments = some.T @ some
        moments /= len(some)
        trace = float(np.trace(moments, dtype=np.float64))
        if d <= 2 * _AXES:
            values, axes = np.linalg.eigh(moments)
            return cls(axes, np.maximum(values, _LEAST_MOMENT * values[-1]), None)
        start = np.random.default_rng(0).normal(size=(d, _AXES + _AXES // 4)).astype(moments.dtype)
        block = np.linalg.qr(start)[0]
        for _ in range(_POWER_ROUNDS):
            block = np.linalg.qr(moments @ block)[0]
        values, turn = np.linalg.eigh(block.T @ (moments @ block))
        values, axes = np.maximum(values[-_AXES:], 0.0), block @ turn[:, -_AXES:]
        rest = (trace - float(values.sum())) / (d - _AXES)
        return cls(axes, values, max(rest, _LEAST_MOMENT * float(values[-1])))

    def divide(self, slopes: Array, curvature: Array, strength: Array) -> Array:
        """Return ``slopes / (h_j s_i + strength_j)`` in the principal axes, (K, d) -> (K, d)."""
        h, q = curvature[:, None], strength[:, None]
        if self.axes is None:
            divided: Array = slopes / (h * self.values + q)
            return divided
        along: Array = slopes @ self.axes  # (K, r)
        if self.rest is None:
            along /= h * self.values + q
            return along @ self.axes.T
        across = 1 / (h * slopes.dtype.type(self.rest) + q)
        along *= 1 / (h * self.values + q) - across
        result: Array = across * slopes
        result += along @ self.axes.T
        return result


@dataclass(frozen=True, eq=False)
class Rows:
    """Features as the solvers want them: in principal coordinates where there are fewer rows than features.

    A classifier that is fitted to these rows, with a quadratic in its distance from another one, differs from that one
    in the space that the rows span only.
    """

    coordinates: Array  # (n, r)
    basis: FloatArray | None  # (d, r), orthonormal; None where r = d, and coordinates are the features
    spectrum: Spectrum

    @classmethod
    def of(cls, features: FloatArray) -> Rows:
        """Decompose features, (n, d): O(n² d) for n < d."""
        n, d = features.shape
        if n >= d or n > _MOST_TO_REDUCE:
            return cls(features, None, Spectrum.of(features))
        features = features.astype(np.float64, copy=False)
        squares, axes = np.linalg.eigh(features @ features.T)
        kept = squares > _ROUNDING * max(float(squares[-1]), np.finfo(np.float64).tiny)
        kept[-1] = True  # of features that are all zero one axis is left
        roots, axes = np.sqrt(np.maximum(squares[kept], 0.0)), axes[:, kept]
        basis = features.T @ (axes / np.where(roots > 0, roots, 1.0))
        return cls(axes * roots, basis, Spectrum(None, squares[kept] / n, None))

    def take(self, rows: IntArray | BoolArray) -> Rows:
        """Return these rows, in the coordinates of all."""
        return Rows(self.coordinates[rows], self.basis, self.spectrum)

    def working(self, n_classes: int, single_from: int | None = None) -> Rows:
        """Return the rows in the precision that passes are made in: float32 where they are large."""
        large = self.coordinates.size * n_classes > (single_from or _SINGLE_PRECISION_FROM)
        dtype = np.float32 if large else np.float64
        spectrum = Spectrum(
            None if self.spectrum.axes is None else self.spectrum.axes.astype(dtype, copy=False),
            self.spectrum.values.astype(dtype, copy=False),
            self.spectrum.rest,
        )
        return Rows(self.coordinates.astype(dtype, copy=False), self.basis, spectrum)

    def reduce(self, weights: FloatArray) -> FloatArray:
        """Return weights of features as weights of coordinates, (K, d) -> (K, r)."""
        return weights if self.basis is None else weights @ self.basis

    def expand(self, reduced: Array, prior: FloatArray | None = None) -> FloatArray:
        """Return the weights of features that are `reduced` on these rows, and `prior` (or zero) across them."""
        weights: FloatArray = reduced.astype(np.float64)
        if self.basis is None:
            return weights
        if prior is None:
            return weights @ self.basis.T
        return prior + (weights - prior @ self.basis) @ self.basis.T


class Quadratic(NamedTuple):
    """``½ tr((W − W₀)ᵀ Q (W − W₀))``.

    Q must not mix what all classes share with what differs between them (its rows have one sum), and a descent must
    begin where all classes share what they share in W₀: no step changes that.
    """

    Q: Array  # (K, K), positive semi-definite
    center: Array | None = None  # (K, d); None is zero

    def value(self, weights: Array) -> float:
        """Return the quadratic at some weights."""
        away = weights if self.center is None else weights - self.center
        return 0.5 * float(np.vdot(away, self.times(away)))

    def slope(self, weights: Array) -> Array:
        """Return the gradient at some weights, (K, d)."""
        return self.times(weights if self.center is None else weights - self.center)

    def times(self, weights: Array) -> Array:
        """Return ``Q W``."""
        product: Array = self.Q @ weights
        return product


class Descent:
    """A point (W, c) that goes downhill.

    Attributes
    ----------
    point : (K, d + 1)
        Weights, and intercepts in the last column.
    logits : (K, n)
    look : Look
        The loss there.
    slopes : (K, d + 1)
        Of the loss, without the quadratic.
    passes : int
        Over the features, of two products each.
    """

    def __init__(
        self, features: Array, loss: LogitLoss, spectrum: Spectrum, weights: FloatArray, intercept: FloatArray
    ) -> None:
        self.features, self.loss, self.spectrum = features, loss, spectrum
        self.point = np.concatenate([weights, intercept[:, None]], axis=1).astype(features.dtype)
        self.logits = self._logits(self.point)
        self.look = loss(self.logits.copy())
        self.passes = 0
        self._memory = _MEMORY if len(weights) * _MEMORY <= len(features) else _SHORT_MEMORY
        self._steps: list[tuple[Array, Array]] = []
        self.slopes = self._slopes()

    @property
    def weights(self) -> Array:
        """W, a view."""
        return self.point[:, :-1]

    def _logits(self, point: Array) -> Array:
        if point[:, :-1].any():
            weights = point[:, :-1]
            logits: Array = (
                np.ascontiguousarray((self.features @ weights.T).T)  # a fifth faster than W Zᵀ, for few classes
                if len(weights) < _MANY_CLASSES
                else weights @ self.features.T
            )
        else:
            logits = np.zeros((len(point), len(self.features)), dtype=point.dtype)
        logits += point[:, -1:]
        return logits

    def _slopes(self) -> Array:
        slopes = np.empty_like(self.point)
        np.matmul(self.look.slopes, self.features, out=slopes[:, :-1])
        slopes[:, -1] = self.look.slopes.sum(axis=1)
        self.passes += 1
        return slopes

    def remembered(self, quadratic: Quadratic) -> list[tuple[Array, Array, float]]:
        """Return the steps, how much the gradient with this quadratic changed along each, and the inverse product."""
        steps = []
        for step, change in self._steps:
            whole = change.copy()
            whole[:, :-1] += quadratic.times(step[:, :-1])
            product = float(np.vdot(step, whole))
            if product > 0:
                steps.append((step, whole, 1 / product))
        return steps

    def forget(self) -> bool:
        """Forget the steps; tell whether there were any."""
        known, self._steps = bool(self._steps), []
        return known

    def direction(self, quadratic: Quadratic, steps: list[tuple[Array, Array, float]]) -> Array:
        """Return the step to the minimum of the model (Nocedal and Wright, algorithm 7.4), (K, d + 1)."""
        ahead = -self.slopes
        ahead[:, :-1] -= quadratic.slope(self.weights)
        scalar, factors = ahead.dtype.type, []
        for step, change, inverse in reversed(steps):
            factors.append(inverse * float(np.vdot(step, ahead)))
            ahead -= scalar(factors[-1]) * change
        ahead = self._divided(ahead, quadratic)
        if steps:
            step, change, inverse = steps[-1]
            ahead *= scalar(1 / (inverse * float(np.vdot(change, self._divided(change, quadratic)))))
        for (step, change, inverse), factor in zip(steps, reversed(factors), strict=True):
            ahead += scalar(factor - inverse * float(np.vdot(change, ahead))) * step
        return ahead

    def _divided(self, slopes: Array, quadratic: Quadratic) -> Array:
        curvature = np.maximum(self.look.curvature, _LEAST_CURVATURE).astype(slopes.dtype)
        divided = np.empty_like(slopes)
        strength = np.maximum(np.diagonal(quadratic.Q), _LEAST_CURVATURE)
        divided[:, :-1] = self.spectrum.divide(slopes[:, :-1], curvature, strength)
        divided[:, -1] = slopes[:, -1] / curvature
        divided -= divided.mean(axis=0)  # what all classes share changes nothing
        return divided

    def move(self, ahead: Array, quadratic: Quadratic) -> float:
        """Go as far along `ahead` as it pays; return the decrease that was expected, zero where rounding hides it.

        A look from elsewhere on the line costs O(n K), no pass over the features.
        """
        change = self._logits(ahead)
        bend = float(np.vdot(ahead[:, :-1], quadratic.times(ahead[:, :-1])))
        rise = float(np.vdot(ahead[:, :-1], quadratic.slope(self.weights)))
        slope = float(np.vdot(self.slopes, ahead)) + rise
        if not slope < 0:
            return 0.0
        secants, length = Secants(slope), 1.0
        for _ in range(_TRIES):
            look = self.loss(self.logits + change.dtype.type(length) * change)
            new_slope = float(np.vdot(look.slopes, change)) + rise + length * bend
            higher = look.loss - self.look.loss + length * (rise + 0.5 * length * bend)
            if abs(new_slope) <= _SLOPE_LEFT * abs(slope) and (new_slope <= 0 or higher <= 0):
                break
            length = secants.after(length, new_slope)
        else:
            return 0.0
        step = ahead.dtype.type(length) * ahead
        self.point += step
        self.logits += change.dtype.type(length) * change
        self.look = look
        before, self.slopes = self.slopes, self._slopes()
        gained = self.slopes - before
        if float(np.vdot(step, gained)) > -float(np.finfo(step.dtype).eps) * float(np.vdot(gained, gained)):
            self._steps = [*self._steps[1 - self._memory :], (step, gained)]
        return -0.5 * slope
