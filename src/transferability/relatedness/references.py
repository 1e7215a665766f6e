"""References that nobody brings: the union of those given, and the target's own other half."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from transferability._array import IntArray
from transferability._criteria import OWN_HALF
from transferability._folds import RowFolds
from transferability.errors import LabelError
from transferability.relatedness.measure import pool
from transferability.relatedness.relate_samples import (
    Folds,
    PreparedTarget,
    Related,
    check_fold_count,
    class_name,
    given_folds,
    prepare_target,
    relate_parts,
    result_of,
)
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.solvers.base import SolverOptions
from transferability.relatedness.target_classifier import with_target_classifier
from transferability.relatedness.tasks.problem import Reference
from transferability.relatedness.tasks.sample import dealt_together, hold_out, stratified_folds
from transferability.relatedness.tasks.standardize import Scaler
from transferability.task import Task

__all__ = ["LEAST_ROWS", "OWN_HALF", "UNION", "in_one_space", "is_union", "relate_to_own_half", "union_of"]

UNION = "all references"
_FOLDS = 5  # of each half
LEAST_ROWS = 4  # of a class: two in each half
MATCHED_WITH_ITSELF = "with the own other half each class is matched with itself; `matching` is for other references"


class _Union(Task):
    """All references as one task; its features are standardised already, each reference's by its own scaler."""


def is_union(task: Task) -> bool:
    """Whether a task was made by `union_of`."""
    return isinstance(task, _Union)


def in_one_space(tasks: Sequence[tuple[Task, Task | None]]) -> list[tuple[Task, Task | None]]:
    """Return the references of one dimension, that with the most classes: others share no space to compare in."""
    classes: dict[int, int] = {}
    for task, _ in tasks:
        classes[task.n_features] = classes.get(task.n_features, 0) + task.n_classes
    dimension = max(classes, key=lambda n_features: (classes[n_features], n_features))
    return [pair for pair in tasks if pair[0].n_features == dimension]


def union_of(tasks: Sequence[tuple[Task, Task | None]], *, standardize: bool) -> tuple[Task, Task | None]:
    """Return one task with the classes of all references, named "reference: class", and its test part.

    Each reference is standardised by itself, as it would be alone. The union has a test part where all of them have.
    Only those that `in_one_space` returns are in it.
    """
    tasks = in_one_space(tasks)
    scalers = [Scaler.fit(task.features) if standardize else Scaler.identity(task.n_features) for task, _ in tasks]
    starts = np.cumsum([0, *(task.n_classes for task, _ in tasks)])
    names = [
        f"{task.name}: {name}"
        for task, _ in tasks
        for name in (task.class_names or tuple(map(str, range(task.n_classes))))
    ]

    def together(parts: Sequence[Task]) -> Task:
        features = [scaler.apply(part.features) for scaler, part in zip(scalers, parts, strict=True)]
        labels = [part.require_labels() + start for part, start in zip(parts, starts[:-1], strict=True)]
        return _Union(np.concatenate(features), np.concatenate(labels), UNION, names)

    tests = [test for _, test in tasks if test is not None]
    return together([task for task, _ in tasks]), together(tests) if len(tests) == len(tasks) else None


