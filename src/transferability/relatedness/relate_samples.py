"""One reference, one target: solve on fitting rows, measure on rows that nothing was fitted on, build the result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.errors import LabelError, OptionError
from transferability.relatedness.build_result import Side, build_result
from transferability.relatedness.certification import certification
from transferability.relatedness.measure import Measurement, measure, pool
from transferability.relatedness.packs.reference import PackReference, PackTask
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.results.summary import REFERENCE_ON_FIT
from transferability.relatedness.solvers.base import SolverOptions
from transferability.relatedness.solvers.solution import SampleSolution
from transferability.relatedness.solvers.solve import best_solution
from transferability.relatedness.tasks.problem import Reference, Target, keep_classes
from transferability.relatedness.tasks.sample import stratified_folds
from transferability.task import Task

__all__ = [
    "Folds",
    "PreparedTarget",
    "Related",
    "check_fold_count",
    "class_name",
    "given_folds",
    "prepare_target",
    "relate_parts",
    "relate_samples",
    "result_of",
]

Folds = Sequence[tuple[IntArray, IntArray]]
"""Fitting rows and test rows of each fold."""


class _Part(NamedTuple):
    """A target to fit on, and where to measure."""

    fit: Target
    features: FloatArray  # standardised, of the rows to measure on
    truth: IntArray | None
    rows: IntArray  # their places among all that are measured


@dataclass(frozen=True, eq=False)
class PreparedTarget:
    """A target, standardised and split, the same way whatever reference comes."""

    whole: Target
    parts: tuple[_Part, ...]
    evaluated_on: str  # "fit", "test" or "folds"


class Related(NamedTuple):
    """A solution and what was measured."""

    solution: SampleSolution  # fitted to all fitting rows
    tau_path: list[tuple[float, float]]
    measured: Measurement
    measured_by: tuple[SampleSolution, ...]  # the solutions of the parts
    fit_bound: float
    fold_shares: FloatArray | None  # (K_T,), of the folds, that chose the reference class of the solution


def prepare_target(
    target: Task, test: Task | None, folds: int | Folds | None, *, standardize: bool, seed: int
) -> PreparedTarget:
    """Standardise and split a target.

    Raises
    ------
    OptionError
        If folds are no split of the rows.
    LabelError
        If a class has a single row, and folds are asked for.
    """
    whole = Target.prepare(target, standardize=standardize)
    if folds is None:
        features = whole.features if test is None else whole.scaler.apply(test.features)
        truth = target.labels if test is None else test.labels
        rows = np.arange(len(features))
        return PreparedTarget(whole, (_Part(whole, features, truth, rows),), "fit" if test is None else "test")
    parts = []
    for fit_rows, test_rows in _checked_folds(target, folds, seed):
        fit = Target.prepare(target.subset(fit_rows), standardize=standardize)
        truth = None if target.labels is None else target.labels[test_rows]
        parts.append(_Part(fit, fit.scaler.apply(target.features[test_rows]), truth, test_rows))
    return PreparedTarget(whole, tuple(parts), "folds")


def _checked_folds(target: Task, folds: int | Folds, seed: int) -> Folds:
    n = len(target)
    if target.labels is not None:
        alone = np.flatnonzero(np.bincount(target.labels) == 1)
        if len(alone):
            message = (
                f"class {class_name(target, alone[0])} of {target.name!r} has a single row, and with folds each class "
                "needs two: one to fit on and one to measure on. Add rows, or leave the class out."
            )
            raise LabelError(message)
    if isinstance(folds, int | np.integer):
        return stratified_folds(target.labels, target.features, check_fold_count(folds, n), seed)
    return given_folds(target, folds)


def check_fold_count(folds: int | np.integer[Any], n: int) -> int:
    """Return a number of folds that so many rows can have."""
    if not 2 <= folds <= n:
        message = f"`folds` must lie between 2 and the {n} rows of the target; got {folds}."
        raise OptionError(message)
    return int(folds)


def given_folds(target: Task, folds: Folds) -> Folds:
    """Return the user's own folds, checked."""
    n = len(target)
    if np.ndim(folds) == 0 if isinstance(folds, np.ndarray) else np.isscalar(folds):
        message = f"`folds` must be a whole number, or (fitting rows, test rows) for each fold; got {folds!r}."
        raise OptionError(message)
    try:
        pairs = [(np.asarray(fit), np.asarray(test)) for fit, test in folds]
        rows = [each for pair in pairs for each in pair]
        fits = all(each.ndim == 1 and each.size and each.dtype.kind in "iu" for each in rows)
        fits = fits and all(each.min() >= 0 and each.max() < n for each in rows)
        fits = fits and np.array_equal(np.sort(np.concatenate([test for _, test in pairs])), np.arange(n))
        fits = fits and not any(len(np.intersect1d(*pair)) for pair in pairs)
    except (TypeError, ValueError):  # no pairs, or none at all
        fits = False
    if not fits:
        message = (
            f"`folds` must measure each of the {n} rows of the target once, on other rows than it is fitted on; got "
            "folds that do not. Give (fitting rows, test rows) for each fold."
        )
        raise OptionError(message)
    if target.labels is not None:
        for k, (fit, _) in enumerate(pairs):
            absent = np.setdiff1d(np.arange(target.n_classes), target.labels[fit])
            if len(absent):
                message = (
                    f"`folds` must leave rows of every class to fit on; fold {k} has none of class "
                    f"{class_name(target, absent[0])} of {target.name!r}. Spread the classes over the folds: "
                    f"folds={len(pairs)} does."
                )
                raise OptionError(message)
    return pairs


