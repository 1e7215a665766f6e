"""The ground costs between Gaussian classes: the loss cost, Bures–Wasserstein, and Γ of the paper.

To add one, subclass `GaussianCost` and name the class in `relatedness.choices`.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.costs.gaussian import RIDGE, GaussianCost, PlaceMap, normal_draws
from transferability.relatedness.maps.feature_map import AffineMap, lift_logit_map
from transferability.relatedness.maps.gaussian_map import ClassPairs, fit_moments, margin_step, squares_step
from transferability.statistics.gaussians import ClassGaussians, psd_root
from transferability.transport.cost import loss_cost
from transferability.transport.gaussian import couple_gaussians, expected_loss_cost, moment_distance

__all__ = ["GammaCost", "GaussianEuclidean", "GaussianLoss"]

_ESTIMATE = "Not certified: an estimate from means and covariances, as if each class were Gaussian. "
_PAIRS = 2_000  # that a map is fitted to
_LEAST_PAIRS = 20  # per class
_RIDGES = (1.0, 1e-1, 1e-2, 1e-3)  # no rows are held out of statistics: the last one is as weak as may be
_FIRST_ROUNDS, _NEXT_ROUNDS = 2, 1
_SQUARES_ROUNDS = 4


class GaussianEuclidean(GaussianCost):
    """τ W₂, Bures–Wasserstein."""

    name: ClassVar[str] = "euclidean"
    certificate: ClassVar[str] = (
        _ESTIMATE + "The distance is W₂ of the Gaussians: no less than their W₁, no more than W₂ of the samples "
        "(Gelbrich), and no bound on the samples' W₁ either way."
    )

    def price(self, step: FloatArray, moved: FloatArray, fixed: FloatArray, reference: int) -> float:
        """Return τ W₂."""
        return float(self.tau * np.sqrt(couple_gaussians(step, fixed, moved).value))

    def step(self, pairs: ClassPairs, start: AffineMap) -> AffineMap:
        """Alternate between coupling the classes and least squares."""
        place_map = start
        for _ in range(_SQUARES_ROUNDS):
            place_map = squares_step(pairs, place_map, start, RIDGE)
        return place_map


class GammaCost(GaussianCost):
    """τ Γ, Eq. 5 of the paper: squared distance of the means plus λ times that of the covariances."""

    name: ClassVar[str] = "gamma"
    certificate: ClassVar[str] = (
        _ESTIMATE + "Γ (Eq. 5 of the paper) is a squared distance, in the place of a distance: compare, not bound."
    )

    def price(self, step: FloatArray, moved: FloatArray, fixed: FloatArray, reference: int) -> float:
        """Return τ Γ."""
        nowhere = np.zeros_like(step)
        gamma = moment_distance(step, moved @ moved.T, nowhere, fixed @ fixed.T, self.covariance_weight)
        return self.tau * gamma

    def of_distances(self, distances: FloatArray) -> FloatArray:
        """Return their squares."""
        return distances**2

    def step(self, pairs: ClassPairs, start: AffineMap) -> AffineMap:
        """Descend: Γ is a polynomial in the map."""
        return fit_moments(pairs, start, RIDGE, self.covariance_weight)


class GaussianLoss(GaussianCost):
    """The mean loss cost in logit space, under the coupling that is optimal for the squared distance there."""

    name: ClassVar[str] = "loss"
    certificate: ClassVar[str] = (
        _ESTIMATE + "It bounds nothing on samples; fit samples with solver='alternating' for a bound that holds."
    )

    @property
    def pushes(self) -> bool:
        """Whether reference classes are moved: never, they stay where their logits are."""
        return False

    def scaled_map(self, place_map: AffineMap, scale: float) -> AffineMap:
        """Return the map to the logits of that scale."""
        return AffineMap(scale * place_map.matrix, scale * place_map.offset)

    def start(self, n_features: int) -> AffineMap:
        """Return the map to the logits of the features as they are."""
        return AffineMap.truncated(self.classifier.weights, self.classifier.intercept, n_features)

    def lift(self, place_map: AffineMap, n_features: int) -> AffineMap:
        """Return a feature map that has these logits."""
        prior = AffineMap.identity(self.reference.n_features, n_features)
        return lift_logit_map(place_map, self.classifier.weights, self.classifier.intercept, prior)

    def pairs(self, target: ClassGaussians, weights: FloatArray, targets: IntArray, references: IntArray) -> ClassPairs:
        """Return features of the target classes beside logits of the reference classes."""
        roots = [self._logit_roots[int(j)] for j in references]
        return ClassPairs(weights, target.means[targets], target.roots(targets), self._logit_means[references], roots)

    def price(self, step: FloatArray, moved: FloatArray, fixed: FloatArray, reference: int) -> float:
        """Return the mean loss cost over normal draws."""
        root = psd_root(moved @ moved.T)  # square, as `fixed` is: the same normals are behind both
        link = couple_gaussians(step, fixed, root).link
        return expected_loss_cost(step, root - fixed @ link, reference, self._normals)

    def bounds(self, target: ClassGaussians, place_map: AffineMap) -> FloatArray:
        """Return the loss costs between the means."""
        classes = np.arange(self.classifier.n_classes)
        return loss_cost(self._logit_means, classes, place_map.apply(target.means)).T

    def fit(
        self, target: ClassGaussians, priors: FloatArray, class_map: IntArray, rng: np.random.Generator
    ) -> PlaceMap:
        """Fit margins to draws; the ridge is chosen by the price between the Gaussians."""
        pairs = self.pairs(target, priors, np.arange(len(priors)), class_map)
        n_draws = np.clip(target.counts, _LEAST_PAIRS, max(_LEAST_PAIRS, _PAIRS // len(priors)))
        start = place_map = best = self.start(target.n_features)
        best_ridge, history = float("inf"), [self.mean_price(target, priors, class_map, start)]
        for ridge in _RIDGES:  # from strong to weak, each starting where the last one ended
            for _ in range(_FIRST_ROUNDS if place_map is start else _NEXT_ROUNDS):
                place_map = margin_step(pairs, class_map, place_map, start, ridge, n_draws, rng)
            least = min(history)
            history.append(self.mean_price(target, priors, class_map, place_map))
            if history[-1] < least:
                best, best_ridge = place_map, ridge
            elif history[-1] > 1.05 * least:
                break
        return PlaceMap(best, best_ridge, tuple(history))

    @cached_property
    def _normals(self) -> FloatArray:
        return normal_draws(self.classifier.n_classes, self.seed)

    @cached_property
    def _logit_means(self) -> FloatArray:
        return self.classifier.logits(self.reference.means)

    @cached_property
    def _logit_roots(self) -> _LogitRoots:
        return _LogitRoots(self.classifier, self.reference)


class _LogitRoots(dict[int, FloatArray]):
    """Roots of the covariances of the logits of reference classes, by class; each is computed once."""

    def __init__(self, classifier: SoftmaxClassifier, reference: ClassGaussians) -> None:
        super().__init__()
        self.classifier, self.reference = classifier, reference

    def __missing__(self, j: int) -> FloatArray:
        self[j] = psd_root(self.reference.projected(j, self.classifier.weights))
        return self[j]
