"""What a solver finds: classes, map, classifier and scale; frozen before any test part is looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.costs.base import GroundCost
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import MatchCertainty
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.results.transform import Transform, lipschitz_behind
from transferability.relatedness.tasks.standardize import Scaler

__all__ = ["Solution", "full_transform"]

_NEVER = 1e4  # nats below all others


@dataclass(frozen=True, eq=False)
class Solution:
    """Classes and map for one τ.

    `cost` holds the reference classifier with its scale. The classifier, `shares` and `feature_map` know the reference
    classes in use only, and number them anew; `kept` says which they are.
    """

    kept: IntArray
    cost: GroundCost
    transform: LabelTransform
    priors: FloatArray  # of the fitting target, true or guessed: B is made from them
    feature_map: AffineMap  # target to reference
    push: AffineMap | None  # reference to target, where that was learned by itself
    labels: IntArray  # of the fitting target, true or guessed
    tau: float
    scale: float
    ridge: float
    history: tuple[float, ...]
    criterion: float  # what τ is chosen by
    certainty: MatchCertainty | None = None

    @property
    def B(self) -> FloatArray:
        """The label map of h′, from the priors of the fitting part."""
        return self.transform.B(self.priors)

    @property
    def lipschitz_in_target(self) -> float:
        """The constant of ``−log h_R(f(z))`` in the target's space."""
        return lipschitz_behind(self.feature_map, self.cost.classifier.weights)


def full_transform(
    classifier: SoftmaxClassifier,
    labels: LabelTransform,
    kept: IntArray,
    priors: FloatArray,
    feature_map: AffineMap,
    n_references: int,
    scalers: tuple[Scaler, Scaler],
) -> Transform:
    """Return the transformation in the reference's own class numbers.

    A class without use gets the weights of one in use, which leaves every Lipschitz constant as it is, and an intercept
    so low that its probability is zero; its column of B says nothing (uniform), its part of D is zero.
    """
    B = np.full((len(priors), n_references), 1.0 / len(priors))
    D = np.zeros(n_references)
    weights = np.tile(classifier.weights[0], (n_references, 1))
    intercept = np.full(n_references, classifier.intercept.min() - _NEVER)
    B[:, kept], D[kept] = labels.B(priors), labels.D(priors)
    weights[kept], intercept[kept] = classifier.weights, classifier.intercept
    return Transform(
        feature_map=feature_map,
        B=B,
        D=D,
        weights=weights,
        intercept=intercept,
        reference_scaler=scalers[0],
        target_scaler=scalers[1],
    )
