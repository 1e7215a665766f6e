"""Both tasks about the target's mean, in the target's own unit, where features are not standardised.

Maps are fitted there and taken back: what the strength of a ridge means, and how well a descent converges, then depends
neither on the unit of the features nor on where their origin lies. The shift and the factor are the same for both
tasks, so features that are left as they are stay so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np

from transferability._array import FloatArray
from transferability.relatedness.costs.base import GroundCost
from transferability.relatedness.maps.affine_map import AffineMap
from transferability.relatedness.tasks.sample import Sample
from transferability.relatedness.tasks.standardize import Scaler

__all__ = ["Normalized"]


@dataclass(frozen=True, eq=False)
class Normalized:
    """``z ↦ (z − mean) / unit`` for target and reference."""

    unit: float  # root of the mean variance of the target's features, but for those that are constant
    target_mean: FloatArray  # (d_T,)
    reference_mean: FloatArray  # (d_R,): the same place, filled up or cut where dimensions differ

    @classmethod
    def by(cls, target: Sample, n_reference_features: int) -> Self:
        """Measure the target's fitting part."""
        level = Scaler.levelled(target.features)
        there = AffineMap.identity(n_reference_features, len(level.mean)).apply(level.mean[None])[0]
        return cls(float(level.scale[0]), level.mean, there)

    def target(self, sample: Sample) -> Sample:
        """Return rows of the target."""
        return Sample((sample.features - self.target_mean) / self.unit, sample.labels)

    def reference(self, sample: Sample) -> Sample:
        """Return rows of the reference."""
        return Sample((sample.features - self.reference_mean) / self.unit, sample.labels)

    def cost(self, cost: GroundCost) -> GroundCost:
        """Return the cost whose classifier says of these rows what `cost` says of the rows as they were."""
        classifier = dataclasses.replace(
            cost.classifier,
            weights=self.unit * cost.classifier.weights,
            intercept=cost.classifier.intercept + cost.classifier.weights @ self.reference_mean,
            certified_tau=self.unit * cost.classifier.certified_tau,
        )
        return dataclasses.replace(cost, classifier=classifier, tau=self.unit * cost.tau)

    def back(self, feature_map: AffineMap) -> AffineMap:
        """Return the map of features as they were, of a map between these."""
        moved = feature_map.apply(self.target_mean[None])[0] - feature_map.offset
        offset = self.unit * feature_map.offset + self.reference_mean - moved
        d_reference, d_target = feature_map.shape
        nothing = np.zeros((d_reference, 0)), np.zeros((0, d_target))
        return feature_map.corrected(*nothing, offset - feature_map.offset)
