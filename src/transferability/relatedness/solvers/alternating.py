"""From both fitting parts to the transformation, for one τ: classes, then classifier, then map, then scale."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.errors import FeatureError
from transferability.relatedness.certificate import Certificate
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.classifier.scale import best_scale
from transferability.relatedness.classifier.tau import solve_for_tau
from transferability.relatedness.costs import GROUND_COSTS, GroundCost
from transferability.relatedness.costs.base import FittedMap, HeldOut
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import MatchCertainty
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.solvers.class_matching import match_by_samples, match_unlabelled
from transferability.relatedness.solvers.pseudo_labels import GUESS_RIDGE, guess_labels
from transferability.relatedness.solvers.solution import Solution
from transferability.relatedness.tasks.problem import Head, Reference, Target, keep_classes
from transferability.relatedness.tasks.sample import Sample
from transferability.transport.coupling import MAX_POINTS

__all__ = ["SolverOptions", "best_solution", "certify_solution"]


class SolverOptions(NamedTuple):
    """The options of `TaskRelatedness` that decide the transformation."""

    tau: float | tuple[float, ...] | str
    ground_cost: str
    space: str
    matching: str | IntArray | FloatArray
    learn_map: bool
    solver: str
    scale: bool
    epochs: int
    batch_size: int
    seed: int


def best_solution(
    options: SolverOptions, reference: Reference, target: Target
) -> tuple[Solution, list[tuple[float, float]]]:
    """Return the solution for the τ with the smallest held-out bound, and every τ that was tried with its bound."""
    candidates = solve_for_tau(
        options.tau,
        reference.spread,
        lambda tau: _solve(options, reference, target, tau),
        lambda solution: solution.criterion,
    )
    best = min(candidates, key=lambda solution: solution.criterion)
    return best, [(solution.tau, solution.criterion) for solution in candidates]


def _solve(options: SolverOptions, reference: Reference, target: Target, tau: float) -> Solution:
    rng = np.random.default_rng(options.seed)
    reference = reference.at(tau)
    n_references = reference.task.n_classes
    head = reference.head(tau, np.arange(n_references), rough=True)
    certainty: MatchCertainty | None = None
    labels = target.labels
    if labels is None:
        class_map = match_unlabelled(options.matching, head.classifier, reference, target, rng)
        transform = LabelTransform.from_class_map(class_map, n_references)
    else:
        cost = _cost(options, head.classifier, tau)
        if options.scale:  # classes are compared by a classifier that is as sure as it may be
            cost = cost.scaled(best_scale(*head.held_out))
        transform, certainty = match_by_samples(options.matching, cost, reference, target, rng)
    # Telling apart classes that nothing is made of would cost reference loss for nothing: the paper, too, draws as
    # many reference classes as the target has. From here on there are no others.
    learns_labels = options.solver == "sgd" and _is(options.matching, "gradient")
    kept = np.arange(n_references) if learns_labels else transform.classes_in_use
    if len(kept) < n_references:
        transform = LabelTransform(transform.shares[:, kept])
    head = reference.head(tau, kept)
    fit_reference = keep_classes(reference.fit, kept)
    guessed_map = None
    if labels is None:
        labels, guessed_map = guess_labels(head.classifier, fit_reference, target.features, transform.class_map, rng)
    sample = target.sample if target.labels is not None else Sample(target.features, labels)
    cost = _cost(options, head.classifier, tau)
    if options.solver == "sgd":
        guessed = target.labels is None
        solution = _descend(options, head, fit_reference, sample, transform, cost, rng, guessed=guessed)
    else:
        fitted = _fit_map(options, cost, head, fit_reference, sample, transform, guessed_map)
        solution = Solution(
            kept=kept,
            cost=cost.scaled(fitted.scale),
            transform=transform,
            priors=_priors(labels, len(transform.shares)),
            feature_map=fitted.feature_map,
            push=None,
            labels=labels,
            tau=tau,
            scale=fitted.scale,
            ridge=fitted.ridge,
            history=fitted.history,
            criterion=fitted.held_out_bound,
        )
    solution = replace(solution, kept=kept, tau=tau, certainty=certainty)
    if not np.isfinite(solution.criterion):
        solution = replace(solution, criterion=certify_solution(solution, fit_reference, sample, options.seed).bound)
    return solution


def certify_solution(
    solution: Solution,
    reference: Sample,
    target: Sample,
    seed: int,
    *,
    max_points: int = MAX_POINTS,
) -> Certificate:
    """Measure the bound of a solution on one sample of each task.

    Parameters
    ----------
    solution : Solution
    reference, target : Sample
        Of the classes in use.
    seed : int
        Draws blocks where a class is large.
    max_points : int
        Of a class, that are coupled at once.
    """
    rng = np.random.default_rng(seed)
    cost = solution.cost
    left, right = cost.places(reference, target, solution.feature_map)
    if solution.push is not None:
        left, right = solution.push.apply(reference.features), target.features  # A as learned, not Ā inverted
    return cost.certify_places(
        left, right, reference, target.labels, solution.transform, solution.B, max_points=max_points, rng=rng
    )


def _cost(options: SolverOptions, classifier: SoftmaxClassifier, tau: float) -> GroundCost:
    known = classifier.certified_tau if options.space == "reference" else tau
    return GROUND_COSTS[options.ground_cost](classifier, known, options.space)


def _is(matching: str | IntArray | FloatArray, name: str) -> bool:
    return isinstance(matching, str) and matching == name  # it may be an array


def _priors(labels: IntArray, n_classes: int) -> FloatArray:
    """Return class priors; a class that was never guessed counts as one row, lest ``h'`` call it impossible."""
    counts = np.maximum(np.bincount(labels, minlength=n_classes), 1)
    priors: FloatArray = counts / counts.sum()
    return priors


