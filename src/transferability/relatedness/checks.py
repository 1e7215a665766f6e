"""Checks of what a user hands to `TaskRelatedness`: options and tasks that fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._validate import check_choice, check_positive
from transferability.errors import FeatureError, LabelError, OptionError, TaskError
from transferability.relatedness.costs import GROUND_COSTS
from transferability.task import Task

if TYPE_CHECKING:
    from transferability.relatedness.packs.pack import ReferencePack

__all__ = [
    "as_panel",
    "as_task",
    "check_count",
    "check_ground_cost",
    "check_magnitudes",
    "check_matching",
    "check_seed",
    "check_space",
    "check_tasks",
    "check_tau",
]

_MATCHINGS = ("assignment", "identity", "random", "gradient")
_STEEPEST = 1e9  # τ, beyond which and below whose inverse its squares lose all digits beside others
_MAGNITUDE = 1e18  # beyond, and below its inverse, squares leave the range of float32


def as_panel(
    reference: Task | ReferencePack | Iterable[Task | ReferencePack],
    reference_test: Task | Iterable[Task | None] | None,
) -> list[tuple[Task | ReferencePack, Task | None]]:
    """Return each reference beside its test part, None where it has none."""
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
    return list(zip(references, tests, strict=True))


def as_task(value: Any) -> Task:
    """Return `value` if it is a task, else raise `TaskError`."""
    if not isinstance(value, Task):
        message = f"tasks must be of type Task; got {type(value).__name__}. Pass Task(features, labels)."
        raise TaskError(message)
    return value


def check_tasks(reference: Task, target: Task, reference_test: Task | None, target_test: Task | None) -> None:
    """Raise unless the test parts fit their tasks: dimensions, labels, and the same classes on both sides."""
    for each in (reference, target, reference_test, target_test):
        if each is not None:
            as_task(each)
    reference.require_labels()
    for part, test, labels_needed in ((reference, reference_test, True), (target, target_test, False)):
        if test is None:
            continue
        if test.n_features != part.n_features:
            message = (
                f"the test part of {part.name!r} must have {part.n_features} features, as its fitting part; "
                f"got {test.n_features}."
            )
            raise TaskError(message)
        if labels_needed:
            test.require_labels()
        if test.labels is None:
            continue
        if not part.n_classes and test.n_classes > reference.n_classes:
            message = (
                f"{part.name!r} without labels is taken to have the {reference.n_classes} classes of the reference, "
                f"but its test part has {test.n_classes}. Name them: Task(features, class_names=[...])."
            )
            raise TaskError(message)
        if not part.n_classes:
            continue
        if test.n_classes < part.n_classes:
            message = (
                f"class {test.n_classes} of {part.name!r} is absent from its test part. "
                "Split so that every class is on both sides."
            )
            raise LabelError(message)
        if test.n_classes > part.n_classes:
            message = (
                f"class {part.n_classes} of {part.name!r} is in its test part but not in its fitting part. "
                "Split so that every class is on both sides."
            )
            raise LabelError(message)


def check_magnitudes(*tasks: Task | None) -> None:
    """Raise for features so large or so small that their squares leave the range of float32."""
    for task in tasks:
        largest = 0.0 if task is None else float(np.abs(task.features).max())
        if task is not None and largest and not 1 / _MAGNITUDE <= largest <= _MAGNITUDE:
            message = (
                f"features of task {task.name!r} must lie within {_MAGNITUDE:.0e} and {1 / _MAGNITUDE:.0e} where they "
                f"are not standardised; the largest is {largest:.3g}. Use standardize=True, or rescale them."
            )
            raise FeatureError(message)


def check_tau(tau: Any) -> float | tuple[float, ...] | str:
    """Return τ as a positive float, a tuple of them, "scaled" or "auto"."""
    if isinstance(tau, str):
        return check_choice(tau, ("scaled", "auto"), "tau")
    if isinstance(tau, Sequence | np.ndarray):
        if len(tau) == 0:
            message = "`tau` must be a positive number, a sequence of them, 'scaled' or 'auto'; got an empty sequence."
            raise OptionError(message)
        return tuple(_check_one_tau(each) for each in tau)
    return _check_one_tau(tau)


def _check_one_tau(tau: Any) -> float:
    number = check_positive(tau, "tau")
    if not 1 / _STEEPEST <= number <= _STEEPEST:
        message = f"`tau` must lie between {1 / _STEEPEST:.0e} and {_STEEPEST:.0e}; got {number:.3g}. Try 'auto'."
        raise OptionError(message)
    return number


def check_seed(seed: Any) -> int:
    """Return a seed that numpy takes."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        message = f"`seed` must be an integer ≥ 0; got {seed!r}."
        raise OptionError(message)
    return int(seed)


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


def check_ground_cost(ground_cost: Any, solver: str) -> str:
    """Return the ground cost, by default the one that goes with the solver; refuse one that does not."""
    allowed = {
        "alternating": tuple(GROUND_COSTS),
        "sgd": ("euclidean",),
        "statistics": ("loss", "euclidean", "gamma"),
    }[solver]
    if ground_cost is None:
        return allowed[0]
    check_choice(ground_cost, (*GROUND_COSTS, "gamma"), "ground_cost")
    if ground_cost not in allowed:
        use = "Use solver='statistics'." if ground_cost == "gamma" else "Leave it out, or use another solver."
        names = " or ".join(map(repr, allowed))
        message = f"`ground_cost` must be {names} with solver={solver!r}; got {ground_cost!r}. {use}"
        raise OptionError(message)
    return str(ground_cost)


def check_space(space: Any, solver: str) -> str:
    """Return where the Euclidean cost is measured, by default the reference's space; the paper's solver has its own."""
    if space is None:
        return "target" if solver == "sgd" else "reference"
    check_choice(space, ("reference", "target"), "space")
    if solver == "sgd" and space != "target":
        message = "`space` must be 'target' with solver='sgd', which is the paper's; got 'reference'. Leave it out."
        raise OptionError(message)
    return str(space)


def check_count(value: Any, name: str) -> int:
    """Return a whole number ≥ 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        message = f"`{name}` must be an integer ≥ 1; got {value!r}."
        raise OptionError(message)
    return int(value)
