r"""Task-relatedness from means and covariances alone: `solver="statistics"`.

The steps are those of the solver for samples: choose classes, fit the map, measure the three terms. What transport was
between samples is a price between Gaussians (`costs.gaussian`), and the reference loss is the one that came with
the reference pack. Nothing here bounds the loss on samples: the result is an estimate, and says so.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Literal, cast

import numpy as np

from transferability._threads import threads_for
from transferability.errors import LabelError, TaskError
from transferability.relatedness.build_result import Side, build_result
from transferability.relatedness.certificate import Certificate, losses_of, transformed_losses
from transferability.relatedness.classifier.lipschitz import fit_lipschitz_softmax
from transferability.relatedness.classifier.tau import nearest_tau, solve_for_tau
from transferability.relatedness.measure import Measurement
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.solvers.base import SolverOptions
from transferability.relatedness.solvers.solution import StatisticsSolution
from transferability.relatedness.solvers.statistics import Statistics, StatisticsTarget
from transferability.relatedness.tasks.checks import as_task, check_tasks
from transferability.relatedness.tasks.sample import Sample
from transferability.relatedness.tasks.standardize import Scaler
from transferability.statistics.classes import CovarianceForm, class_statistics
from transferability.statistics.gaussians import ClassGaussians
from transferability.task import Task

__all__ = ["relate_statistics"]

_FULL_AT_MOST = 1 << 26  # entries of all covariances: half a gigabyte


def relate_statistics(
    options: SolverOptions,
    reference: Task | ReferencePack,
    target: Task | ReferencePack,
    reference_test: Task | None = None,
    target_test: Task | None = None,
) -> Relatedness:
    """Fit and measure from statistics; tasks are turned into statistics first.

    Parameters
    ----------
    options : SolverOptions
    reference, target : Task or ReferencePack
        With labels.
    reference_test, target_test : Task, optional
        The losses of the reference's classifier are measured on the one, the terms of the bound on the other.
    """
    started = time.perf_counter()
    for each, test, argument in ((reference, reference_test, "reference_test"), (target, target_test, "target_test")):
        if not isinstance(each, ReferencePack):
            as_task(each)
        elif test is not None:
            message = (
                f"`{argument}` must be left out where a pack takes the place of the task; got a test part beside "
                f"{each!r}. Make the pack of both parts: ReferencePack.from_task(task, test)."
            )
            raise TaskError(message)
    pack = _as_pack(options, reference, reference_test)
    pack.statistics.require_every_class(pack.name)
    side = _target_side(options, target, target_test)
    solver = Statistics(options, pack, side)
    with threads_for(float(pack.n_features) ** 3):
        taus = _taus_of(options.tau, pack)
        candidates = solve_for_tau(taus, float(pack.n_features), solver.solve, lambda each: each.criterion)
        solved = min(candidates, key=lambda each: each.criterion)
        path = [(each.tau, each.criterion) for each in candidates]
        return _result(options, pack, side, solved, path, started)


def _taus_of(tau: float | tuple[float, ...] | str, pack: ReferencePack) -> float | tuple[float, ...] | str:
    """Return the τ to solve for: of a pack's own classifiers, whose losses are known, where there is a choice.

    "auto" is the choice among all of them, "scaled" the one nearest to it; without any, "auto" is a walk.
    """
    if not isinstance(tau, str) or not pack.heads:
        return tau
    known = [head.tau for head in pack.heads]
    if tau == "auto":
        return tuple(known)
    return nearest_tau(tau, known, float(pack.n_features))


def _as_pack(options: SolverOptions, reference: Task | ReferencePack, test: Task | None) -> ReferencePack:
    if isinstance(reference, ReferencePack):
        return reference
    return ReferencePack.from_task(
        reference,
        test,
        tau=cast("float | tuple[float, ...] | Literal['scaled', 'auto']", options.tau),
        covariance=_form(reference),
        standardize=options.standardize,
    )


def _form(task: Task) -> CovarianceForm:
    return "full" if task.n_classes * task.n_features**2 <= _FULL_AT_MOST else "low-rank"


def _target_side(options: SolverOptions, target: Task | ReferencePack, test: Task | None) -> StatisticsTarget:
    if isinstance(target, ReferencePack):
        target.statistics.require_every_class(target.name)
        names = target.class_names or tuple(map(str, range(target.n_classes)))
        gaussians = target.gaussians()
        return StatisticsTarget(target.name, names, gaussians, gaussians, False, target.scaler, None, None)
    for part in (target, test):
        if part is not None and part.labels is None:
            message = (
                f"target {part.name!r} must have labels to be compared by the statistics of its classes; got none. "
                "Label a part of it, or compare it with a reference of which there are samples."
            )
            raise LabelError(message)
    check_tasks(target, target, None, test)
    scaler = Scaler.fit(target.features) if options.standardize else Scaler.identity(target.n_features)
    parts = [
        ClassGaussians.of(
            class_statistics(part.features, part.labels, covariance=_form(target)), scaler.mean, scaler.scale
        )
        for part in (target, test)
        if part is not None
    ]
    samples = [
        Sample(scaler.apply(part.features), part.require_labels()) for part in (target, test) if part is not None
    ]
    names = target.class_names or tuple(map(str, range(target.n_classes)))
    return StatisticsTarget(target.name, names, parts[0], parts[-1], test is not None, scaler, samples[0], samples[-1])


def _terms(solution: StatisticsSolution, target: ClassGaussians) -> Certificate:
    """Return the three terms of each target class."""
    class_map = solution.transform.class_map
    priors = target.counts / target.counts.sum()
    prices = solution.cost.prices(target, np.arange(len(priors)), class_map, solution.place_map)
    return Certificate(
        reference_loss=priors * solution.losses[class_map],
        label_mismatch=solution.transform.entropy_per_class(priors),
        distribution_mismatch=priors * prices,
        priors=priors,
        exact=False,
    )


def _result(
    options: SolverOptions,
    pack: ReferencePack,
    target: StatisticsTarget,
    solution: StatisticsSolution,
    tau_path: list[tuple[float, float]],
    started: float,
) -> Relatedness:
    """Measure, on samples too where the target has them."""
    fit_terms = _terms(solution, target.gaussians)
    terms = _terms(solution, target.seen) if target.on_test else fit_terms
    measured = Measurement(terms, None, None, None)
    classifier = solution.cost.classifier
    if target.seen_sample is not None:
        seen, truth = target.seen_sample
        logits = solution.feature_map.then(classifier.weights, classifier.intercept).apply(seen)
        losses, predictions = transformed_losses(logits, truth, solution.transform, solution.priors)
        measured = Measurement(terms, losses, predictions == truth, None)
    result = build_result(
        options,
        Side(pack.name, pack.class_names or tuple(map(str, range(pack.n_classes))), pack.scaler),
        Side(target.name, target.class_names, target.scaler),
        solution,
        measured,
        reference_features=solution.cost.reference.means,
        evaluated_on="test" if target.on_test else "fit",
        certified=False,
        certificate=solution.cost.certificate,
        fit_bound=fit_terms.bound,
        tau_path=tau_path,
        seconds=0.0,
    )
    return dataclasses.replace(_with_own_classifier(result, target), seconds=time.perf_counter() - started)


def _with_own_classifier(result: Relatedness, target: StatisticsTarget) -> Relatedness:
    """Return the result with h_T, where the target has samples to train it on."""
    if target.fit_sample is None or target.seen_sample is None:
        return result
    seen, truth = target.seen_sample
    tau = max(result.reference_classifier.certified_tau, result.transform.lipschitz, 1e-9)
    own = fit_lipschitz_softmax(*target.fit_sample, tau)
    logits = own.logits(seen)
    return dataclasses.replace(
        result,
        target_classifier=own,
        transferability=float(losses_of(logits, truth).mean()),
        transferability_accuracy=float((logits.argmax(axis=1) == truth).mean()),
    )
