"""Checks of tasks, and of options that packs have as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferability._validate import check_choice, check_positive
from transferability.errors import FeatureError, LabelError, OptionError, TaskError
from transferability.task import Task

__all__ = ["as_task", "check_count", "check_magnitudes", "check_tasks", "check_tau"]

_STEEPEST = 1e9  # τ, beyond which and below whose inverse its squares lose all digits beside others
_MAGNITUDE = 1e18  # beyond, and below its inverse, squares leave the range of float32


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


def check_count(value: Any, name: str) -> int:
    """Return a whole number ≥ 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        message = f"`{name}` must be an integer ≥ 1; got {value!r}."
        raise OptionError(message)
    return int(value)
