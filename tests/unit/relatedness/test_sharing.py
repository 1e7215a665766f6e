"""Fewer reference than target classes: which of them share one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from transferability.relatedness.matching import assign_classes


class Known:
    """Costs that are all exact."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def make_exact(self, targets: np.ndarray, references: np.ndarray) -> bool:
        return False


def total(costs: np.ndarray, priors: np.ndarray, chosen: np.ndarray) -> float:
    """Return the bound's part that the choice decides: costs, and the entropy of a target class given its reference."""
    mass = np.bincount(chosen, weights=priors, minlength=costs.shape[1])
    return float(
        sum(p * (costs[i, j] - np.log(p / mass[j])) for i, (p, j) in enumerate(zip(priors, chosen, strict=True)))
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_choice_is_the_best_of_all_for_small_problems(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_targets = int(rng.integers(3, 7))
    n_references = int(rng.integers(2, n_targets))
    costs, priors = rng.exponential(0.5, size=(n_targets, n_references)), rng.dirichlet(np.full(n_targets, 2.0))
    best = min(
        total(costs, priors, np.array(each)) for each in itertools.product(range(n_references), repeat=n_targets)
    )
    chosen = assign_classes(Known(costs), priors)
    assert total(costs, priors, chosen) == pytest.approx(best, rel=1e-12)


def test_hundreds_of_classes_share_in_reasonable_time_and_no_worse_than_each_at_its_cheapest() -> None:
    rng = np.random.default_rng(0)
    costs, priors = rng.exponential(0.5, size=(200, 20)), np.full(200, 1 / 200)
    chosen = assign_classes(Known(costs), priors)
    assert total(costs, priors, chosen) <= total(costs, priors, costs.argmin(axis=1))
