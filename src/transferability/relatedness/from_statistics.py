r"""Task-relatedness from means and covariances alone: `solver="statistics"`.

The steps are those of the solver for samples: choose classes, fit the map, measure the three terms. What transport was
between samples is a price between Gaussians (`gaussian_geometry`), and the reference loss is the one that came with
the reference pack. Nothing here bounds the loss on samples: the result is an estimate, and says so.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Literal, NamedTuple, cast

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._threads import threads_for
from transferability.errors import LabelError, OptionError, TaskError
from transferability.relatedness.certificate import Certificate, losses_of, transformed_losses
from transferability.relatedness.checks import as_task, check_tasks
from transferability.relatedness.class_matching import given_classes, identity_classes
from transferability.relatedness.feature_map import AffineMap
from transferability.relatedness.gaussian_geometry import GaussianGeometry, GaussianPairCosts, expected_losses
from transferability.relatedness.gaussian_map import fit_moments, margin_step, squares_step
from transferability.relatedness.label_transform import LabelTransform
from transferability.relatedness.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax
from transferability.relatedness.matching import assign_classes, random_matching
from transferability.relatedness.pack import ReferencePack
from transferability.relatedness.result import Relatedness
from transferability.relatedness.sample import Sample
from transferability.relatedness.scale import doubt, minimize_over_scales
from transferability.relatedness.solution import full_transform
from transferability.relatedness.standardize import Scaler
from transferability.relatedness.tau import nearest_tau, solve_for_tau
from transferability.statistics.classes import CovarianceForm, class_statistics
from transferability.statistics.gaussians import ClassGaussians
from transferability.task import Task

__all__ = ["StatisticsOptions", "relate_statistics"]

_FULL_AT_MOST = 1 << 26  # entries of all covariances: half a gigabyte
_DRAWS = 10_000  # that a classifier is fitted to
_LEAST_DRAWS = 20  # per class
_PAIRS = 2_000  # that a map is fitted to
_RIDGES = (1.0, 1e-1, 1e-2, 1e-3)
_FIRST_ROUNDS, _NEXT_ROUNDS = 2, 1
_RIDGE = 0.03  # of the other two costs
_SQUARES_ROUNDS = 4


class StatisticsOptions(NamedTuple):
    """The options of `TaskRelatedness` that this solver looks at."""

    tau: float | tuple[float, ...] | str
    ground_cost: str
    space: str
    matching: str | IntArray | FloatArray
    learn_map: bool
    standardize: bool
    scale: bool
    covariance_weight: float
    seed: int


class _Target(NamedTuple):
    name: str
    class_names: tuple[str, ...]
    gaussians: ClassGaussians  # fitting part, standardised
    seen: ClassGaussians  # what the bound is measured on
    on_test: bool
    scaler: Scaler
    fit_sample: Sample | None  # standardised; None where there is a pack in place of samples
    seen_sample: Sample | None


class _Solved(NamedTuple):
    """Classes and map for one τ; everything knows the reference classes in use only, which `kept` names."""

    kept: IntArray
    transform: LabelTransform
    geometry: GaussianGeometry  # with the classifier, at its scale
    place_map: AffineMap
    losses: FloatArray  # of the reference classes
    tau: float
    scale: float
    ridge: float
    history: tuple[float, ...]
    criterion: float


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
    solver = _Solver(options, pack, side)
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


def _target_side(options: StatisticsOptions, target: Task | ReferencePack, test: Task | None) -> _Target:
    if isinstance(target, ReferencePack):
        target.statistics.require_every_class(target.name)
        names = target.class_names or tuple(map(str, range(target.n_classes)))
        gaussians = target.gaussians()
        return _Target(target.name, names, gaussians, gaussians, False, target.scaler, None, None)
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
    return _Target(target.name, names, parts[0], parts[-1], test is not None, scaler, samples[0], samples[-1])


class _Solver:
    """Classes and map for one τ after the other."""

    def __init__(self, options: StatisticsOptions, pack: ReferencePack, target: _Target) -> None:
        self.options, self.pack, self.target = options, pack, target
        self.reference = pack.gaussians()
        self.heads = {head.tau: head for head in pack.heads}
        self.priors = target.gaussians.counts / target.gaussians.counts.sum()
        self._drawn: tuple[FloatArray, FloatArray, IntArray] | None = None  # means, draws, labels: for the next τ

    def solve(self, tau: float) -> _Solved:
        """Choose classes, find the classifier that tells these apart, fit the map."""
        rng = np.random.default_rng(self.options.seed)
        classifier, losses = self._head_of_all(tau)
        class_map = self._choose(self._geometry(classifier, self.reference, tau), losses, rng)
        transform = LabelTransform.from_class_map(class_map, self.reference.n_classes)
        kept = transform.classes_in_use
        reference = self.reference
        if len(kept) < reference.n_classes or (self.pack.heads and tau not in self.heads):
            # Fewer classes, or another τ: another classifier, and no samples are left to learn it from.
            reference = reference.take(kept)
            transform = LabelTransform(transform.shares[:, kept])
            classifier = self._fit_to_draws(reference, tau)
            losses = expected_losses(classifier, reference, self.options.seed)
        geometry = self._geometry(classifier, reference, tau)
        place_map, ridge, history = self._fit(geometry, transform.class_map, rng)
        prices = geometry.prices(self.target.gaussians, np.arange(len(self.priors)), transform.class_map, place_map)
        mismatch = float(self.priors @ prices)
        scale = 1.0
        if self.options.scale:
            scale, losses = self._scaled(classifier, reference, losses, transform, mismatch)
            geometry = self._geometry(classifier.scaled(scale), reference, tau * scale)
            if geometry.ground_cost == "loss":
                place_map = AffineMap(scale * place_map.matrix, scale * place_map.offset)
        entropy = float(transform.entropy_per_class(self.priors).sum())
        criterion = float(self.priors @ losses[transform.class_map]) + entropy + scale * mismatch
        return _Solved(kept, transform, geometry, place_map, losses, tau, scale, ridge, history, criterion)

    def _scaled(
        self,
        classifier: SoftmaxClassifier,
        reference: ClassGaussians,
        losses: FloatArray,
        transform: LabelTransform,
        mismatch: float,
    ) -> tuple[float, FloatArray]:
        """Return the scale with the smallest estimate, and the losses there.

        A pack knows its losses at scale 1; what the scale adds to them, or takes, is taken from draws of the class
        Gaussians. Labels are believed but for one in n + 2, as in `scale.best_scale`.
        """
        drawn = expected_losses(classifier, reference, self.options.seed)
        classes = np.arange(reference.n_classes)
        share = (reference.n_classes + 2) / (float(reference.counts.sum()) + 2)
        linear = mismatch + share * doubt(classifier.logits(reference.means), classes)

        def losses_at(scale: float) -> FloatArray:
            there = expected_losses(classifier.scaled(scale), reference, self.options.seed)
            return np.maximum(losses + there - drawn, 0.0)

        scale = minimize_over_scales(
            lambda each: float(self.priors @ losses_at(each)[transform.class_map]) + each * linear
        )
        return scale, losses_at(scale)

    def _head_of_all(self, tau: float) -> tuple[SoftmaxClassifier, FloatArray]:
        """Return a classifier of all classes and its losses, good enough to choose classes by."""
        if not self.heads:
            classifier = self._fit_to_draws(self.reference, tau)
            return classifier, expected_losses(classifier, self.reference, self.options.seed)
        nearest = min(self.heads.values(), key=lambda head: abs(np.log(head.tau / tau)))
        known, factor = nearest.classifier, tau / nearest.tau
        return known.scaled(factor), nearest.losses

    def _fit_to_draws(self, reference: ClassGaussians, tau: float) -> SoftmaxClassifier:
        """Fit the classifier to draws from the class Gaussians, each class with the weight it has in the reference."""
        if self._drawn is None or not np.array_equal(self._drawn[0], reference.means):
            per_class = max(_LEAST_DRAWS, _DRAWS // reference.n_classes)
            rng = np.random.default_rng(self.options.seed)
            self._drawn = reference.means, *reference.draws(per_class, rng)
        _, features, labels = self._drawn
        weight = reference.counts[labels].astype(np.float64)
        return fit_lipschitz_softmax(features, labels, tau, sample_weight=weight)

    def _geometry(self, classifier: SoftmaxClassifier, reference: ClassGaussians, tau: float) -> GaussianGeometry:
        known = classifier.certified_tau if self.options.space == "reference" else tau
        options = self.options
        return GaussianGeometry(
            classifier, reference, options.ground_cost, options.space, known, options.covariance_weight, options.seed
        )

    def _choose(self, geometry: GaussianGeometry, losses: FloatArray, rng: np.random.Generator) -> IntArray:
        matching = self.options.matching
        n_targets, n_references = len(self.priors), self.reference.n_classes
        if not isinstance(matching, str):
            return given_classes(matching, n_targets, n_references)
        if matching == "identity":
            return identity_classes(n_targets, n_references)
        if matching == "random":
            return random_matching(n_targets, n_references, rng)
        if matching == "gradient":
            message = (
                "`matching` must not be 'gradient' with solver='statistics': a mixture of classes is no Gaussian. "
                "Use 'assignment', 'identity', 'random' or classes of your own."
            )
            raise OptionError(message)
        return assign_classes(GaussianPairCosts(geometry, self.target.gaussians, losses), self.priors)

    def _fit(
        self, geometry: GaussianGeometry, class_map: IntArray, rng: np.random.Generator
    ) -> tuple[AffineMap, float, tuple[float, ...]]:
        """Return the place map, its ridge and the price along the way."""
        target, targets = self.target.gaussians, np.arange(len(self.priors))
        start = geometry.start(target.n_features)

        def price(place_map: AffineMap) -> float:
            return float(self.priors @ geometry.prices(target, targets, class_map, place_map))

        if not self.options.learn_map:
            return start, float("inf"), ()
        pairs = geometry.pairs(target, self.priors, targets, class_map)
        best, best_ridge, history = start, float("inf"), [price(start)]  # leaving the features as they are competes
        place_map = start
        if geometry.ground_cost != "loss":
            if geometry.ground_cost == "gamma":
                place_map = fit_moments(pairs, start, _RIDGE, geometry.covariance_weight)
            else:
                for _ in range(_SQUARES_ROUNDS):
                    place_map = squares_step(pairs, place_map, start, _RIDGE)
            history.append(price(place_map))
            return (
                (start, best_ridge, tuple(history)) if history[1] > history[0] else (place_map, _RIDGE, tuple(history))
            )
        n_draws = np.clip(target.counts, _LEAST_DRAWS, max(_LEAST_DRAWS, _PAIRS // len(targets)))
        for ridge in _RIDGES:  # from strong to weak, each starting where the last one ended
            for _ in range(_FIRST_ROUNDS if place_map is start else _NEXT_ROUNDS):
                place_map = margin_step(pairs, class_map, place_map, start, ridge, n_draws, rng)
            least = min(history)
            history.append(price(place_map))
            if history[-1] < least:
                best, best_ridge = place_map, ridge
            elif history[-1] > 1.05 * least:
                break
        return best, best_ridge, tuple(history)


def _measure(solved: _Solved, target: ClassGaussians) -> Certificate:
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
    target: _Target,
    solved: _Solved,
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
