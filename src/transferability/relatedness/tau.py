"""Which τ: one, the best of a list, or the end of a walk."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

__all__ = ["DEFAULT_TAU", "first_tau", "solve_for_tau"]

DEFAULT_TAU = 0.2
"""Of every estimator and command, the paper's value; packs hold a classifier for it. The loss of the moved classifier
orders encoders better with it than with the τ of the smallest bound, at which that classifier may say next to nothing.
"""

_RANGE = (1e-3, 50.0)
_WORTH_A_STEP = 0.99  # of the bound before; towards log K the walk would go on for ever, for nothing
_FIRST = 4.0  # times 1 / √d: where the walk of "auto" begins

S = TypeVar("S")


def first_tau(tau: float | tuple[float, ...] | str, n_features: int) -> float:
    """Return the τ that is tried first."""
    if isinstance(tau, str):
        return _FIRST / math.sqrt(n_features)
    return tau if isinstance(tau, float) else tau[0]


def solve_for_tau(
    tau: float | tuple[float, ...] | str, n_features: int, solve: Callable[[float], S], criterion: Callable[[S], float]
) -> list[S]:
    """Solve for one τ, for each of a list, or, for "auto", along a walk that stops where the bound turns up again.

    Parameters
    ----------
    tau : float, tuple of float or "auto"
    n_features : int
        Of the reference; the walk begins at 4 / √d and goes in factors of two.
    solve : callable
        τ to solution.
    criterion : callable
        Solution to the bound it is judged by.
    """
    centre = first_tau(tau, n_features)
    if isinstance(tau, float):
        return [solve(tau)]
    if not isinstance(tau, str):
        return [solve(each) for each in tau]
    solved = {0: solve(centre)}
    for direction in (1, -1):
        step = direction
        while _RANGE[0] < centre * 2.0**step < _RANGE[1]:
            solved[step] = solve(centre * 2.0**step)
            if criterion(solved[step]) >= _WORTH_A_STEP * criterion(solved[step - direction]):
                break
            step += direction
        if 2 in solved:  # downhill one way: the other way is uphill
            break
    return [solved[step] for step in sorted(solved)]
