"""Where and how classes are compared of which only means and covariances are known: `Geometry`, without samples."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.maps.feature_map import AffineMap, lift_logit_map
from transferability.relatedness.maps.gaussian_map import ClassPairs
from transferability.statistics.gaussians import ClassGaussians, psd_root
from transferability.transport.cost import euclidean_cost, loss_cost
from transferability.transport.gaussian import couple_gaussians, expected_loss_cost, moment_distance

__all__ = ["GaussianGeometry", "GaussianPairCosts", "expected_losses"]

_NORMALS = 1024  # and their mirror images
_MOST_EXACT = 128  # reference classes; beyond, classes are chosen by the costs between their means


class GaussianGeometry:
    """The reference's classes as Gaussians, its classifier, and the price of moving a target class to one of them.

    As in `Geometry`, classes are compared at *places*: logits for the loss cost, else features of the reference
    (target classes are pulled there) or of the target (reference classes are pushed there, as in the paper).

    Parameters
    ----------
    classifier : SoftmaxClassifier
    reference : ClassGaussians
        Standardised.
    ground_cost : {"loss", "euclidean", "gamma"}
    space : {"reference", "target"}
    tau : float
        Factor of the Euclidean cost and of Γ.
    covariance_weight : float
        λ of Γ.
    seed : int
        Of the normal draws that the mean loss cost is taken over.
    """

    def __init__(
        self,
        classifier: SoftmaxClassifier,
        reference: ClassGaussians,
        ground_cost: str,
        space: str,
        tau: float,
        covariance_weight: float,
        seed: int,
    ) -> None:
        self.classifier, self.reference, self.ground_cost = classifier, reference, ground_cost
        self.tau, self.covariance_weight, self.seed = tau, covariance_weight, seed
        self.pushes = space == "target" and ground_cost != "loss"
        self._logit_roots: dict[int, FloatArray] = {}

    def start(self, n_features: int) -> AffineMap:
        """Return the place map that leaves target features, of that dimension, where they are."""
        d = self.reference.n_features
        if self.ground_cost == "loss":
            return AffineMap.truncated(self.classifier.weights, self.classifier.intercept, n_features)
        return AffineMap.identity(n_features, d) if self.pushes else AffineMap.identity(d, n_features)

    def lift(self, place_map: AffineMap, n_features: int) -> AffineMap:
        """Return the feature map, target to reference, behind a place map."""
        if self.ground_cost == "loss":
            prior = AffineMap.identity(self.reference.n_features, n_features)
            return lift_logit_map(place_map, self.classifier.weights, self.classifier.intercept, prior)
        return place_map.inverse() if self.pushes else place_map

    def pairs(self, target: ClassGaussians, weights: FloatArray, targets: IntArray, references: IntArray) -> ClassPairs:
        """Return these target classes beside the reference classes that stand for them."""
        if self.ground_cost == "loss":
            return ClassPairs(
                weights,
                target.means[targets],
                target.roots(targets),
                self._logit_means[references],
                [self._logit_root(int(j)) for j in references],
            )
        pulled = target.means[targets], target.roots(targets)
        there = self.reference.means[references], self.reference.roots(references)
        return ClassPairs(weights, *there, *pulled) if self.pushes else ClassPairs(weights, *pulled, *there)

    def prices(
        self, target: ClassGaussians, targets: IntArray, references: IntArray, place_map: AffineMap
    ) -> FloatArray:
        """Return what it costs to move each of these target classes to its reference class, in nats."""
        pairs = self.pairs(target, np.ones(len(targets)), targets, references)
        prices = np.empty(len(targets))
        for n, j in enumerate(references):
            step = place_map.matrix @ pairs.moving_means[n] + place_map.offset - pairs.fixed_means[n]
            moved, fixed = place_map.matrix @ pairs.moving_roots[n], pairs.fixed_roots[n]
            if self.ground_cost == "gamma":
                nowhere = np.zeros_like(step)
                gamma = moment_distance(step, moved @ moved.T, nowhere, fixed @ fixed.T, self.covariance_weight)
                prices[n] = self.tau * gamma
            elif self.ground_cost == "euclidean":
                prices[n] = self.tau * np.sqrt(couple_gaussians(step, fixed, moved).value)
            else:
                root = psd_root(moved @ moved.T)  # square, as `fixed` is: the same normals are behind both
                link = couple_gaussians(step, fixed, root).link
                prices[n] = expected_loss_cost(step, root - fixed @ link, int(j), self._normals)
        return prices

    def bounds(self, target: ClassGaussians, place_map: AffineMap) -> FloatArray:
        """Return lower bounds of all prices, (K_T, K_R): the costs between the means (Jensen)."""
        if self.ground_cost == "loss":
            classes = np.arange(self.classifier.n_classes)
            return loss_cost(self._logit_means, classes, place_map.apply(target.means)).T
        if self.pushes:
            distances = euclidean_cost(target.means, place_map.apply(self.reference.means), 1.0)
        else:
            distances = euclidean_cost(place_map.apply(target.means), self.reference.means, 1.0)
        return self.tau * (distances**2 if self.ground_cost == "gamma" else distances)

    @cached_property
    def _normals(self) -> FloatArray:
        draws = np.random.default_rng(self.seed).standard_normal((_NORMALS, self.classifier.n_classes))
        return np.concatenate([draws, -draws])

    @cached_property
    def _logit_means(self) -> FloatArray:
        return self.classifier.logits(self.reference.means)

    def _logit_root(self, j: int) -> FloatArray:
        if j not in self._logit_roots:
            self._logit_roots[j] = psd_root(self.reference.projected(j, self.classifier.weights))
        return self._logit_roots[j]


class GaussianPairCosts:
    """``L_j`` plus price for all pairs of classes: lower bounds first, exact where asked for (`assign_classes`)."""

    def __init__(self, geometry: GaussianGeometry, target: ClassGaussians, losses: FloatArray) -> None:
        self.geometry, self.target, self.losses = geometry, target, losses
        self.place_map = geometry.start(target.n_features)
        self.values = geometry.bounds(target, self.place_map) + losses
        few = geometry.reference.n_classes <= _MOST_EXACT
        self.exact = np.full(self.values.shape, not few)

    def make_exact(self, targets: IntArray, references: IntArray) -> bool:
        """Price these pairs; return whether any of them was only a bound before."""
        todo = ~self.exact[targets, references]
        i, j = targets[todo], references[todo]
        self.values[i, j] = self.losses[j] + self.geometry.prices(self.target, i, j, self.place_map)
        self.exact[i, j] = True
        return bool(todo.any())


def expected_losses(classifier: SoftmaxClassifier, gaussians: ClassGaussians, seed: int) -> FloatArray:
    """Return the mean loss of the classifier on each class, were it Gaussian, (n_classes,)."""
    draws = np.random.default_rng(seed).standard_normal((_NORMALS, classifier.n_classes))
    normals = np.concatenate([draws, -draws])
    means = classifier.logits(gaussians.means)
    losses = np.empty(gaussians.n_classes)
    for c in range(gaussians.n_classes):
        logits = means[c] + normals @ psd_root(gaussians.projected(c, classifier.weights))
        losses[c] = float((logsumexp(logits, axis=1) - logits[:, c]).mean())
    return np.maximum(losses, 0.0)