def _fit_map(
    options: SolverOptions,
    cost: GroundCost,
    head: Head,
    reference: Sample,
    target: Sample,
    transform: LabelTransform,
    guessed_map: AffineMap | None,
) -> FittedMap:
    if guessed_map is not None:  # guesses look right at any scale: it stays as it is
        return FittedMap(guessed_map, GUESS_RIDGE, 1.0, float("nan"), ())
    if options.learn_map:
        rng = np.random.default_rng(
            options.seed
        )  # of its own: every reference is judged on the same rows of the target
        return cost.fit(reference, head.held_out, target, transform, rng, scale=options.scale)
    identity = AffineMap.identity(reference.features.shape[1], target.features.shape[1])
    scale = _scale_of(options, cost, head.held_out, reference, target, identity, transform)
    return FittedMap(identity, float("inf"), scale, float("nan"), ())


def _scale_of(
    options: SolverOptions,
    cost: GroundCost,
    held_out: HeldOut,
    reference: Sample,
    target: Sample,
    feature_map: AffineMap,
    transform: LabelTransform,
) -> float:
    """Return the best scale for a map that has no part in it."""
    if not options.scale:
        return 1.0
    rng = np.random.default_rng(options.seed)
    certificate = cost.certify(reference, target, feature_map, transform, rng=rng)
    return cost.best_scale(held_out, target, feature_map, transform, certificate)


def _descend(
    options: SolverOptions,
    head: Head,
    reference: Sample,
    target: Sample,
    transform: LabelTransform,
    cost: GroundCost,
    rng: np.random.Generator,
    *,
    guessed: bool,
) -> Solution:
    """Run the paper's Algorithm 1."""
    from transferability.relatedness.solvers.algorithm1 import run_algorithm1

    priors = _priors(target.labels, len(transform.shares))
    fixed = None if _is(options.matching, "gradient") else transform.B(priors)
    try:
        with np.errstate(over="raise"):
            found = run_algorithm1(
                head.classifier,
                reference,
                target,
                B=fixed,
                learn_map=options.learn_map,
                epochs=options.epochs,
                batch_size=options.batch_size,
                guessed=guessed,
                n_classes=len(transform.shares),
                rng=rng,
            )
    except FloatingPointError as error:
        message = (
            "features must be of moderate size for solver='sgd', whose squares of distances left the range of their "
            f"type ({error}). Use standardize=True, or rescale them."
        )
        raise FeatureError(message) from error
    if guessed:
        target = Sample(target.features, found.labels)
        priors = _priors(found.labels, len(transform.shares))
    if fixed is None:
        transform = LabelTransform.from_matrices(found.B, found.D)
    push = AffineMap(found.A, found.b)
    solution = Solution(
        kept=np.arange(head.classifier.n_classes),
        cost=cost,
        transform=transform,
        priors=priors,
        feature_map=AffineMap(found.A_bar, -found.A_bar @ found.b),
        push=push,
        labels=target.labels,
        tau=cost.tau,
        scale=1.0,
        ridge=float("nan"),
        history=tuple(each.features for each in found.history),
        criterion=0.0,
    )
    certificate = certify_solution(solution, reference, target, options.seed)
    scale = 1.0
    if options.scale:
        scale = cost.best_scale(head.held_out, target, solution.feature_map, transform, certificate)
        solution = replace(solution, cost=cost.scaled(scale), scale=scale)
        certificate = certify_solution(solution, reference, target, options.seed)
    return replace(solution, criterion=certificate.bound)
