"""Label maps that are given as shares, with every solver, and what reaches Algorithm 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.errors import OptionError
from transferability.relatedness.solvers.algorithm1 import run_algorithm1


def clusters(seed: int, axes: list[int], n: int = 96, spread: float = 3.0) -> Task:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % len(axes))
    return Task(spread * np.eye(6)[axes][labels] + rng.normal(size=(n, 6)), labels)


FINE, COARSE = clusters(0, [0, 1, 2, 3]), Task(clusters(1, [0, 1, 2, 3]).features, clusters(1, [0, 1, 2, 3]).labels % 2)
SHARES = np.array([[1, 0, 1, 0], [0, 2, 0, 2]])


@pytest.mark.parametrize("ground_cost", ["exact", "loss", "euclidean"])
@pytest.mark.parametrize("shares", [SHARES, SHARES.tolist(), 0.1 * SHARES])
def test_several_reference_classes_serve_one_target_class(ground_cost: str, shares: Any) -> None:
    """The paper's setting of 20 reference classes for ten of the target: two each, and no label mismatch."""
    tests = {"reference_test": clusters(2, [0, 1, 2, 3], 60), "target_test": COARSE.subset(np.arange(40))}
    options = {"ground_cost": ground_cost, "learn_map": False}
    result = TaskRelatedness("scaled", matching=shares, **options).fit(FINE, COARSE, **tests)
    np.testing.assert_allclose(result.transform.B, [[1, 0, 1, 0], [0, 1, 0, 1]])
    np.testing.assert_allclose(result.transform.D, 0.25)
    assert result.label_mismatch == pytest.approx(0, abs=1e-12)
    assert result.certified
    assert result.bound >= result.transferred_loss - 1e-9
    one_each = TaskRelatedness("scaled", matching=[0, 1], **options).fit(FINE, COARSE, **tests)
    assert result.transferred_accuracy > one_each.transferred_accuracy  # one class cannot stand for two corners
    learned = TaskRelatedness("scaled", ground_cost=ground_cost, matching=shares).fit(FINE, COARSE, **tests)
    assert learned.certified
    assert learned.bound >= learned.transferred_loss - 1e-9


@pytest.mark.parametrize("solver", ["alternating", "sgd"])
def test_shares_with_a_common_class_cost_entropy(solver: str) -> None:
    shares = np.array([[0.5, 0.5, 0, 0], [0.5, 0, 0.25, 0.25]])
    options = {"epochs": 5} if solver == "sgd" else {}
    result = TaskRelatedness(0.5, solver=solver, matching=shares, **options).fit(FINE, COARSE)
    joint = COARSE.class_priors[:, None] * shares
    B = joint / joint.sum(axis=0)
    np.testing.assert_allclose(result.transform.B, B, atol=1e-12)
    used = joint > 0
    assert result.label_mismatch == pytest.approx(-(joint[used] * np.log(B[used])).sum(), rel=1e-9)
    if solver == "alternating":
        assert result.bound >= result.transferred_loss - 1e-9


def test_shares_that_are_one_class_each_are_classes() -> None:
    one = TaskRelatedness(0.5, matching=[3, 1]).fit(FINE, COARSE)
    other = TaskRelatedness(0.5, matching=np.eye(4)[[3, 1]]).fit(FINE, COARSE)
    assert one.bound == other.bound
    np.testing.assert_array_equal(one.transform.map, other.transform.map)


def test_statistics_know_no_mixtures() -> None:
    with pytest.raises(OptionError, match="`matching` must"):
        TaskRelatedness(0.5, solver="statistics", matching=SHARES).fit(FINE, COARSE)


def test_epochs_and_batch_reach_algorithm_1() -> None:
    seen = []

    def recorded(*args: Any, **options: Any) -> Any:
        found = run_algorithm1(*args, **options)
        seen.append((options["epochs"], options["batch_size"], found.iterations))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transferability.relatedness.solvers.algorithm1.run_algorithm1", recorded)
        short = TaskRelatedness(0.5, solver="sgd", matching=[0, 1], epochs=3, batch_size=32).fit(FINE, COARSE)
        longer = TaskRelatedness(0.5, solver="sgd", matching=[0, 1], epochs=40, batch_size=32).fit(FINE, COARSE)
    assert [each[:2] for each in seen] == [(3, 32), (40, 32)]
    assert seen[1][2] > seen[0][2]
    assert longer.history[-1] < short.history[-1]  # more steps bring the reference closer


def test_a_class_that_was_never_guessed_is_not_impossible() -> None:
    """Two target classes share a reference class: guesses know the first only, the test part has both."""
    blind = Task(FINE.features, class_names=["a", "b", "c"])
    test = Task(FINE.features, np.array([0, 1, 2, 2])[FINE.labels])
    result = TaskRelatedness(0.5, matching=[0, 0, 1]).fit(FINE, blind, target_test=test)
    assert 1 not in result.pseudo_labels
    assert np.isfinite([result.bound, result.transferred_loss]).all()
    assert result.bound >= result.transferred_loss - 1e-9


def test_algorithm_1_learns_labels_of_classes_that_were_never_guessed() -> None:
    """Every row lies on one reference class: two of three target classes are guessed of none."""
    rows = FINE.features[FINE.labels == 1]
    rows = rows.mean(0) + 0.01 * (rows - rows.mean(0))
    blind, test = Task(rows, class_names=["a", "b", "c"]), Task(rows, np.arange(len(rows)) % 3)
    model = TaskRelatedness(0.5, solver="sgd", matching="gradient", epochs=30, batch_size=32, standardize=False)
    result = model.fit(FINE, blind, target_test=test)
    assert len(result.class_map) == 3
    assert len(np.unique(result.pseudo_labels)) == 1
    assert np.isfinite([result.bound, result.transferred_loss]).all()
