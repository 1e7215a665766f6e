"""Ground costs: where a reference point and a target point are compared, at what price, and what map makes it small.

One file each. To add one, subclass `GroundCost` and name the class in `relatedness.choices`.
"""

from __future__ import annotations

from transferability.relatedness import choices
from transferability.relatedness.costs.base import GroundCost as GroundCost

__all__ = ["GROUND_COSTS", "GroundCost"]

GROUND_COSTS: dict[str, type[GroundCost]] = {
    name: choices.load_class(choice.samples) for name, choice in choices.GROUND_COSTS.items() if choice.samples
}
"""By the name that `TaskRelatedness(ground_cost=…)` takes; those between samples."""
