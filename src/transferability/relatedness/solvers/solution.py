"""What a solver finds: classes, map, classifier and scale; frozen before any test part is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.certificate import Certificate
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.costs.base import GroundCost
from transferability.relatedness.costs.gaussian import GaussianCost
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import MatchCertainty
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.results.transform import Transform, lipschitz_behind
from transferability.relatedness.tasks.sample import Sample
from transferability.relatedness.tasks.standardize import Scaler
from transferability.transport.coupling import MAX_POINTS

__all__ = ["SampleSolution", "Solution", "StatisticsSolution"]

_NEVER = 1e4  # nats below all others


class _Cost(Protocol):
    @property
    def classifier(self) -> SoftmaxClassifier: ...


C = TypeVar("C", bound=_Cost)


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution(Generic[C]):
    """Classes and map for one τ.

    `cost` holds the reference classifier with its scale. The classifier, `shares` and `feature_map` know the reference
    classes in use only, and number them anew; `kept` says which they are.
    """

    kept: IntArray
    cost: C
    transform: LabelTransform
    priors: FloatArray  # of the fitting target, true or guessed: B is made from them
    feature_map: AffineMap  # target to reference
    tau: float
    scale: float
    ridge: float
    history: tuple[float, ...]
    criterion: float  # what τ is chosen by
    certainty: MatchCertainty | None = None

    @property
    def class_map(self) -> IntArray:
        """The reference class of each target class, in the reference's own numbers."""
        chosen: IntArray = self.kept[self.transform.class_map]
        return chosen

    @property
    def B(self) -> FloatArray:
        """The label map of h′, from the priors of the fitting part."""
        return self.transform.B(self.priors)

    @property
    def lipschitz_in_target(self) -> float:
        """The constant of ``−log h_R(f(z))`` in the target's space."""
        return lipschitz_behind(self.feature_map, self.cost.classifier.weights)

    def full_transform(self, n_references: int, scalers: tuple[Scaler, Scaler]) -> Transform:
        """Return the transformation in the reference's own class numbers; scalers of the reference and the target.

        A class without use gets the weights of one in use, which leaves every Lipschitz constant as it is, and an
        intercept so low that its probability is zero; its column of B says nothing (uniform), its part of D is zero.
        """
        classifier, kept = self.cost.classifier, self.kept
        B = np.full((len(self.priors), n_references), 1.0 / len(self.priors))
        D = np.zeros(n_references)
        weights = np.tile(classifier.weights[0], (n_references, 1))
        intercept = np.full(n_references, classifier.intercept.min() - _NEVER)
        B[:, kept], D[kept] = self.B, self.transform.D(self.priors)
        weights[kept], intercept[kept] = classifier.weights, classifier.intercept
        return Transform(
            feature_map=self.feature_map,
            B=B,
            D=D,
            weights=weights,
            intercept=intercept,
            reference_scaler=scalers[0],
            target_scaler=scalers[1],
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleSolution(Solution[GroundCost]):
    """A solution that was fitted to samples, and can be measured on others."""

    labels: IntArray  # of the fitting target, true or guessed
    push: AffineMap | None = None  # reference to target, where that was learned by itself

    def certify(self, reference: Sample, target: Sample, seed: int, *, max_points: int = MAX_POINTS) -> Certificate:
        """Measure the bound on one sample of each task.

        Parameters
        ----------
        reference, target : Sample
            Of the classes in use.
        seed : int
            Draws blocks where a class is large.
        max_points : int
            Of a class, that are coupled at once.
        """
        rng = np.random.default_rng(seed)
        left, right = self.cost.places(reference, target, self.feature_map)
        if self.push is not None:
            left, right = self.push.apply(reference.features), target.features  # A as learned, not Ā inverted
        return self.cost.certify_places(
            left, right, reference, target.labels, self.transform, self.B, max_points=max_points, rng=rng
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class StatisticsSolution(Solution[GaussianCost]):
    """A solution that was fitted to means and covariances."""

    place_map: AffineMap
    losses: FloatArray  # of the reference classes in use, at the scale of the classifier
