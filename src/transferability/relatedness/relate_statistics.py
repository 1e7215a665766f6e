r"""Task-relatedness from means and covariances alone: `solver="statistics"`.

The steps are those of the solver for samples: choose classes, fit the map, measure the three terms. What transport was
between samples is a price between Gaussians (`gaussian_geometry`), and the reference loss is the one that came with
the reference pack. Nothing here bounds the loss on samples: the result is an estimate, and says so.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Literal, cast

import numpy as np

from transferability._threads import threads_for
from transferability.errors import LabelError, TaskError
from transferability.relatedness.certificate import Certificate, losses_of, transformed_losses
from transferability.relatedness.checks import as_task, check_tasks
from transferability.relatedness.classifier.lipschitz import fit_lipschitz_softmax
from transferability.relatedness.classifier.tau import nearest_tau, solve_for_tau
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.solvers.solution import full_transform
from transferability.relatedness.solvers.statistics import Solved, Solver, StatisticsOptions, Target
from transferability.relatedness.tasks.sample import Sample
from transferability.relatedness.tasks.standardize import Scaler
from transferability.statistics.classes import CovarianceForm, class_statistics
from transferability.statistics.gaussians import ClassGaussians
from transferability.task import Task

__all__ = ["relate_statistics"]

_FULL_AT_MOST = 1 << 26  # entries of all covariances: half a gigabyte


def relate_statistics(
    options: StatisticsOptions,
    reference: Task | ReferencePack,
    target: Task | ReferencePack,
    reference_test: Task | None = None,
    target_test: Task | None = None,
) -> Relatedness:
    """Fit and measure from statistics; tasks are turned into statistics first.

    Parameters
    ----------
    options : StatisticsOptions
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
    solver = Solver(options, pack, side)
    with threads_for(float(pack.n_features) ** 3):
        taus = _taus_of(options.tau, pack)
        candidates = solve_for_tau(taus, float(pack.n_features), solver.solve, lambda each: each.criterion)
        solved = min(candidates, key=lambda each: each.criterion)
        path = tuple((each.tau, each.criterion) for each in candidates)
        result = _result(options, pack, side, solved, path if len(path) > 1 else ())
    return dataclasses.replace(result, seconds=time.perf_counter() - started)


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


def _as_pack(options: StatisticsOptions, reference: Task | ReferencePack, test: Task | None) -> ReferencePack:
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


def _target_side(options: StatisticsOptions, target: Task | ReferencePack, test: Task | None) -> Target:
    if isinstance(target, ReferencePack):
        target.statistics.require_every_class(target.name)
        names = target.class_names or tuple(map(str, range(target.n_classes)))
        gaussians = target.gaussians()
        return Target(target.name, names, gaussians, gaussians, False, target.scaler, None, None)
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
    return Target(target.name, names, parts[0], parts[-1], test is not None, scaler, samples[0], samples[-1])


def _measure(solved: Solved, target: ClassGaussians) -> Certificate:
    """Return the three terms of each target class."""
    transform = solved.transform
    priors = target.counts / target.counts.sum()
    prices = solved.geometry.prices(target, np.arange(len(priors)), transform.class_map, solved.place_map)
    return Certificate(
        reference_loss=priors * solved.losses[transform.class_map],
        label_mismatch=transform.entropy_per_class(priors),
        distribution_mismatch=priors * prices,
        priors=priors,
        exact=False,
    )


def _result(
    options: StatisticsOptions,
    pack: ReferencePack,
    target: Target,
    solved: Solved,
    tau_path: tuple[tuple[float, float], ...],
) -> Relatedness:
    """Measure, on samples too where the target has them."""
    classifier = solved.geometry.classifier
    feature_map = solved.geometry.lift(solved.place_map, target.gaussians.n_features)
    priors = target.gaussians.counts / target.gaussians.counts.sum()
    fit_terms = _measure(solved, target.gaussians)
    terms = _measure(solved, target.seen) if target.on_test else fit_terms
    transform = full_transform(
        classifier, solved.transform, solved.kept, priors, feature_map, pack.n_classes, (pack.scaler, target.scaler)
    )
    losses, correct, own, own_loss, own_accuracy = None, None, None, None, None
    if target.fit_sample is not None and target.seen_sample is not None:
        seen, truth = target.seen_sample
        logits = feature_map.then(classifier.weights, classifier.intercept).apply(seen)
        losses, predictions = transformed_losses(logits, truth, solved.transform, priors)
        correct = predictions == truth
        own = fit_lipschitz_softmax(*target.fit_sample, max(classifier.certified_tau, transform.lipschitz, 1e-9))
        own_logits = own.logits(seen)
        own_loss = float(losses_of(own_logits, truth).mean())
        own_accuracy = float((own_logits.argmax(axis=1) == truth).mean())
    return Relatedness(
        reference=pack.name,
        target=target.name,
        certificate_terms=terms,
        transform=transform,
        tau=solved.tau,
        scale=solved.scale,
        certified_tau=classifier.certified_tau if options.space == "reference" else transform.lipschitz,
        certified=False,
        certificate=_NOT_CERTIFIED[options.ground_cost],
        transferred_loss=None if losses is None else float(losses.mean()),
        transferred_accuracy=None if correct is None else float(correct.mean()),
        transferability=own_loss,
        transferability_accuracy=own_accuracy,
        class_map=np.where(terms.priors > 0, solved.kept[solved.transform.class_map], -1),
        fit_bound=fit_terms.bound,
        evaluated_on="test" if target.on_test else "fit",
        ground_cost=options.ground_cost,
        space=options.space,
        solver="statistics",
        ridge=solved.ridge,
        history=solved.history,
        seconds=0.0,
        reference_classifier=classifier,
        target_classifier=own,
        reference_class_names=pack.class_names or tuple(map(str, range(pack.n_classes))),
        target_class_names=target.class_names,
        transferred_losses=None if losses is None else losses.astype(np.float32),
        transferred_correct=correct,
        tau_path=tau_path,
    )


_ESTIMATE = "Not certified: an estimate from means and covariances, as if each class were Gaussian. "
_NOT_CERTIFIED = {
    "loss": _ESTIMATE + "It bounds nothing on samples; fit samples with solver='alternating' for a bound that holds.",
    "euclidean": _ESTIMATE
    + "The distance is W₂ of the Gaussians: no less than their W₁, no more than W₂ of the samples (Gelbrich), and no "
    "bound on the samples' W₁ either way.",
    "gamma": _ESTIMATE
    + "Γ (Eq. 5 of the paper) is a squared distance, in the place of a distance: compare, not bound.",
}
