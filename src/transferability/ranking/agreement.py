"""How well a ranking agrees with measured accuracies: see `transferability.agreement`."""

from __future__ import annotations

from transferability.agreement import Agreement as Agreement
from transferability.agreement import Estimate as Estimate
from transferability.agreement import agreement as agreement
from transferability.agreement import top_k_regret as top_k_regret

__all__ = ["Agreement", "Estimate", "agreement", "top_k_regret"]
