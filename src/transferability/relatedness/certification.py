"""Whether a bound is certified, and the sentence that says why or why not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transferability._array import FloatArray
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.solvers.solution import SampleSolution

__all__ = ["certification"]


def certification(solutions: Sequence[SampleSolution], *, labelled: bool) -> tuple[bool, str]:
    """Return whether the bound is a theorem on the sample it was measured on, and why or why not.

    Parameters
    ----------
    solutions : sequence of SampleSolution
        All that measured a part of the sample: with folds each must have a certificate of its own.
    labelled : bool
        Whether the sample's labels are known.
    """
    cost = solutions[0].cost
    if not labelled:
        return False, (
            "Not certified: the target's labels were guessed, so the bound speaks of the guesses, not of the truth."
        )
    if cost.in_logits:
        return True, cost.certificate
    if cost.space == "reference":
        largest = max(each.cost.classifier.certified_tau for each in solutions)
        return True, f"Certified: −log h_R is {largest:.4g}-Lipschitz everywhere."
    if not all(each.push is not None or _returns(each.feature_map, each.cost.classifier.weights) for each in solutions):
        return False, (
            "Not certified: the map to the reference cannot be undone in directions that the classifier uses, so "
            "the reference's points do not keep their loss. Use space='reference' for a bound that holds."
        )
    for each in solutions:
        if each.push is not None or each.lipschitz_in_target > each.cost.tau * (1 + 1e-9):
            return False, (
                f"Not certified: the bound uses τ = {each.cost.tau:.4g}, but after the map the classifier's constant "
                f"is {each.lipschitz_in_target:.4g}. Use space='reference' for a bound that holds."
            )
    largest = max(each.lipschitz_in_target for each in solutions)
    return True, f"Certified: −log h_R(A⁻¹ z) is {largest:.4g}-Lipschitz, no more than τ."


def _returns(feature_map: AffineMap, weights: FloatArray) -> bool:
    """Whether points pushed through the pseudo-inverse come back with the logits they had: ``W Ā Ā⁺ = W``."""
    there_and_back = (weights @ feature_map.matrix) @ feature_map.inverse().matrix
    return bool(np.abs(there_and_back - weights).max() <= 1e-10 * np.abs(weights).max())
