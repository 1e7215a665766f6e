r"""The loss cost: ``loss``.

.. math:: c\bigl((u, j), v\bigr) = \max_k \Delta_k - \Delta_j, \qquad \Delta = s(v) - s(u)

with the logits :math:`s`. It asks where the points lie in the space of logits: zero where class j gains most, blind to
whatever the classifier ignores, and never larger than the Euclidean cost. See `transport.cost` and
`docs/certificate.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from transferability._array import FloatArray, IntArray
from transferability.relatedness.costs.alternating import Alternation, fit_by_alternation
from transferability.relatedness.costs.base import FittedMap, GroundCost
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import ClassPoints, PairCosts, TransportPairCosts
from transferability.relatedness.maps.feature_map import AffineMap, fit_margins
from transferability.relatedness.tasks.sample import HeldOut, Sample
from transferability.transport.cost import loss_cost

__all__ = ["LossCost"]

_STEPS_PER_ROUND = 15  # of L-BFGS
_TIE_BREAK = 1e-3  # of the distance of the logits


@dataclass(frozen=True, eq=False)
class LossCost(GroundCost):
    """The most that any class gains over the point's own, in logits."""

    name: ClassVar[str] = "loss"
    certificate: ClassVar[str] = "Certified: the loss cost bounds the change of the loss for every pair of points."
    first_rounds: ClassVar[int] = 2
    next_rounds: ClassVar[int] = 1

    @property
    def pushes(self) -> bool:
        """Whether reference points are moved: never, they stay where their logits are."""
        return False

    def reference_places(self, reference: Sample) -> FloatArray:
        """Return the logits of reference points."""
        return self.classifier.logits(reference.features)

    def price(self, left: FloatArray, labels: IntArray, right: FloatArray) -> FloatArray:
        """Return ``max_k Δ_k − Δ_j`` for each pair."""
        return loss_cost(left, labels, right)

    def matching_price(self, left: FloatArray, labels: IntArray, right: FloatArray) -> FloatArray:
        """Return the price with ties broken by distance: many pairs cost nothing, and rounding must not choose."""
        return loss_cost(left, labels, right) + _TIE_BREAK * cdist(left, right)

    def pair_costs(self, reference: ClassPoints, target: ClassPoints, losses: FloatArray) -> PairCosts:
        """Return loss plus exact transport, found as far as the assignment needs it."""
        return TransportPairCosts(reference, target, losses, None)

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
        """Alternate between matching points and minimising the cost of the matched pairs."""
        return fit_by_alternation(self, reference, held_out, target, transform, rng, scale=scale)

    def step(self, alternation: Alternation, place_map: AffineMap, rows: IntArray, ridge: float) -> AffineMap:
        """Return a better place map for target points matched with these reference rows."""
        return fit_margins(
            alternation.target.features,
            alternation.reference_places[rows],
            alternation.reference.labels[rows],
            alternation.weight,
            start=place_map,
            prior=alternation.start,
            ridge=ridge,
            steps=_STEPS_PER_ROUND,
        )
