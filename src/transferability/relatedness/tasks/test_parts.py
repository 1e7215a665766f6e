"""Test parts: their classes by the numbers of the fitting part, and which of their rows are copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transferability._array import IntArray
from transferability.errors import LabelError, TaskError, nearest_names
from transferability.relatedness.tasks.checks import as_task
from transferability.relatedness.tasks.sample import equal_rows
from transferability.task import Task

__all__ = ["first_copies", "numbered_as", "target_test_of"]


def numbered_as(part: Task, test: Task | None) -> Task | None:
    """Return a test part whose class numbers are those of its fitting part; by name, where its classes have names.

    Two parts that are made apart number their classes apart: labels 3 and 5 alone become classes 0 and 1.

    Raises
    ------
    TaskError
        If the test part is no task.
    LabelError
        If it has a class that the fitting part has not, or lacks one.
    """
    if test is None or as_task(test).labels is None or not part.n_classes:
        return test
    names = _names_of(part)
    if test.class_names is None and (part.class_names is None or not all(_is_integer(name) for name in names)):
        return test  # integers are class numbers, whether the fitting part names its classes or not
    return _numbered(test, names, part.name, part.class_names is not None)


def target_test_of(target: object, test: Task | None, references: Sequence[object]) -> Task | None:
    """Return the target's test part, numbered as the target; without labels and names that has the reference's classes.

    Raises
    ------
    LabelError
        As `numbered_as`.
    TaskError
        If the classes of the references, which are guessed, differ by name, so that those of the test part are unclear.
    """
    if not isinstance(target, Task):
        return test
    if test is None or as_task(test).labels is None or test.class_names is None or target.n_classes:
        return numbered_as(target, test)
    tasks = [each for each in references if isinstance(each, Task)]
    names = {_names_of(each) for each in tasks}
    if len(names) > 1:
        message = f"the classes of target {target.name!r}, which has no labels, must be known to measure it on a test "
        message += "part, and those of the references differ. Name them: Task(features, class_names=[...])."
        raise TaskError(message)
    named = any(each.class_names is not None for each in tasks)
    return _numbered(test, names.pop(), tasks[0].name, named, partly=True) if names else test


def first_copies(measured: Task) -> IntArray | None:
    """Return for each row the first that it is a copy of, itself where it is none, (n,); None where no row repeats."""
    if measured.labels is None:
        return None
    first = equal_rows(measured.features, measured.labels)
    return None if (first == np.arange(len(first))).all() else first


def _names_of(task: Task) -> tuple[str, ...]:
    return task.class_names or tuple(map(str, range(task.n_classes)))


def _is_integer(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _numbered(test: Task, names: tuple[str, ...], whose: str, named: bool, *, partly: bool = False) -> Task:
    own = _names_of(test)
    if own == names:
        return test
    known = set(own) & set(names)
    if not named and not known and len(own) == len(names):
        return test  # numbers on the one side, names on the other: the order is all there is
    unknown = [name for name in own if name not in names]
    if unknown:
        message = f"class {unknown[0]!r} of test part {test.name!r} is no class of {whose!r}. "
        message += "Split so that every class is on both sides. " + nearest_names(unknown[0], names)
        raise LabelError(message.rstrip())
    missing = [name for name in names if name not in known]
    if missing and not partly:
        message = f"class {missing[0]!r} of {whose!r} is absent from its test part. "
        message += "Split so that every class is on both sides."
        raise LabelError(message)
    place = np.array([names.index(name) for name in own], dtype=np.int64)
    return test.numbered(place[test.require_labels()], names)