def relate_samples(
    options: SolverOptions, reference: Task, reference_test: Task | None, target: PreparedTarget, *, standardize: bool
) -> Relatedness:
    """Relate a prepared target to one reference."""
    started = time.perf_counter()
    if isinstance(reference, PackTask):
        return _relate_to_pack(options, reference, target, started)
    prepared = Reference.prepare(
        reference,
        reference_test,
        standardize=standardize,
        calibrate=options.scale,
        seed=options.seed,
        level=not options.standardize,
    )
    folds: tuple[Reference, ...] = ()
    if reference_test is None and target.evaluated_on == "folds":
        folds = prepared.in_folds(len(target.parts), standardize=standardize)
    related = relate_parts(options, prepared, target, folds, on_test=reference_test is not None)
    # A test part of the reference alone holds out no row of the target: its loss and accuracy are of the fitting part.
    result = result_of(options, prepared, target.whole, related, target.evaluated_on, time.perf_counter() - started)
    seen = reference_test is None and target.evaluated_on != "fit" and not folds
    return replace(result, notes=(*result.notes, REFERENCE_ON_FIT)) if seen else result


def _relate_to_pack(options: SolverOptions, pack: PackTask, target: PreparedTarget, started: float) -> Relatedness:
    """Relate a prepared target to the rows that a pack keeps of a reference."""
    prepared = PackReference.of(pack, options.seed)
    options = options._replace(tau=prepared.taus(options.tau))
    related = relate_parts(options, prepared, target, on_test=False)
    result = result_of(options, prepared, target.whole, related, target.evaluated_on, time.perf_counter() - started)
    rows = f"The reference is the {len(pack):,} rows whose logits the pack keeps."
    return replace(result, certificate=f"{result.certificate} {rows}") if result.certified else result


def relate_parts(
    options: SolverOptions,
    reference: Reference,
    target: PreparedTarget,
    reference_folds: Sequence[Reference] = (),
    *,
    on_test: bool,
) -> Related:
    """Solve on the whole target, and measure each part by a solution that has not seen it.

    `reference_folds` are the references that the folds of the target are related to; by default all to the whole one.
    """
    whole, seed = target.whole, options.seed
    solution, path = best_solution(options, reference, whole)
    references, folds = [reference], [solution]
    if target.evaluated_on == "folds":
        references = list(reference_folds) or [reference] * len(target.parts)
        folds = [best_solution(options, each, part.fit)[0] for each, part in zip(references, target.parts, strict=True)]
    measured = []
    for part, each, reference_part in zip(target.parts, folds, references, strict=True):
        on_fit = target.evaluated_on == "fit"
        guesses = each.labels if on_fit and part.truth is None else None
        left = reference_part.at(each.tau).measured
        measured.append((part.rows, measure(each, left, part.features, part.truth, guesses, seed=seed)))
    together = pool(measured) if len(measured) > 1 else measured[0][1]
    fit_bound = together.certificate.bound
    if target.evaluated_on != "fit" or on_test:
        # Beside rows that nothing was fitted on, the fitting part's bound is information only.
        left = reference.at(solution.tau).fit
        quick = measure(solution, left, whole.features, whole.labels, solution.labels, seed=seed, quick=True)
        fit_bound = quick.certificate.bound
    shares = None
    if len(folds) > 1:
        shares = np.mean([each.class_map == solution.class_map for each in folds], axis=0)
    return Related(solution, path, together, tuple(folds), fit_bound, shares)


def result_of(
    options: SolverOptions, reference: Reference, target: Target, related: Related, evaluated_on: str, seconds: float
) -> Relatedness:
    """Return the result that users see."""
    measured = related.measured
    # A transformation that was fitted to guesses is as good as any: the bound speaks of the labels it is measured on.
    certified, reason = certification(related.measured_by, labelled=measured.losses is not None)
    task, n_classes = target.task, len(related.solution.transform.shares)
    return build_result(
        options,
        Side.of(reference.task, reference.task.n_classes, reference.scaler),
        Side.of(task, n_classes, target.scaler),
        related.solution,
        measured,
        reference_features=keep_classes(reference.at(related.solution.tau).fit, related.solution.kept).features,
        evaluated_on=evaluated_on,
        certified=certified,
        certificate=reason,
        fit_bound=related.fit_bound,
        tau_path=related.tau_path,
        seconds=seconds,
        pseudo_labels=related.solution.labels if target.labels is None else None,
        fold_shares=related.fold_shares,
    )


def class_name(task: Task, k: int) -> str:
    """Return what an error message calls a class."""
    return str(k) if task.class_names is None else repr(task.class_names[k])
