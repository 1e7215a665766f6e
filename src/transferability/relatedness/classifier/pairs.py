r"""The constraint on pairs of classes: how far it is kept, weights that keep it, and what it says of the optimum.

Any multipliers :math:`m` give a lower bound on the optimum. The Lagrangian lies below the loss on the feasible set and,
the loss being convex, above the loss's tangent plus the quadratic of the multipliers. With the Lagrangian's gradient g
at W, a row for each class, feasible weights lie within :math:`\rho = \lVert W \rVert + \tau \sqrt{(K - 1) / 2}` of W
(rows that sum to zero: Jung), and for any :math:`\delta \ge 0`

.. math::
    \min_{\lVert D \rVert \le \rho} \langle g, D \rangle + \tfrac12 \operatorname{tr}(D^\top Q D)
    \;\ge\; -\tfrac12 \operatorname{tr}\bigl(g^\top (Q + \delta)^{-1} g\bigr) - \tfrac12 \delta \rho^2 .

So the bound is short of the optimum by the square of the gradient where multipliers hold the classes together, and only
where they do not by the gradient itself.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from transferability._array import FloatArray
from transferability.linear.rows import Array

__all__ = ["feasible", "lower_bound", "pair_distances_squared", "quadratic_of"]

_REPAIRS = 8


def pair_distances_squared(weights: Array) -> Array:
    """Return ``‖w_j − w_k‖²`` of all pairs, (K, K)."""
    distances: Array = weights @ weights.T
    squares = np.diag(distances).copy()
    distances *= -2
    distances += squares
    distances += squares[:, None]
    return np.maximum(distances, 0.0, out=distances)


def quadratic_of(multipliers: Array, tau: float) -> Array:
    """Return Q, with which ``½ tr(WᵀQW)`` is ``Σ m_jk ‖w_j − w_k‖² / τ²`` over the pairs, (K, K)."""
    Q: Array = multipliers * multipliers.dtype.type(-2 / tau**2)
    np.fill_diagonal(Q, 0.0)
    np.fill_diagonal(Q, -Q.sum(axis=1))
    return Q


def feasible(weights: Array, tau: float) -> FloatArray:
    """Return weights that keep the constraint, near those given: rows too far apart meet halfway, then all shrink.

    Of hundreds of thousands of pairs the worst may be several hundredths too far apart while nearly all are not; what
    shrinks all of them for its sake loses a tenth of the loss. Averages of projections on pairs, of O(K² d) each.
    """
    for _ in range(_REPAIRS):
        excess = np.sqrt(pair_distances_squared(weights))
        np.maximum(excess, tau, out=excess)
        np.divide(-tau, excess, out=excess)
        excess += 1  # the share of its distance by which a pair is too far apart
        pairs = np.count_nonzero(excess, axis=1).astype(weights.dtype)
        if not pairs.any():
            break
        scale = 1 / np.sqrt(np.maximum(pairs, 1))
        excess *= scale / 2
        excess *= scale[:, None]
        weights = weights - excess.sum(axis=1)[:, None] * weights + excess @ weights
    kept = weights.astype(np.float64)
    largest = float(np.sqrt(pair_distances_squared(kept).max()))
    return kept * min(1.0, tau / largest) if largest > 0 else kept


def lower_bound(
    loss: float, slopes: Array, weights: Array, multipliers: Array, tau: float, *, slack: float, enough: float = 0.0
) -> float:
    """Return a lower bound on the optimum, ≥ 0.

    Parameters
    ----------
    loss : float
        At the weights, with the best intercepts for them.
    slopes : array of shape (K, d)
        Of the loss, in the weights.
    weights : array of shape (K, d)
    multipliers : array of shape (K, K)
    tau : float
    slack : float
        Nats that the bound may lose by its δ: more make it better where pairs have next to no multipliers.
    enough : float
        What is of use. Zero is returned where two products tell that the bound is below: its O(K³) are saved.
    """
    n_classes = len(weights)
    weights = weights - weights.mean(axis=0)
    Q = quadratic_of(multipliers.astype(np.float64), tau)
    gradient = slopes + Q.astype(weights.dtype) @ weights
    gradient -= gradient.mean(axis=0)
    across = float(np.linalg.norm(weights)) + tau * np.sqrt((n_classes - 1) / 2)
    delta = 2 * slack / max(across, np.finfo(np.float64).tiny) ** 2
    held = multipliers * (pair_distances_squared(weights) / tau**2 - 1)
    Q[np.diag_indices(n_classes)] += delta
    short = loss + 0.5 * float(held.sum()) - slack - enough
    if short < 0.5 * _least_reach(Q.astype(weights.dtype), gradient):
        return 0.0
    try:
        reach = cho_solve(cho_factor(Q, check_finite=False), gradient.astype(np.float64), check_finite=False)
    except np.linalg.LinAlgError:  # multipliers so far apart that rounding hides the smaller ones
        return 0.0
    return max(loss + 0.5 * float(held.sum()) - 0.5 * float(np.vdot(gradient, reach)) - slack, 0.0)


def _least_reach(Q: Array, gradient: Array) -> float:
    """Return at most ``tr(gᵀ Q⁻¹ g)`` (Cauchy and Schwarz): nearly that where Q is nearly diagonal."""
    guess = gradient / np.diagonal(Q)[:, None]
    along = float(np.vdot(guess, Q @ guess))
    return float(np.vdot(gradient, guess)) ** 2 / along if along > 0 else 0.0
