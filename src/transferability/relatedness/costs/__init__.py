"""Ground costs: where a reference point and a target point are compared, at what price, and what map makes it small.

One file each. To add one, subclass `GroundCost` and name the class here.
"""

from __future__ import annotations

from transferability.relatedness.costs.base import GroundCost as GroundCost
from transferability.relatedness.costs.euclidean import EuclideanCost
from transferability.relatedness.costs.exact import ExactCost
from transferability.relatedness.costs.loss import LossCost

__all__ = ["GROUND_COSTS", "GroundCost"]

GROUND_COSTS: dict[str, type[GroundCost]] = {each.name: each for each in (ExactCost, LossCost, EuclideanCost)}
"""By the name that `TaskRelatedness(ground_cost=…)` takes."""
