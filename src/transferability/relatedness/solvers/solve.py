"""From both fitting parts to the transformation, for one τ: classes, then classifier, then what the solver fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.classifier.scale import best_scale
from transferability.relatedness.classifier.tau import solve_for_tau
from transferability.relatedness.costs import GROUND_COSTS, GroundCost
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import MatchCertainty
from transferability.relatedness.solvers.base import SampleProblem, SampleSolver, SolverOptions, solver_class
from transferability.relatedness.solvers.class_matching import match_by_samples, match_unlabelled
from transferability.relatedness.solvers.pseudo_labels import guess_labels
from transferability.relatedness.solvers.solution import SampleSolution
from transferability.relatedness.tasks.problem import Reference, Target, keep_classes
from transferability.relatedness.tasks.sample import Sample

__all__ = ["best_solution"]


def best_solution(
    options: SolverOptions, reference: Reference, target: Target
) -> tuple[SampleSolution, list[tuple[float, float]]]:
    """Return the solution for the τ with the smallest held-out bound, and every τ that was tried with its bound."""
    candidates = solve_for_tau(
        options.tau,
        reference.spread,
        lambda tau: _solve(options, reference, target, tau),
        lambda solution: solution.criterion,
    )
    best = min(candidates, key=lambda solution: solution.criterion)
    return best, [(solution.tau, solution.criterion) for solution in candidates]


def _solve(options: SolverOptions, reference: Reference, target: Target, tau: float) -> SampleSolution:
    solver = solver_class(options.solver)()
    assert isinstance(solver, SampleSolver)
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
    kept = np.arange(n_references) if solver.learns_labels(options) else transform.classes_in_use
    if len(kept) < n_references:
        transform = LabelTransform(transform.shares[:, kept])
    head = reference.head(tau, kept)
    fit_reference = keep_classes(reference.fit, kept)
    guessed_map = None
    if labels is None:
        labels, guessed_map = guess_labels(head.classifier, fit_reference, target.features, transform.class_map, rng)
    problem = SampleProblem(
        options=options,
        head=head,
        cost=_cost(options, head.classifier, tau),
        reference=fit_reference,
        target=target.sample if target.labels is not None else Sample(target.features, labels),
        transform=transform,
        guessed=target.labels is None,
        guessed_map=guessed_map,
        rng=rng,
    )
    solution = replace(solver.fit(problem), kept=kept, tau=tau, certainty=certainty)
    if not np.isfinite(solution.criterion):
        bound = solution.certify(fit_reference, problem.target, options.seed).bound
        solution = replace(solution, criterion=bound)
    return solution


def _cost(options: SolverOptions, classifier: SoftmaxClassifier, tau: float) -> GroundCost:
    known = classifier.certified_tau if options.space == "reference" else tau
    return GROUND_COSTS[options.ground_cost](classifier, known, options.space)
