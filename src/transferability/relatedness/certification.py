"""Whether a bound is certified, and the sentence that says why or why not."""

from __future__ import annotations

import numpy as np

from transferability._array import FloatArray
from transferability.relatedness.feature_map import AffineMap
from transferability.relatedness.solution import Solution

__all__ = ["certification"]


def certification(solution: Solution, certified_tau: float, *, labelled: bool) -> tuple[bool, str]:
    """Return whether the bound is a theorem on the sample it was measured on, and why or why not."""
    cost = solution.cost
    if not labelled:
        return False, (
            "Not certified: the target's labels were guessed, so the bound speaks of the guesses, not of the truth."
        )
    if cost.in_logits:
        return True, cost.certificate
    if cost.space == "reference":
        return True, f"Certified: −log h_R is {certified_tau:.4g}-Lipschitz everywhere."
    if solution.push is None and not _returns(solution.feature_map, cost.classifier.weights):
        return False, (
            "Not certified: the map to the reference cannot be undone in directions that the classifier uses, so "
            "the reference's points do not keep their loss. Use space='reference' for a bound that holds."
        )
    allowed = cost.tau * (1 + 1e-9)
    if solution.push is None and certified_tau <= allowed:
        return True, f"Certified: −log h_R(A⁻¹ z) is {certified_tau:.4g}-Lipschitz, no more than τ."
    return False, (
        f"Not certified: the bound uses τ = {cost.tau:.4g}, but after the map the classifier's constant "
        f"is {certified_tau:.4g}. Use space='reference' for a bound that holds."
    )


def _returns(feature_map: AffineMap, weights: FloatArray) -> bool:
    """Whether points pushed through the pseudo-inverse come back with the logits they had: ``W Ā Ā⁺ = W``."""
    there_and_back = (weights @ feature_map.matrix) @ feature_map.inverse().matrix
    return bool(np.abs(there_and_back - weights).max() <= 1e-10 * np.abs(weights).max())
