"""Features that differ by rounding: results move about as much as the features do.

Where an optimiser stops one step earlier or later, a result may jump by the accuracy of the solver: the trained
classifiers are a hundredth of a nat from the optimum at most, and so small are the jumps.
"""

from __future__ import annotations

import numpy as np
import pytest

from transferability import Relatedness, Task, TaskRelatedness

ROUNDING = 2e-7  # relative, as between two libraries in single precision
TYPICAL = 100 * ROUNDING  # of the bound and the loss, relative; 20 were measured
JUMP = 2e-2  # 1.1e-2 were measured for the loss cost, 2.3e-3 for the exact one


def part(seed: int, n: int, *, turned: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    features = 0.5 * np.random.default_rng(99).normal(size=(4, 20))[labels] + rng.normal(size=(n, 20))
    turn = np.linalg.qr(np.random.default_rng(98).normal(size=(20, 20)))[0] if turned else np.eye(20)
    return features @ turn, labels


def fit(seed: int, ground_cost: str, noise: int | None) -> Relatedness:
    rng = np.random.default_rng(noise)
    tasks = []
    for k, turned in enumerate((False, True, False, True)):
        features, labels = part(seed + 50 * k, 200, turned=turned)
        relative = 0 if noise is None else ROUNDING * rng.uniform(-1, 1, size=features.shape)
        tasks.append(Task(features * (1 + relative), labels))
    return TaskRelatedness(ground_cost=ground_cost).fit(*tasks)


@pytest.mark.parametrize("ground_cost", ["exact", "loss", "euclidean"])
def test_results_move_no_more_than_rounding_and_tolerances_do(ground_cost: str) -> None:
    moves, accuracies = [], []
    for seed in range(6):
        plain, rounded = fit(seed, ground_cost, None), fit(seed, ground_cost, 1)
        moves.append(abs(rounded.bound / plain.bound - 1))
        moves.append(abs(rounded.transferred_loss / plain.transferred_loss - 1))
        accuracies.append(abs(rounded.transferred_accuracy - plain.transferred_accuracy))
        assert rounded.ridge == plain.ridge
        np.testing.assert_array_equal(rounded.class_map, plain.class_map)
    assert np.median(moves) < TYPICAL
    assert max(moves) < JUMP
    assert np.median(accuracies) == 0
    assert max(accuracies) < 0.02
