"""Where and how reference and target points are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.certificate import Certificate, certify_sample, losses_of
from transferability.relatedness.feature_map import AffineMap
from transferability.relatedness.label_transform import LabelTransform
from transferability.relatedness.lipschitz import SoftmaxClassifier
from transferability.transport.cost import euclidean_cost, loss_cost
from transferability.transport.coupling import MAX_POINTS

__all__ = ["Geometry", "Sample"]


class Sample(NamedTuple):
    """Standardised features and labels of one part of a task."""

    features: FloatArray  # (n, d)
    labels: IntArray  # (n,)

    def take(self, rows: IntArray) -> Sample:
        """Return the sample on these rows."""
        return Sample(self.features[rows], self.labels[rows])


class Geometry(NamedTuple):
    """The reference classifier and the ground cost it is compared with.

    Points are compared at *places*. For the loss cost a place is a vector of logits; for the Euclidean one it is a
    point of the reference's space (target points are pulled there by the feature map) or of the target's (reference
    points are pushed there by its inverse, as in the paper).
    """

    classifier: SoftmaxClassifier
    ground_cost: str  # "loss" | "euclidean"
    space: str  # "reference" | "target"
    tau: float

    @property
    def cost_tau(self) -> float | None:
        """The factor of the Euclidean cost; None for the loss cost, which has none."""
        return self.tau if self.ground_cost == "euclidean" else None

    def places(self, reference: Sample, target: Sample, feature_map: AffineMap) -> tuple[FloatArray, FloatArray]:
        """Return the places of both samples."""
        if self.ground_cost == "loss":
            logit_map = feature_map.then(self.classifier.weights, self.classifier.intercept)
            return self.classifier.logits(reference.features), logit_map.apply(target.features)
        if self.space == "target":
            return feature_map.inverse().apply(reference.features), target.features
        return reference.features, feature_map.apply(target.features)

    def cost(
        self, reference_places: FloatArray, reference_labels: IntArray, target_places: FloatArray
    ) -> Callable[[IntArray, IntArray], FloatArray]:
        """Return the ground cost as a function of rows."""
        if self.ground_cost == "loss":
            return lambda r, c: loss_cost(reference_places[r], reference_labels[r], target_places[c])
        return lambda r, c: euclidean_cost(reference_places[r], target_places[c], self.tau)

    def losses(self, reference: Sample) -> FloatArray:
        """Return the loss of each reference sample."""
        return losses_of(self.classifier.logits(reference.features), reference.labels)

    def certify(
        self,
        reference: Sample,
        target: Sample,
        feature_map: AffineMap,
        transform: LabelTransform,
        *,
        max_points: int = MAX_POINTS,
        rng: np.random.Generator | None = None,
    ) -> Certificate:
        """Measure the bound on one sample of each task."""
        left, right = self.places(reference, target, feature_map)
        return self.certify_places(left, right, reference, target.labels, transform, max_points=max_points, rng=rng)

    def certify_places(
        self,
        reference_places: FloatArray,
        target_places: FloatArray,
        reference: Sample,
        target_labels: IntArray,
        transform: LabelTransform,
        *,
        max_points: int = MAX_POINTS,
        rng: np.random.Generator | None = None,
    ) -> Certificate:
        """Measure the bound between points that are already where they are compared."""
        return certify_sample(
            self.cost(reference_places, reference.labels, target_places),
            self.losses(reference),
            reference.labels,
            target_labels,
            transform,
            max_points=max_points,
            rng=rng,
        )
