"""Which τ: one, one in proportion to 1 / √d, the best of a list, or the end of a walk."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar

__all__ = ["DEFAULT_TAU", "RANKING_TAU", "first_tau", "solve_for_tau"]

DEFAULT_TAU = 0.2
"""The paper's value; packs hold a classifier for it."""
RANKING_TAU: Literal["scaled"] = "scaled"
"""Where encoders are compared. Standardised features lie about √d apart, so that one τ for all would leave narrow
encoders a flatter classifier than wide ones; with the τ of the smallest bound a classifier may say next to nothing.
"""

_RANGE = (1e-3, 50.0)
_WORTH_A_STEP = 0.99  # of the bound before; towards log K the walk would go on for ever, for nothing
_FIRST = 4.0  # times 1 / √d: "scaled", and where the walk of "auto" begins

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
    tau : float, tuple of float, "scaled" or "auto"
    n_features : int
        Of the reference. "scaled" is 4 / √d; there the walk of "auto" begins, and it goes in factors of two.
    solve : callable
        τ to solution.
    criterion : callable
        Solution to the bound it is judged by.
    """
    centre = first_tau(tau, n_features)
    if isinstance(tau, float) or tau == "scaled":
        return [solve(centre)]
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
