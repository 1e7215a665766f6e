"""The solver for classes of which only counts, means and covariances are known: ``solver="statistics"``."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.errors import OptionError
from transferability.relatedness.choices import GROUND_COSTS, load_class
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax
from transferability.relatedness.classifier.scale import doubt, minimize_over_scales
from transferability.relatedness.costs.gaussian import GaussianCost, GaussianPairCosts, PlaceMap, expected_losses
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import assign_classes, random_matching
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.solvers.base import Solver, SolverOptions
from transferability.relatedness.solvers.class_matching import given_classes, identity_classes
from transferability.relatedness.solvers.solution import StatisticsSolution
from transferability.relatedness.tasks.sample import Sample
from transferability.relatedness.tasks.standardize import Scaler
from transferability.statistics.gaussians import ClassGaussians

__all__ = ["Statistics", "StatisticsTarget"]

_DRAWS = 10_000  # that a classifier is fitted to
_LEAST_DRAWS = 20  # per class


class StatisticsTarget(NamedTuple):
    """A target as means and covariances, and its samples where it has any."""

    name: str
    class_names: tuple[str, ...]
    gaussians: ClassGaussians  # fitting part, standardised
    seen: ClassGaussians  # what the bound is measured on
    on_test: bool
    scaler: Scaler
    fit_sample: Sample | None  # standardised; None where there is a pack in place of samples
    seen_sample: Sample | None


class Statistics(Solver):
    """Classes and map for one τ after the other, for one reference pack and one target."""

    name: ClassVar[str] = "statistics"
    reads_samples: ClassVar[bool] = False

    def __init__(self, options: SolverOptions, pack: ReferencePack, target: StatisticsTarget) -> None:
        self.options, self.pack, self.target = options, pack, target
        self.reference = pack.gaussians()
        self.heads = {head.tau: head for head in pack.heads}
        self.priors = target.gaussians.counts / target.gaussians.counts.sum()
        self._drawn: tuple[FloatArray, FloatArray, IntArray] | None = None  # means, draws, labels: for the next τ

    def solve(self, tau: float) -> StatisticsSolution:
        """Choose classes, find the classifier that tells these apart, fit the map."""
        rng = np.random.default_rng(self.options.seed)
        classifier, losses = self._head_of_all(tau)
        class_map = self._choose(self._cost(classifier, self.reference, tau), losses, rng)
        transform = LabelTransform.from_class_map(class_map, self.reference.n_classes)
        kept = transform.classes_in_use
        reference = self.reference
        if len(kept) < reference.n_classes or (self.pack.heads and tau not in self.heads):
            # Fewer classes, or another τ: another classifier, and no samples are left to learn it from.
            reference = reference.take(kept)
            transform = LabelTransform(transform.shares[:, kept])
            classifier = self._fit_to_draws(reference, tau)
            losses = expected_losses(classifier, reference, self.options.seed)
        cost, target = self._cost(classifier, reference, tau), self.target.gaussians
        fitted = PlaceMap(cost.start(target.n_features), float("inf"), ())
        if self.options.learn_map:
            fitted = cost.fit(target, self.priors, transform.class_map, rng)
        place_map = fitted.place_map
        mismatch = cost.mean_price(target, self.priors, transform.class_map, place_map)
        scale = 1.0
        if self.options.scale:
            scale, losses = self._scaled(classifier, reference, losses, transform, mismatch)
            cost, place_map = cost.scaled(scale), cost.scaled_map(place_map, scale)
        entropy = float(transform.entropy_per_class(self.priors).sum())
        return StatisticsSolution(
            kept=kept,
            cost=cost,
            transform=transform,
            priors=self.priors,
            feature_map=cost.lift(place_map, target.n_features),
            tau=tau,
            scale=scale,
            ridge=fitted.ridge,
            history=fitted.history,
            criterion=float(self.priors @ losses[transform.class_map]) + entropy + scale * mismatch,
            place_map=place_map,
            losses=losses,
        )

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

    def _cost(self, classifier: SoftmaxClassifier, reference: ClassGaussians, tau: float) -> GaussianCost:
        options = self.options
        known = classifier.certified_tau if options.space == "reference" else tau
        make: type[GaussianCost] = load_class(GROUND_COSTS[options.ground_cost].statistics or "")
        return make(classifier, reference, options.space, known, options.covariance_weight, options.seed)

    def _choose(self, cost: GaussianCost, losses: FloatArray, rng: np.random.Generator) -> IntArray:
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
        return assign_classes(GaussianPairCosts(cost, self.target.gaussians, losses), self.priors)
