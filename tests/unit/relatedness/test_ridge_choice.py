"""The strength of the ridge is chosen on rows that the map was not fitted on, where there are such rows."""

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.relatedness.costs.alternating import _DEFAULT_RIDGE

TURN = np.linalg.qr(np.random.default_rng(7).normal(size=(6, 6)))[0]


def task(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 3
    centres = 2 * np.random.default_rng(9).normal(size=(3, 6))
    return centres[labels] + np.random.default_rng(seed).normal(size=(n, 6)), labels


@pytest.mark.parametrize("ground_cost", ["loss", "euclidean"])
def test_a_target_that_is_turned_wants_a_weak_ridge(ground_cost: str) -> None:
    reference, (features, labels) = Task(*task(0, 240)), task(1, 240)
    estimator = TaskRelatedness(tau=0.5, ground_cost=ground_cost)  # type: ignore[arg-type]
    assert estimator.fit(reference, Task(features @ TURN, labels)).ridge < _DEFAULT_RIDGE / 10
    few = Task(features[:3] @ TURN, labels[:3])  # a row of each class: none is left to choose by
    assert estimator.fit(reference, few).ridge == _DEFAULT_RIDGE
