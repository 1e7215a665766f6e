r"""How sure each class match is, and what to do where it is not.

For a target class i the best assignment that gives it another reference class costs :math:`\Delta_i \ge 0` nats more.
The two assignments differ in the classes of a cycle, and for each of these the difference is a mean over its target
samples of :math:`\ell_{j'} - \ell_j`: its standard error is known, and with it how sure the match is. Where the
difference is within noise and a class of the same name is the other choice, the name decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray
from transferability.relatedness.labels.matching import MatchCertainty

__all__ = ["settle_near_ties"]

_MOST_CLASSES = 200  # an assignment problem for each; beyond, nothing is said
_WITHIN_NOISE = 2.0  # standard errors
_FORBIDDEN = 1e6  # nats

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
        The cheapest assignment.
    priors : array of shape (K_T,)
    logits, labels : arrays of shape (n, K_R) and (n,)
        Of the target's samples, where classes are compared.
    names : (names of the reference's classes, names of the target's), each a sequence or None

    Returns
    -------
    chosen, certainty
        None where classes are shared (K_R < K_T) or more than 200.
    """
    n_targets, n_references = costs.shape
    if n_targets > n_references or n_targets > _MOST_CLASSES or n_references < 2:
        return chosen, None
    noise = _Noise(logits, labels, priors)
    weighted = priors[:, None] * costs
    for i, same in _same_names(names):
        if chosen[i] in same:
            continue
        j = min(same, key=lambda reference, i=i: costs[i, reference])  # type: ignore[misc]
        fixed = weighted.copy()
        fixed[i, np.arange(n_references) != j] += _FORBIDDEN
        other = linear_sum_assignment(fixed)[1]
        more = _total(weighted, other) - _total(weighted, chosen)
        if more <= _WITHIN_NOISE * noise.of(chosen, other):
            chosen = other
            weighted = fixed  # later names must not take it back
    weighted = priors[:, None] * costs
    margin = np.full(n_targets, np.inf)
    error = np.zeros(n_targets)
    alternative = np.full(n_targets, -1)
    for i in range(n_targets):
        without = weighted.copy()
        without[i, chosen[i]] += _FORBIDDEN
        other = linear_sum_assignment(without)[1]
        if other[i] == chosen[i]:
            continue
        margin[i] = _total(weighted, other) - _total(weighted, chosen)
        error[i] = noise.of(chosen, other)
        alternative[i] = other[i]
    return chosen, MatchCertainty(margin, error, alternative)


def _total(weighted: FloatArray, chosen: IntArray) -> float:
    return float(weighted[np.arange(len(chosen)), chosen].sum())


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
