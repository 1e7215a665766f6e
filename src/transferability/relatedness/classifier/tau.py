"""Which τ: one, one in proportion to 1 / √d, the best of a list, or the end of a walk."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

__all__ = ["DEFAULT_TAU", "PAPER_TAU", "first_tau", "nearest_tau", "solve_for_tau"]

DEFAULT_TAU: Literal["scaled"] = "scaled"
"""The default. Standardised features lie about √d apart, so that one number for all would leave narrow encoders a
flatter classifier than wide ones. How sure the classifier is, is the scale's affair: τ regularises its direction, and
from 16 to 64 / √d the bound is nearly the same (`experiments/tau_scale.py`).
"""
PAPER_TAU = 0.2
"""The paper's value; packs hold a classifier for it."""

_MOST_STEPS = 12  # each way
_WORTH_A_STEP = 0.99  # of the best so far; towards log K the walk would go on for ever, for nothing
_PATIENCE = 2  # steps that may be no better: a bound from a few rows is noisy
_NO_SPREAD = 1e-3  # of features that are all constant
_FIRST = 32.0  # times 1 / √spread: "scaled", and where the walk of "auto" begins

S = TypeVar("S")


def first_tau(tau: float | tuple[float, ...] | str, spread: float) -> float:
    """Return the τ that is tried first."""
    if isinstance(tau, str):
        return _FIRST / math.sqrt(spread or _NO_SPREAD)
    return tau if isinstance(tau, float) else tau[0]


def nearest_tau(tau: float | tuple[float, ...] | str, known: Sequence[float], spread: float) -> float:
    """Return the nearest, in proportion, of the τ that classifiers are there for."""
    wanted = first_tau(tau, spread)
    return min(known, key=lambda each: abs(math.log(each / wanted)))


def solve_for_tau(
    tau: float | tuple[float, ...] | str, spread: float, solve: Callable[[float], S], criterion: Callable[[S], float]
) -> list[S]:
    """Solve for one τ, for each of a list, or, for "auto", along a walk to where the bound turns up.

    Parameters
    ----------
    tau : float, tuple of float, "scaled" or "auto"
    spread : float
        Mean squared distance of the reference's features from their mean: as many as are alive, where they are
        standardised. "scaled" is 32 / √spread; there the walk of "auto" begins. It goes in factors of two, two steps
        past the best one each way, twelve at most.
    solve : callable
        τ to solution.
    criterion : callable
        Solution to the bound it is judged by.
    """
    centre = first_tau(tau, spread)
    if isinstance(tau, float) or tau == "scaled":
        return [solve(centre)]
    if not isinstance(tau, str):
        return [solve(each) for each in tau]
    solved = {0: solve(centre)}
    for direction in (1, -1):
        step, best, worse = direction, criterion(solved[0]), 0
        while worse < _PATIENCE and abs(step) <= _MOST_STEPS:
            solved[step] = solve(centre * 2.0**step)
            worse = 0 if criterion(solved[step]) < _WORTH_A_STEP * best else worse + 1
            best = min(best, criterion(solved[step]))
            step += direction
    return [solved[step] for step in sorted(solved)]
