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
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transferability._array import FloatArray, IntArray
from transferability._line_search import Secants
from transferability.linear.rows import Array, Spectrum

__all__ = ["Descent", "LogitLoss", "Look", "Quadratic", "cross_entropy", "mixture_entropy"]

_MEMORY, _SHORT_MEMORY = 10, 5  # steps; each costs a product with Q, which few rows of many classes notice
_MANY_CLASSES = 200
_SLOPE_LEFT = 0.3  # a step is long enough where the slope along it has come down to this share
_TRIES = 25
_LEAST_CURVATURE = 1e-10  # of perfectly separated classes rounding leaves none


class Look(NamedTuple):
    """The loss at some logits."""

    loss: float
    slopes: Array  # (K, n), of the weighted loss in each logit
    curvature: Array  # (K,), Σ ω p (1 − p)


LogitLoss = Callable[[Array], Look]
"""From logits of shape (K, n) to the loss, whose slopes may take their place."""


def cross_entropy(labels: IntArray, weight: FloatArray, dtype: npt.DTypeLike) -> LogitLoss:
    """Return the weighted cross-entropy of a softmax of the logits."""
    columns, share, root = np.arange(len(labels)), weight.astype(dtype), np.sqrt(weight).astype(dtype)

    def look(logits: Array) -> Look:
        logits -= logits.max(axis=0)
        own = logits[labels, columns].astype(np.float64)
        np.exp(logits, out=logits)
        total = logits.sum(axis=0)
        loss = float(weight @ (np.log(total, dtype=np.float64) - own))
        logits *= root / total
        squares = np.einsum("kn,kn->k", logits, logits)
        logits *= root
        curvature = logits.sum(axis=1) - squares
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


class Quadratic(NamedTuple):
    """``½ tr((W − W₀)ᵀ Q (W − W₀))``.

    Q must not mix what all classes share with what differs between them (its rows have one sum), and a descent must
    begin where all classes share what they share in W₀: no step changes that.
    """

    Q: Array  # (K, K), positive semi-definite; (K,) where it is diagonal
    center: Array | None = None  # (K, d); None is zero

    def away(self, weights: Array) -> Array:
        """Return ``W − W₀``."""
        return weights if self.center is None else weights - self.center

    def value(self, weights: Array) -> float:
        """Return the quadratic at some weights."""
        away = self.away(weights)
        return 0.5 * float(np.vdot(away, self.times(away)))

    def slope(self, weights: Array) -> Array:
        """Return the gradient at some weights, (K, d)."""
        return self.times(self.away(weights))

    def times(self, weights: Array) -> Array:
        """Return ``Q W``."""
        product: Array = self.Q[:, None] * weights if self.Q.ndim == 1 else self.Q @ weights
        return product

    @property
    def diagonal(self) -> Array:
        """Of Q, (K,)."""
        return self.Q if self.Q.ndim == 1 else np.diagonal(self.Q)


class Remembered(NamedTuple):
    """A step, and how much the gradient with a quadratic changed along it."""

    step: Array  # (K, d + 1)
    of_loss: Array  # (K, d + 1), without the quadratic
    Q: Array | None  # of the quadratic
    change: Array  # (K, d + 1), with it
    inverse: float  # of the product of step and change; zero where that is not positive

    def under(self, quadratic: Quadratic) -> Remembered:
        """Return what is remembered, with this quadratic."""
        if self.Q is quadratic.Q:
            return self
        change = self.of_loss.copy()
        change[:, :-1] += quadratic.times(self.step[:, :-1])
        product = float(np.vdot(self.step, change))
        return Remembered(self.step, self.of_loss, quadratic.Q, change, 1 / product if product > 0 else 0.0)


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
        self._trial = self.logits.copy()
        self.look = loss(self._trial)
        self.passes = 0
        self._memory = _MEMORY if len(weights) * _MEMORY <= len(features) else _SHORT_MEMORY
        self._steps: list[Remembered] = []
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

    def remembered(self, quadratic: Quadratic) -> list[Remembered]:
        """Return the steps, and how much the gradient with this quadratic changed along each."""
        self._steps = [each.under(quadratic) for each in self._steps]
        return [each for each in self._steps if each.inverse]

    def forget(self) -> bool:
        """Forget the steps; tell whether there were any."""
        known, self._steps = bool(self._steps), []
        return known

    def direction(self, quadratic: Quadratic, steps: list[Remembered]) -> Array:
        """Return the step to the minimum of the model (Nocedal and Wright, algorithm 7.4), (K, d + 1)."""
        ahead = -self.slopes
        ahead[:, :-1] -= quadratic.slope(self.weights)
        scalar, factors = ahead.dtype.type, []
        for each in reversed(steps):
            factors.append(each.inverse * float(np.vdot(each.step, ahead)))
            ahead -= scalar(factors[-1]) * each.change
        ahead = self._divided(ahead, quadratic)
        if steps:
            last = steps[-1]
            ahead *= scalar(1 / (last.inverse * float(np.vdot(last.change, self._divided(last.change, quadratic)))))
        for each, factor in zip(steps, reversed(factors), strict=True):
            ahead += scalar(factor - each.inverse * float(np.vdot(each.change, ahead))) * each.step
        return ahead

    def _divided(self, slopes: Array, quadratic: Quadratic) -> Array:
        curvature = np.maximum(self.look.curvature, _LEAST_CURVATURE).astype(slopes.dtype)
        divided = np.empty_like(slopes)
        strength = np.maximum(quadratic.diagonal, _LEAST_CURVATURE)
        divided[:, :-1] = self.spectrum.divide(slopes[:, :-1], curvature, strength)
        divided[:, -1] = slopes[:, -1] / curvature
        divided -= divided.mean(axis=0)  # what all classes share changes nothing
        return divided

    def move(self, ahead: Array, quadratic: Quadratic) -> float:
        """Go as far along `ahead` as it pays; return the decrease that was expected, zero where rounding hides it.

        A look from elsewhere on the line costs O(n K), no pass over the features.
        """
        change, pulled = self._logits(ahead), quadratic.times(ahead[:, :-1])
        bend = float(np.vdot(ahead[:, :-1], pulled))
        rise = float(np.vdot(quadratic.away(self.weights), pulled))
        slope = float(np.vdot(self.slopes, ahead)) + rise
        if not slope < 0:
            return 0.0
        secants, length = Secants(slope), 1.0
        for _ in range(_TRIES):
            np.multiply(change, change.dtype.type(length), out=self._trial)
            self._trial += self.logits
            look = self.loss(self._trial)
            new_slope = float(np.vdot(look.slopes, change)) + rise + length * bend
            higher = look.loss - self.look.loss + length * (rise + 0.5 * length * bend)
            if abs(new_slope) <= _SLOPE_LEFT * abs(slope) and (new_slope <= 0 or higher <= 0):
                break
            length = secants.after(length, new_slope)
        else:
            return 0.0
        step = ahead.dtype.type(length) * ahead
        self.point += step
        change *= change.dtype.type(length)
        self.logits += change
        self.look = look
        before, self.slopes = self.slopes, self._slopes()
        gained = self.slopes - before
        if float(np.vdot(step, gained)) > -float(np.finfo(step.dtype).eps) * float(np.vdot(gained, gained)):
            self._steps = [*self._steps[1 - self._memory :], Remembered(step, gained, None, gained, 0.0)]
        return -0.5 * slope
