r"""How sure each class match is, and what to do where it is not.

For a target class i the best other plan that gives it another reference class costs :math:`\Delta_i \ge 0` nats more.
The two plans differ in some classes, and for each of these the difference is a mean over its target samples of
:math:`\ell_{j'} - \ell_j`: its standard error is known, and with it how sure the match is. Where the difference is
within noise and a class of the same name is the other choice, the name decides.

One-to-one plans are compared with the best other assignment. Where classes are shared, the other plans are those in
which the class moves to another reference class, or swaps with one target class, at the entropy that the plan then has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray
from transferability.relatedness.labels.matching import MatchCertainty
from transferability.relatedness.labels.sharing import move_costs, swap_costs

__all__ = ["settle_near_ties"]

_MOST_CLASSES = 200  # another plan for each; beyond, nothing is said
_WITHIN_NOISE = 2.0  # standard errors

Names = tuple[Sequence[str] | None, Sequence[str] | None]


def settle_near_ties(
    costs: FloatArray, chosen: IntArray, priors: FloatArray, logits: FloatArray, labels: IntArray, names: Names
) -> tuple[IntArray, MatchCertainty | None]:
    """Return the reference class of each target class, equal names preferred within noise, and how sure each is.

    Parameters
    ----------
    costs : array of shape (K_T, K_R)
        What each pair costs, in nats.
    chosen : array of int of shape (K_T,)
        The cheapest plan.
    priors : array of shape (K_T,)
    logits, labels : arrays of shape (n, K_R) and (n,)
        Of the target's samples, where classes are compared.
    names : (names of the reference's classes, names of the target's), each a sequence or None

    Returns
    -------
    chosen, certainty
        None for more than 200 classes, or a single reference class.
    """
    n_targets, n_references = costs.shape
    if n_targets > _MOST_CLASSES or n_references < 2:
        return chosen, None
    noise = _Noise(logits, labels, priors)
    plans = _Shared(costs, priors) if n_targets > n_references else _OneToOne(costs, priors)
    named = _same_names(names)
    settled = {i for i, same in named if chosen[i] in same}  # which no other name may take it from
    for i, same in named:
        if i in settled:
            continue
        other, more = plans.with_class(chosen, i, min(same, key=lambda j, i=i: costs[i, j]), settled)  # type: ignore[misc]
        if np.isfinite(more) and more <= _WITHIN_NOISE * noise.of(chosen, other):
            chosen = other
            settled.add(i)
    margin, error = np.full(n_targets, np.inf), np.zeros(n_targets)
    alternative = np.full(n_targets, -1)
    for i in range(n_targets):
        other, more = plans.without_class(chosen, i)
        if other[i] != chosen[i]:
            margin[i], error[i], alternative[i] = more, noise.of(chosen, other), other[i]
    return chosen, MatchCertainty(margin, error, alternative)


_Plan = tuple[IntArray, float]
"""The reference class of each target class, and how many nats it costs more than the plan it was asked beside."""


class _OneToOne:
    """Assignments: no reference class serves two target classes."""

    def __init__(self, costs: FloatArray, priors: FloatArray) -> None:
        self.weighted = priors[:, None] * costs
        self.forbidden = 1.0 + 2 * float(np.abs(self.weighted).max(axis=1).sum())  # more than any plan can save

    def with_class(self, chosen: IntArray, i: int, j: int, settled: set[int]) -> _Plan:
        """Return the best plan in which target class i has reference class j and the settled classes keep theirs."""
        weighted = self.weighted.copy()
        wanted = {i: j} | {k: int(chosen[k]) for k in settled}
        for row, column in wanted.items():
            weighted[row, np.arange(weighted.shape[1]) != column] += self.forbidden
        other, more = self._best(chosen, weighted)
        return other, more if all(other[row] == column for row, column in wanted.items()) else np.inf

    def without_class(self, chosen: IntArray, i: int) -> _Plan:
        """Return the best plan in which target class i has another reference class."""
        weighted = self.weighted.copy()
        weighted[i, chosen[i]] += self.forbidden
        return self._best(chosen, weighted)

    def _best(self, chosen: IntArray, weighted: FloatArray) -> _Plan:
        other, rows = linear_sum_assignment(weighted)[1], np.arange(len(chosen))
        return other, float(self.weighted[rows, other].sum() - self.weighted[rows, chosen].sum())


class _Shared:
    """Plans in which reference classes are shared: one class moves, or two swap."""

    def __init__(self, costs: FloatArray, priors: FloatArray) -> None:
        self.costs, self.priors = costs, priors

    def with_class(self, chosen: IntArray, i: int, j: int, settled: set[int]) -> _Plan:
        """Return the plan in which i moves to j, or swaps with one that is there."""
        move, swap = self._costs_of(chosen, i)
        swap[[k for k in range(len(chosen)) if k in settled or chosen[k] != j]] = np.inf
        move[np.arange(len(move)) != j] = np.inf
        return self._cheapest(chosen, i, move, swap)

    def without_class(self, chosen: IntArray, i: int) -> _Plan:
        """Return the plan in which i moves, or swaps, at least cost."""
        return self._cheapest(chosen, i, *self._costs_of(chosen, i))

    def _costs_of(self, chosen: IntArray, i: int) -> tuple[FloatArray, FloatArray]:
        return move_costs(self.costs, self.priors, chosen)[i], swap_costs(self.costs, self.priors, chosen)[i]

    def _cheapest(self, chosen: IntArray, i: int, move: FloatArray, swap: FloatArray) -> _Plan:
        other = chosen.copy()
        if move.min() <= swap.min():
            other[i] = move.argmin()
            return other, float(move.min())
        k = int(swap.argmin())
        other[[i, k]] = chosen[[k, i]]
        return other, float(swap.min())


def _same_names(names: Names) -> list[tuple[int, list[int]]]:
    """Return target classes with the reference classes of their name, where case and surrounding space do not count.

    In a union, whose classes are named "reference: class", each reference may have one.
    """
    theirs, ours = ([name.strip().casefold() for name in each or ()] for each in names)
    found = (
        (i, [j for j, name in enumerate(theirs) if name == own or name.endswith(f": {own}")])
        for i, own in enumerate(ours)
    )
    return [(i, same) for i, same in found if same]


class _Noise:
    """Standard errors of differences between assignments, from the losses of single target samples."""

    def __init__(self, logits: FloatArray, labels: IntArray, priors: FloatArray) -> None:
        self.losses = logsumexp(logits, axis=1)[:, None] - logits  # (n, K_R)
        self.rows = [np.flatnonzero(labels == i) for i in range(len(priors))]
        self.priors = priors

    def of(self, one: IntArray, other: IntArray) -> float:
        """Return the standard error of what one assignment costs more than the other."""
        variance = 0.0
        for i in np.flatnonzero(one != other):
            rows = self.rows[i]
            if len(rows) < 2:
                return float("inf")
            difference = self.losses[rows, other[i]] - self.losses[rows, one[i]]
            variance += float(self.priors[i] ** 2 * difference.var(ddof=1) / len(rows))
        return float(np.sqrt(variance))
