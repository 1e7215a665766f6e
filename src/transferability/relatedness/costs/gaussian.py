"""Ground costs between classes of which only means and covariances are known: where, at what price, with what map.

What every such cost offers. `solvers.statistics` uses it as the other solvers use `GroundCost`; `gaussian_costs` has
the costs, and `maps.gaussian_map` the equations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Self

import numpy as np
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.maps.gaussian_map import ClassPairs
from transferability.statistics.gaussians import ClassGaussians, psd_root
from transferability.transport.cost import euclidean_cost

__all__ = ["RIDGE", "GaussianCost", "GaussianPairCosts", "PlaceMap", "expected_losses", "normal_draws"]

_NORMALS = 1024  # and their mirror images
_MOST_EXACT = 128  # reference classes; beyond, classes are chosen by the costs between their means
RIDGE = 0.03  # of the costs that compare features


class PlaceMap(NamedTuple):
    """A map to the places where classes are compared, and how it came about."""

    place_map: AffineMap
    ridge: float  # infinite where the features were best left as they are
    history: tuple[float, ...]  # mean price along the way


class GaussianCost(ABC):
    """The reference's classes as Gaussians, its classifier, and the price of moving a target class to one of them.

    As in `GroundCost`, classes are compared at *places*: logits for the loss cost, else features of the reference
    (target classes are pulled there) or of the target (reference classes are pushed there, as in the paper).

    Parameters
    ----------
    classifier : SoftmaxClassifier
    reference : ClassGaussians
        Standardised.
    space : {"reference", "target"}
    tau : float
        Factor of the Euclidean cost and of Γ.
    covariance_weight : float
        λ of Γ.
    seed : int
        Of the normal draws that the mean loss cost is taken over.
    """

    name: ClassVar[str]
    certificate: ClassVar[str]  # why the number is an estimate

    def __init__(
        self,
        classifier: SoftmaxClassifier,
        reference: ClassGaussians,
        space: str,
        tau: float,
        covariance_weight: float,
        seed: int,
    ) -> None:
        self.classifier, self.reference, self.space = classifier, reference, space
        self.tau, self.covariance_weight, self.seed = tau, covariance_weight, seed

    @property
    def pushes(self) -> bool:
        """Whether reference classes are moved, to the target's space."""
        return self.space == "target"

    def scaled(self, scale: float) -> Self:
        """Return the cost for the classifier whose logits are multiplied by `scale`."""
        return type(self)(
            self.classifier.scaled(scale),
            self.reference,
            self.space,
            scale * self.tau,
            self.covariance_weight,
            self.seed,
        )

    def scaled_map(self, place_map: AffineMap, scale: float) -> AffineMap:
        """Return a place map as it is for that cost: features do not depend on the scale."""
        return place_map

    # ── where ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, n_features: int) -> AffineMap:
        """Return the place map that leaves target features, of that dimension, where they are."""
        d = self.reference.n_features
        return AffineMap.identity(n_features, d) if self.pushes else AffineMap.identity(d, n_features)

    def lift(self, place_map: AffineMap, n_features: int) -> AffineMap:
        """Return the feature map, target to reference, behind a place map."""
        return place_map.inverse() if self.pushes else place_map

    def pairs(self, target: ClassGaussians, weights: FloatArray, targets: IntArray, references: IntArray) -> ClassPairs:
        """Return these target classes beside the reference classes that stand for them."""
        pulled = target.means[targets], target.roots(targets)
        there = self.reference.means[references], self.reference.roots(references)
        return ClassPairs(weights, *there, *pulled) if self.pushes else ClassPairs(weights, *pulled, *there)

    # ── at what price ────────────────────────────────────────────────────────────────────────────────────────────────

    def prices(
        self, target: ClassGaussians, targets: IntArray, references: IntArray, place_map: AffineMap
    ) -> FloatArray:
        """Return what it costs to move each of these target classes to its reference class, in nats."""
        pairs = self.pairs(target, np.ones(len(targets)), targets, references)
        prices = np.empty(len(targets))
        for n, j in enumerate(references):
            step = place_map.matrix @ pairs.moving_means[n] + place_map.offset - pairs.fixed_means[n]
            prices[n] = self.price(step, place_map.matrix @ pairs.moving_roots[n], pairs.fixed_roots[n], int(j))
        return prices

    @abstractmethod
    def price(self, step: FloatArray, moved: FloatArray, fixed: FloatArray, reference: int) -> float:
        """Return the price between two Gaussians, by the step between their means and roots of their covariances."""

    def bounds(self, target: ClassGaussians, place_map: AffineMap) -> FloatArray:
        """Return lower bounds of all prices, (K_T, K_R): the costs between the means (Jensen)."""
        if self.pushes:
            distances = euclidean_cost(target.means, place_map.apply(self.reference.means), 1.0)
        else:
            distances = euclidean_cost(place_map.apply(target.means), self.reference.means, 1.0)
        return self.tau * self.of_distances(distances)

    def of_distances(self, distances: FloatArray) -> FloatArray:
        """Return the price of moving a point so far, over τ."""
        return distances

    # ── the map ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def fit(
        self, target: ClassGaussians, priors: FloatArray, class_map: IntArray, rng: np.random.Generator
    ) -> PlaceMap:
        """Fit the place map for given classes; leaving the features as they are competes."""
        start = self.start(target.n_features)
        place_map = self.step(self.pairs(target, priors, np.arange(len(priors)), class_map), start)
        history = tuple(self.mean_price(target, priors, class_map, each) for each in (start, place_map))
        return (
            PlaceMap(start, float("inf"), history) if history[1] > history[0] else PlaceMap(place_map, RIDGE, history)
        )

    def step(self, pairs: ClassPairs, start: AffineMap) -> AffineMap:
        """Return the place map with the smallest price between these classes."""
        raise NotImplementedError

    def mean_price(
        self, target: ClassGaussians, priors: FloatArray, class_map: IntArray, place_map: AffineMap
    ) -> float:
        """Return the mean of the prices of all target classes."""
        return float(priors @ self.prices(target, np.arange(len(priors)), class_map, place_map))


