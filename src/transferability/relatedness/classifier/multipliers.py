r"""Multipliers of the constraint on pairs of classes, one for each pair, and how they move towards the best.

A multiplier grows where its pair is too far apart and falls where it is not, for the weights that the model of the next
step predicts:

.. math::
    m_{jk} \leftarrow m_{jk} \, r_{jk}, \qquad r_{jk} = \lVert w_j - w_k \rVert / \tau .

Where multipliers dominate, distances are as their inverse, and one such step is the answer. With many classes that is
true of all multipliers of a class together, and each alone moves its pair little: so a pair's distance counts by the
power of four against what is typical of its two classes, :math:`m_{jk} \leftarrow m_{jk} \, r_{jk}^4 / (\bar r_j \bar
r_k)^{3/2}`, with :math:`\bar r_j^2` the mean square over the multipliers of class j. A pair that was near enough so far
has next to nothing to multiply: where it is too far apart now, it gets a typical multiplier times :math:`r_{jk}^2 - 1`,
as in an augmented Lagrangian, if that is more.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from transferability.linear.descent import Descent, Quadratic
from transferability.linear.rows import Array
from transferability.relatedness.classifier.pairs import pair_distances_squared, quadratic_of

__all__ = ["MANY_CLASSES", "Multipliers"]

MANY_CLASSES = 50
"""From which on a few pairs of many would shrink all of them, and each matters little."""
_UPDATES, _FIRST_UPDATES = 4, 10  # before a step; each costs no pass over the rows
_MOST_FIRST, _NEAR = 20, 0.02  # rounds for equal multipliers, and the mean distance that ends them
_FACTORS = (0.1, 10.0)  # of one update
_TRUST = 4.0  # of all before a step: far from it, the model says little
_LEAST = 1e-6  # nats, of all multipliers together: from zero none would come back
_SHARP_PASSES = 40  # after which the power of four has done what it can, or swings
_TINY = float(np.finfo(np.float32).tiny)


class Multipliers:
    """Multipliers and their quadratic.

    Attributes
    ----------
    values : (K, K)
        Symmetric, positive but on the diagonal.
    tau : float
    """

    def __init__(self, values: Array, tau: float) -> None:
        self.values, self.tau = values, tau

    @cached_property
    def quadratic(self) -> Quadratic:
        """``½ tr(WᵀQW) = Σ m_jk ‖w_j − w_k‖² / τ²`` over the pairs."""
        return Quadratic(quadratic_of(self.values, self.tau))

    @classmethod
    def first(cls, descent: Descent, tau: float) -> Multipliers:
        """Return multipliers with which the model predicts distances of τ: equal ones first, then improved."""
        n_classes = len(descent.point)
        values = np.full((n_classes, n_classes), 1.0 / n_classes**2, dtype=descent.point.dtype)
        np.fill_diagonal(values, 0.0)
        pairs = max(n_classes * (n_classes - 1), 1)
        for _ in range(_MOST_FIRST):
            ahead = descent.direction(cls(values, tau).quadratic, [])
            mean = float(pair_distances_squared(descent.weights + ahead[:, :-1]).sum()) / pairs
            values = np.maximum(values * (np.sqrt(mean) / tau), _LEAST / n_classes**2).astype(ahead.dtype)
            if abs(mean / tau**2 - 1) < _NEAR:
                break
        return cls(values, tau).improved(descent, _FIRST_UPDATES - _UPDATES)

    def idle(self, weights: Array) -> float:
        """Return what multipliers of pairs that are nearer than τ cost the lower bound, in nats, beyond the others."""
        squares = pair_distances_squared(weights * weights.dtype.type(1 / self.tau))
        return 0.5 * float(self.values.sum() - np.vdot(self.values, squares))

    def improved(self, descent: Descent, updates: int = _UPDATES) -> Multipliers:
        """Return multipliers for which the step ahead keeps the constraint better."""
        low, high = self.values / _TRUST, np.maximum(self.values * _TRUST, _typical(self.values))
        many = len(low) >= MANY_CLASSES
        steps, better = descent.remembered(self.quadratic), self
        for k in range(updates):
            if k and not many:  # of many, the multipliers of all change little at once
                steps = descent.remembered(better.quadratic)
            ahead = descent.direction(better.quadratic, steps)[:, :-1]
            ahead += descent.weights
            ahead *= ahead.dtype.type(1 / self.tau)
            sharp = many and descent.passes < _SHARP_PASSES
            updated = _updated(better.values, pair_distances_squared(ahead), sharp=sharp)
            better = Multipliers(np.clip(updated, low, high, out=updated), self.tau)
        return better


def _updated(multipliers: Array, squares: Array, *, sharp: bool) -> Array:
    if sharp:
        of_class = np.einsum("jk,jk->j", multipliers, squares) / np.maximum(multipliers.sum(axis=1), _TINY)
        inverse = np.maximum(of_class, _TINY) ** -0.75
        updated = squares * squares
        updated *= inverse
        updated *= inverse[:, None]
    else:
        updated = np.sqrt(squares)
    np.clip(updated, *_FACTORS, out=updated)
    updated *= multipliers
    np.maximum(updated, _LEAST / len(multipliers) ** 2, out=updated)
    too_far = squares - 1
    too_far *= _typical(multipliers)
    too_far += multipliers
    np.maximum(updated, too_far, out=updated, where=squares > 1)
    np.fill_diagonal(updated, 0.0)
    return updated


def _typical(multipliers: Array) -> float:
    """Return the mean multiplier, each counted by itself: that of a pair that is held together."""
    return float(np.vdot(multipliers, multipliers)) / max(float(multipliers.sum()), _TINY)
