"""Checks of the options of `TaskRelatedness`, and that they go together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._validate import check_choice
from transferability.errors import OptionError, TaskError
from transferability.relatedness.choices import GROUND_COSTS
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.solvers.base import Solver
from transferability.relatedness.tasks.test_parts import numbered_as
from transferability.task import Task

__all__ = ["as_panel", "check_ground_cost", "check_matching", "check_seed", "check_space"]

_MATCHINGS = ("assignment", "identity", "random", "gradient")


def as_panel(
    reference: Task | ReferencePack | Iterable[Task | ReferencePack],
    reference_test: Task | Iterable[Task | None] | None,
) -> list[tuple[Task | ReferencePack, Task | None]]:
    """Return each reference beside its test part, whose classes are numbered as its own; None where it has none."""
    references = list(reference) if isinstance(reference, Iterable) else [reference]
    if not references:
        message = "`reference` must be a task or a sequence of tasks; got an empty sequence."
        raise TaskError(message)
    if reference_test is None:
        return [(each, None) for each in references]
    tests = [reference_test] if isinstance(reference_test, Task) else list(reference_test)
    if len(tests) != len(references):
        message = (
            "`reference_test` must hold one task for each reference; "
            f"got {len(tests)} for {len(references)} references."
        )
        raise TaskError(message)
    pairs = zip(references, tests, strict=True)
    return [(each, numbered_as(each, test) if isinstance(each, Task) else test) for each, test in pairs]


def check_matching(matching: Any) -> str | IntArray | FloatArray:
    """Return the name of a matching, the given reference classes as an array of int, or given shares (K_T, K_R)."""
    if isinstance(matching, str):
        return check_choice(matching, _MATCHINGS, "matching")
    array = np.asarray(matching)
    if array.ndim == 2 and array.dtype.kind in "iuf" and array.size:
        shares = array.astype(np.float64)
        if np.isfinite(shares).all() and (shares >= 0).all() and (shares.sum(axis=1) > 0).all():
            return shares
    elif array.ndim == 1 and array.dtype.kind in "iu" and array.size:
        return array.astype(np.int64)
    message = (
        f"`matching` must be one of {', '.join(map(repr, _MATCHINGS))}, one reference class (int) per target class, or "
        f"shares ≥ 0 of shape (target classes, reference classes), of each row some > 0; got {matching!r}."
    )
    raise OptionError(message)


def check_seed(seed: Any) -> int:
    """Return a seed that numpy takes."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        message = f"`seed` must be an integer ≥ 0; got {seed!r}."
        raise OptionError(message)
    return int(seed)


def check_ground_cost(ground_cost: Any, solver: type[Solver]) -> str:
    """Return the ground cost, by default the one that goes with the solver; refuse one that does not."""
    allowed = solver.ground_costs()
    if ground_cost is None:
        return allowed[0]
    check_choice(ground_cost, tuple(GROUND_COSTS), "ground_cost")
    if ground_cost not in allowed:
        by_samples = GROUND_COSTS[ground_cost].samples is not None
        use = "Leave it out, or use another solver." if by_samples else "Use solver='statistics'."
        names = " or ".join(map(repr, allowed))
        message = f"`ground_cost` must be {names} with solver={solver.name!r}; got {ground_cost!r}. {use}"
        raise OptionError(message)
    return str(ground_cost)


def check_space(space: Any, solver: type[Solver]) -> str:
    """Return where the Euclidean cost is measured, by default the solver's first choice."""
    if space is None:
        return solver.spaces[0]
    check_choice(space, ("reference", "target"), "space")
    if space not in solver.spaces:
        message = (
            f"`space` must be {' or '.join(map(repr, solver.spaces))} with solver={solver.name!r}, which is the "
            f"paper's; got {space!r}. Leave it out."
        )
        raise OptionError(message)
    return str(space)