def relate_to_own_half(
    options: SolverOptions, target: Task, test: Task | None, folds: int | Folds | None, *, standardize: bool
) -> Relatedness:
    """Relate each half of the target's rows to the other half as its reference.

    Parameters
    ----------
    options : SolverOptions
        Each class is matched with itself, whatever its `matching` says.
    target : Task
        With labels, four rows of each class at least.
    test : Task, optional
        With a test part one half is the reference, the other the target, and they are measured there, once.
    folds : int or folds of all rows, optional
        How rows are measured that the transformations have not seen; by default five, where there is no test part.
        While rows of a given fold are measured, no row of that fold is in the reference: they may belong together.

    Raises
    ------
    LabelError
        If the target has no labels, or a class has fewer than four rows.
    """
    started = time.perf_counter()
    labels = target.require_labels()
    few = np.flatnonzero(np.bincount(labels) < LEAST_ROWS)
    if len(few):
        message = (
            f"class {class_name(target, few[0])} of {target.name!r} has fewer than {LEAST_ROWS} rows; without a "
            "reference each half of the target needs two rows of each class. Add rows, or give a reference."
        )
        raise LabelError(message)
    belonging: Folds = ()  # folds whose rows may belong together
    if isinstance(folds, int | np.integer):
        folds = check_fold_count(folds, len(target))
    elif folds is not None:
        dealt = isinstance(folds, RowFolds)
        folds = given_folds(target, folds)
        belonging = () if dealt else folds
    notes = () if options.matches_by("assignment") or options.matches_by("identity") else (MATCHED_WITH_ITSELF,)
    options = options._replace(matching="identity")
    halves = stratified_folds(labels, target.features, 2, options.seed, least=LEAST_ROWS)
    related: list[tuple[IntArray, Related]] = []
    made: list[tuple[Reference, PreparedTarget]] = []
    for other_rows, rows in halves:  # the half that is the reference, and the half that is measured
        reference = _split_reference(target.subset(other_rows), options, standardize=standardize)
        inner = _folds_within(target, rows, folds, options.seed) if test is None else None
        prepared = prepare_target(target.subset(rows), test, inner, standardize=standardize, seed=options.seed)
        parts = [_rows_apart(target, other_rows, rows[tested], belonging) for _, tested in inner or () if belonging]
        apart = [_split_reference(target.subset(part), options, standardize=standardize) for part in parts]
        related.append((rows, relate_parts(options, reference, prepared, apart, on_test=True)))
        made.append((reference, prepared))
        if test is not None:
            break  # the other way round would measure the same rows again
    together = related[0][1]
    if test is None:
        together = together._replace(
            measured=pool([(rows, each.measured) for rows, each in related]),
            measured_by=tuple(solution for _, each in related for solution in each.measured_by),
            fit_bound=float(np.mean([each.fit_bound for _, each in related])),
            fold_shares=np.mean([each.fold_shares for _, each in related if each.fold_shares is not None], axis=0),
        )
    reference, prepared = made[0]
    seconds = time.perf_counter() - started
    evaluated_on = "folds" if test is None else "test"
    result = result_of(options, reference, prepared.whole, together, evaluated_on, seconds)
    result = replace(result, notes=(*result.notes, *notes))
    return with_target_classifier([result], prepared)[0]


def _rows_apart(target: Task, half: IntArray, tested: IntArray, folds: Folds) -> IntArray:
    """Return the rows of a half that are in another fold than those tested: rows of one fold may belong together.

    Of a class of which fewer than two rows would be left all stay.
    """
    labels = target.require_labels()[half]
    rest = half[~np.isin(half, next(test for _, test in folds if np.isin(tested, test).all()))]
    left = np.bincount(target.require_labels()[rest], minlength=target.n_classes)
    return np.union1d(rest, half[left[labels] < 2])


def _split_reference(task: Task, options: SolverOptions, *, standardize: bool) -> Reference:
    """Return a half as a reference; what its classifier is measured on, it has not seen."""
    first, group = np.unique(dealt_together(task.features, task.require_labels(), 2), return_inverse=True)
    _, held_out = hold_out(task.require_labels()[first], np.random.default_rng(options.seed))  # copies on one side
    held = np.isin(group, held_out)
    named = Task(task.features, task.labels, OWN_HALF, task.class_names)
    return Reference.prepare(
        named.subset(np.flatnonzero(~held)),
        named.subset(np.flatnonzero(held)),
        standardize=standardize,
        calibrate=options.scale,
        seed=options.seed,
        level=not options.standardize,
    )


def _folds_within(target: Task, rows: IntArray, folds: int | Folds | None, seed: int) -> Folds:
    """Return folds of the rows of a half, numbered within it; those of the whole, where they were given."""
    if folds is None or isinstance(folds, int):
        labels = target.require_labels()[rows]
        n_folds = max(2, min(folds or _FOLDS, int(np.bincount(labels).min())))
        return stratified_folds(labels, target.features[rows], n_folds, seed)
    place = np.full(len(target), -1)
    place[rows] = np.arange(len(rows))
    within = [(place[np.intersect1d(fit, rows)], place[np.intersect1d(test, rows)]) for fit, test in folds]
    return [(fit, test) for fit, test in within if len(test)]
