r"""Fewer reference classes than target classes: some are shared, which costs entropy.

.. math:: \sum_i P_T(i)\, c(i, j_i) + \sum_j \varphi(D_j), \qquad \varphi(x) = x \log x,

up to a constant. Best responses from several starts, and swaps, find a local optimum: the best one for most small
problems.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from transferability._array import FloatArray, IntArray

__all__ = ["cheapest_sharing", "move_costs", "swap_costs"]

_RANDOM_STARTS = 16
_MOST_TO_SWAP = 40  # target classes; beyond, single moves have to do
_MOST_SWEEPS = 100
_GAIN = 1e-12  # nats, below which nothing moves


def cheapest_sharing(costs: FloatArray, priors: FloatArray, start: IntArray | None) -> IntArray:
    """Return the best of the local optima that several starts lead to, for fewer reference than target classes.

    Starts: each class where it is cheapest; the cheapest assignment in which no reference class serves more target
    classes than it must; the answer to the costs before; and sixteen random ones, the same for the same shape.
    """
    n_targets, n_references = costs.shape
    repeats = -(-n_targets // n_references)
    spread = linear_sum_assignment(priors[:, None] * np.tile(costs, repeats))[1] % n_references
    rng = np.random.default_rng(0)
    starts = [costs.argmin(axis=1), spread, *([] if start is None else [start])]
    starts += [rng.integers(n_references, size=n_targets) for _ in range(_RANDOM_STARTS)]
    found = [_best_responses(costs, priors, each) for each in starts]
    return min(found, key=lambda chosen: _shared_cost(costs, priors, chosen))


def move_costs(costs: FloatArray, priors: FloatArray, chosen: IntArray) -> FloatArray:
    """Return what it costs more if one class moves, (K_T, K_R); infinite where it is already."""
    own = costs[np.arange(len(chosen)), chosen]
    mass = _masses(chosen, priors, costs.shape[1])
    left, there = mass[chosen] - priors, mass + priors[:, None]
    entropy = _phi(left)[:, None] - _phi(mass)[chosen][:, None] + _phi(there) - _phi(mass)
    more: FloatArray = priors[:, None] * (costs - own[:, None]) + entropy
    more[np.arange(len(chosen)), chosen] = np.inf
    return more


def swap_costs(costs: FloatArray, priors: FloatArray, chosen: IntArray) -> FloatArray:
    """Return what it costs more if two classes swap, (K_T, K_T); infinite where they share a class."""
    there = costs[:, chosen]  # (i, k): class i where k is
    moved = priors[:, None] * (there - there.diagonal()[:, None])
    mass = _masses(chosen, priors, costs.shape[1])
    left = _phi(mass[chosen][:, None] + priors - priors[:, None]) - _phi(mass)[chosen][:, None]
    more: FloatArray = moved + moved.T + left + left.T
    more[chosen[:, None] == chosen] = np.inf
    return more


def _masses(chosen: IntArray, priors: FloatArray, n_references: int) -> FloatArray:
    return np.bincount(chosen, weights=priors, minlength=n_references).astype(np.float64)


def _phi(mass: FloatArray) -> FloatArray:
    positive = np.maximum(mass, 0.0)  # differences of priors may round to less
    entropy: FloatArray = xlogy(positive, positive)
    return entropy


def _shared_cost(costs: FloatArray, priors: FloatArray, chosen: IntArray) -> float:
    """Return ``Σ_i P_T(i) cost(i, j_i)`` plus the entropy of sharing, up to a constant."""
    mass = _masses(chosen, priors, costs.shape[1])
    return float(priors @ costs[np.arange(len(priors)), chosen]) + float(_phi(mass).sum())


def _best_responses(costs: FloatArray, priors: FloatArray, start: IntArray) -> IntArray:
    """Let one target class after the other, or two that swap, move to where cost plus entropy falls most."""
    chosen = start.astype(np.int64)
    mass = _masses(chosen, priors, costs.shape[1])
    for _ in range(_MOST_SWEEPS):
        moved = False
        for i in np.argsort(-priors, kind="stable"):
            mass[chosen[i]] -= priors[i]
            others = np.maximum(mass, 0.0)
            total = priors[i] * costs[i] + _phi(others + priors[i]) - _phi(others)
            best = int(total.argmin())
            if total[best] < total[chosen[i]] - _GAIN:
                chosen[i], moved = best, True
            mass[chosen[i]] += priors[i]
        if not moved and not _swap(costs, priors, chosen):
            break
        mass = _masses(chosen, priors, costs.shape[1])
    return chosen


def _swap(costs: FloatArray, priors: FloatArray, chosen: IntArray) -> bool:
    """Let the two target classes swap that gain most by it, in place; return whether any do."""
    if len(priors) > _MOST_TO_SWAP:
        return False
    more = swap_costs(costs, priors, chosen)
    i, k = np.unravel_index(int(more.argmin()), more.shape)
    if more[i, k] >= -_GAIN:
        return False
    chosen[i], chosen[k] = chosen[k], chosen[i]
    return True
