"""Classes and map from means and covariances: what `solver="statistics"` fits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.errors import OptionError
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax
from transferability.relatedness.classifier.scale import doubt, minimize_over_scales
from transferability.relatedness.costs.gaussian_geometry import GaussianGeometry, GaussianPairCosts, expected_losses
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import assign_classes, random_matching
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.maps.gaussian_map import fit_moments, margin_step, squares_step
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.solvers.class_matching import given_classes, identity_classes
from transferability.relatedness.tasks.sample import Sample
from transferability.relatedness.tasks.standardize import Scaler
from transferability.statistics.gaussians import ClassGaussians

__all__ = ["Solved", "Solver", "StatisticsOptions", "Target"]

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


class Target(NamedTuple):
    """A target as means and covariances, and its samples where it has any."""

    name: str
    class_names: tuple[str, ...]
    gaussians: ClassGaussians  # fitting part, standardised
    seen: ClassGaussians  # what the bound is measured on
    on_test: bool
    scaler: Scaler
    fit_sample: Sample | None  # standardised; None where there is a pack in place of samples
    seen_sample: Sample | None


class Solved(NamedTuple):
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


class Solver:
    """Classes and map for one τ after the other."""

    def __init__(self, options: StatisticsOptions, pack: ReferencePack, target: Target) -> None:
        self.options, self.pack, self.target = options, pack, target
        self.reference = pack.gaussians()
        self.heads = {head.tau: head for head in pack.heads}
        self.priors = target.gaussians.counts / target.gaussians.counts.sum()
        self._drawn: tuple[FloatArray, FloatArray, IntArray] | None = None  # means, draws, labels: for the next τ

    def solve(self, tau: float) -> Solved:
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
        return Solved(kept, transform, geometry, place_map, losses, tau, scale, ridge, history, criterion)

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
