r"""The Euclidean cost: ``euclidean``, the paper's.

.. math:: c\bigl((u, j), v\bigr) = \tau \lVert v - u \rVert_2, \qquad \tau = \max_{j,k} \lVert w_j - w_k \rVert_2

Target points are pulled to the reference by the feature map (``space="reference"``, certified), or reference points are
pushed to the target by its inverse, as in the paper (``space="target"``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.costs.alternating import Alternation, fit_by_alternation
from transferability.relatedness.costs.base import FittedMap, GroundCost
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import ClassPoints, PairCosts, TransportPairCosts
from transferability.relatedness.maps.feature_map import AffineMap, RidgeRegression
from transferability.relatedness.tasks.sample import HeldOut, Sample
from transferability.transport.cost import euclidean_cost

__all__ = ["EuclideanCost"]


@dataclass(frozen=True, eq=False)
class EuclideanCost(GroundCost):
    """Distance in feature space times the Lipschitz constant."""

    name: ClassVar[str] = "euclidean"
    in_logits: ClassVar[bool] = False
    first_rounds: ClassVar[int] = 4
    next_rounds: ClassVar[int] = 2

    @property
    def pushes(self) -> bool:
        """Whether reference points are moved to the target, and not target points to the reference."""
        return self.space == "target"

    def places(self, reference: Sample, target: Sample, feature_map: AffineMap) -> tuple[FloatArray, FloatArray]:
        """Return the places of both samples."""
        if self.pushes:
            return feature_map.inverse().apply(reference.features), target.features
        return reference.features, feature_map.apply(target.features)

    def start(self, n_target_features: int) -> AffineMap:
        """Return the place map that leaves the features as they are."""
        d = self.classifier.weights.shape[1]
        return AffineMap.identity(n_target_features, d) if self.pushes else AffineMap.identity(d, n_target_features)

    def lift(self, place_map: AffineMap, n_target_features: int) -> AffineMap:
        """Return the feature map, target to reference, behind a place map."""
        return place_map.inverse() if self.pushes else place_map

    def reference_places(self, reference: Sample) -> FloatArray:
        """Return reference points where they are."""
        return reference.features

    def price(self, left: FloatArray, labels: IntArray, right: FloatArray) -> FloatArray:
        """Return ``τ ‖v − u‖`` for each pair."""
        return euclidean_cost(left, right, self.tau)

    matching_price = price

    def pair_costs(self, reference: ClassPoints, target: ClassPoints, losses: FloatArray) -> PairCosts:
        """Return loss plus exact transport, found as far as the assignment needs it."""
        return TransportPairCosts(reference, target, losses, self.tau)

    def fit(
        self,
        reference: Sample,
        held_out: HeldOut,
        target: Sample,
        transform: LabelTransform,
        rng: np.random.Generator,
        *,
        scale: bool,
    ) -> FittedMap:
        """Alternate between matching points and ridge regression on the matched pairs."""
        return fit_by_alternation(self, reference, held_out, target, transform, rng, scale=scale)

    def step(self, alternation: Alternation, place_map: AffineMap, rows: IntArray, ridge: float) -> AffineMap:
        """Return the best place map for target points matched with these reference rows."""
        here = alternation.reference.features[rows]
        if self.pushes:
            regression = RidgeRegression(here, alternation.weight)
            return regression.solve(alternation.target.features, alternation.start, ridge)
        return alternation.regression.solve(here, alternation.start, ridge)
