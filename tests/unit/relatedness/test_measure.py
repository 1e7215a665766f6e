"""The bound in accuracy: the parts sum to what is lost, and each is what it is called."""

from __future__ import annotations

import numpy as np
import pytest

from transferability import Task, TaskRelatedness


def clusters(seed: int, axes: list[int], n: int = 120, spread: float = 2.0) -> Task:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % len(axes))
    return Task(spread * np.eye(6)[axes][labels] + rng.normal(size=(n, 6)), labels)


@pytest.mark.parametrize("ground_cost", ["exact", "loss", "euclidean"])
@pytest.mark.parametrize("matching", ["assignment", "gradient", "random"])
@pytest.mark.parametrize(
    ("references", "targets"), [([0, 1, 2], [0, 1, 2]), ([0, 1], [0, 1, 2, 3]), ([0, 1, 2, 3], [3, 1])]
)
@pytest.mark.parametrize("how", ["fit", "test", "folds"])
def test_accuracy_terms_sum_to_what_is_lost(
    ground_cost: str, matching: str, references: list[int], targets: list[int], how: str
) -> None:
    extra = {"fit": {}, "test": {"target_test": clusters(2, targets, 70)}, "folds": {"folds": 3}}[how]
    result = TaskRelatedness(0.5, ground_cost=ground_cost, matching=matching).fit(
        clusters(0, references), clusters(1, targets), **extra
    )
    parts = result.accuracy_terms
    lost = sum(float(each.sum()) for each in parts)
    assert lost == pytest.approx(1 - result.transferred_accuracy, abs=1e-12)
    assert sum(result.accuracy_lost.values()) == pytest.approx(lost, abs=1e-12)
    rows = result.per_class()
    for name in parts._fields:
        assert [row[f"accuracy_lost_{name}"] for row in rows] == pytest.approx(getattr(parts, name).tolist())
    # Per class: prior times one minus the accuracy there.
    truth = {"fit": clusters(1, targets), "test": clusters(2, targets, 70), "folds": clusters(1, targets)}[how].labels
    per_class = sum(np.asarray(each) for each in parts)
    wrong = np.bincount(truth[~result.transferred_correct], minlength=len(targets)) / len(truth)
    np.testing.assert_allclose(per_class, wrong, atol=1e-12)


def test_each_part_is_what_it_is_called() -> None:
    task = clusters(0, [0, 1, 2], spread=1.0)
    same = TaskRelatedness(0.5, learn_map=False, matching="identity").fit(task, task)
    assert same.accuracy_terms.on_reference.sum() == pytest.approx(1 - same.transferred_accuracy)
    assert same.accuracy_terms.to_labels.tolist() == [0.0] * 3  # to the last bit, and shown without a sign
    np.testing.assert_allclose(same.accuracy_terms.on_target, 0, atol=1e-12)
    # Two of four equal classes share each reference class: half of what is right cannot be told.
    shared = TaskRelatedness(0.5, matching=[0, 0, 1, 1]).fit(
        clusters(0, [0, 1], spread=9), clusters(1, [0, 0, 1, 1], spread=9)
    )
    assert shared.accuracy_terms.to_labels.sum() == pytest.approx(0.5)
    assert shared.accuracy_terms.on_reference.sum() == pytest.approx(0, abs=1e-12)


def test_without_labels_there_is_no_accuracy() -> None:
    result = TaskRelatedness(0.5).fit(clusters(0, [0, 1]), Task(clusters(1, [0, 1]).features))
    assert result.accuracy_terms is None
    assert result.accuracy_lost is None