class GaussianPairCosts:
    """``L_j`` plus price for all pairs of classes: lower bounds first, exact where asked for (`assign_classes`)."""

    def __init__(self, cost: GaussianCost, target: ClassGaussians, losses: FloatArray) -> None:
        self.cost, self.target, self.losses = cost, target, losses
        self.place_map = cost.start(target.n_features)
        self.values = cost.bounds(target, self.place_map) + losses
        few = cost.reference.n_classes <= _MOST_EXACT
        self.exact = np.full(self.values.shape, not few)

    def make_exact(self, targets: IntArray, references: IntArray) -> bool:
        """Price these pairs; return whether any of them was only a bound before."""
        todo = ~self.exact[targets, references]
        i, j = targets[todo], references[todo]
        self.values[i, j] = self.losses[j] + self.cost.prices(self.target, i, j, self.place_map)
        self.exact[i, j] = True
        return bool(todo.any())


def expected_losses(classifier: SoftmaxClassifier, gaussians: ClassGaussians, seed: int) -> FloatArray:
    """Return the mean loss of the classifier on each class, were it Gaussian, (n_classes,)."""
    normals = normal_draws(classifier.n_classes, seed)
    means = classifier.logits(gaussians.means)
    losses = np.empty(gaussians.n_classes)
    for c in range(gaussians.n_classes):
        logits = means[c] + normals @ psd_root(gaussians.projected(c, classifier.weights))
        losses[c] = float((logsumexp(logits, axis=1) - logits[:, c]).mean())
    return np.maximum(losses, 0.0)


def normal_draws(n: int, seed: int) -> FloatArray:
    """Return normal vectors of this length and their mirror images, (2048, n)."""
    draws = np.random.default_rng(seed).standard_normal((_NORMALS, n))
    return np.concatenate([draws, -draws])
