"""Fewer reference than target classes: the sharing that is found is the best of all there are."""

import itertools

import numpy as np
import pytest

from transferability.relatedness.labels.matching import _best_responses, _cheapest_sharing, _shared_cost


@pytest.mark.parametrize("seed", range(6))
def test_no_sharing_of_few_classes_is_cheaper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, priors = rng.exponential(2, size=(6, 3)), rng.dirichlet(np.full(6, 2.0))
    found = _cheapest_sharing(costs, priors, None)
    every = (_shared_cost(costs, priors, np.array(chosen)) for chosen in itertools.product(range(3), repeat=6))
    assert _shared_cost(costs, priors, found) <= min(every) + 1e-12


@pytest.mark.parametrize("seed", range(6))
def test_no_class_alone_gains_by_another_choice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, priors = rng.exponential(2, size=(12, 5)), rng.dirichlet(np.full(12, 2.0))
    found = _best_responses(costs, priors, rng.integers(5, size=12))
    for i, j in itertools.product(range(12), range(5)):
        other = found.copy()
        other[i] = j
        assert _shared_cost(costs, priors, found) <= _shared_cost(costs, priors, other) + 1e-9
