"""The default solver: classes first, then the map that the ground cost fits by itself, then the scale."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from transferability.relatedness.costs.base import FittedMap
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.solvers.base import SampleProblem, SampleSolver
from transferability.relatedness.solvers.normalized import Normalized
from transferability.relatedness.solvers.pseudo_labels import GUESS_RIDGE
from transferability.relatedness.solvers.solution import SampleSolution

__all__ = ["Alternating"]


class Alternating(SampleSolver):
    """Fits the map by `GroundCost.fit`."""

    name: ClassVar[str] = "alternating"

    def fit(self, problem: SampleProblem) -> SampleSolution:
        """Return the map of the ground cost, or none where none is to be learned."""
        fitted = _fit_map(problem)
        return SampleSolution(
            kept=np.arange(problem.head.classifier.n_classes),
            cost=problem.cost.scaled(fitted.scale),
            transform=problem.transform,
            priors=problem.priors,
            feature_map=fitted.feature_map,
            labels=problem.target.labels,
            tau=problem.cost.tau,
            scale=fitted.scale,
            ridge=fitted.ridge,
            history=fitted.history,
            criterion=fitted.held_out_bound,
        )


def _fit_map(problem: SampleProblem) -> FittedMap:
    options, cost = problem.options, problem.cost
    if problem.guessed_map is not None:  # guesses look right at any scale: it stays as it is
        return FittedMap(problem.guessed_map, GUESS_RIDGE, 1.0, float("nan"), ())
    # A generator of its own: every reference is judged on the same rows of the target.
    rng = np.random.default_rng(options.seed)
    reference, target, transform = problem.reference, problem.target, problem.transform
    held_out = problem.head.held_out
    if options.learn_map and options.standardize:
        return cost.fit(reference, held_out, target, transform, rng, scale=options.scale)
    if options.learn_map:
        there = Normalized.by(target, reference.features.shape[1])
        rows = there.reference(reference), held_out, there.target(target)
        fitted = there.cost(cost).fit(*rows, transform, rng, scale=options.scale)
        return fitted._replace(feature_map=there.back(fitted.feature_map))
    identity = AffineMap.identity(reference.features.shape[1], target.features.shape[1])
    scale = 1.0
    if options.scale:
        certificate = cost.certify(reference, target, identity, transform, rng=rng)
        scale = cost.best_scale(held_out, target, identity, transform, certificate)
    return FittedMap(identity, float("inf"), scale, float("nan"), ())
