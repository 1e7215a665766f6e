"""With folds and no test part of the reference, its rows are measured by classifiers that have not seen them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.relatedness.results.summary import REFERENCE_ON_FIT
from transferability.relatedness.tasks.problem import Reference, sharing_references

D = 30
CENTRES = 2.0 * np.eye(3, D)


def _task(seed: int, n: int = 90, name: str = "task") -> Task:
    labels = np.arange(n) % 3
    return Task(CENTRES[labels] + np.random.default_rng(seed).normal(size=(n, D)), labels, name)


def _noise(seed: int, n: int = 90) -> Task:
    rng = np.random.default_rng(seed)
    return Task(rng.normal(size=(n, D)), np.arange(n) % 3, "noise")


def test_the_reference_loss_of_labels_that_mean_nothing_is_no_smaller_than_chance() -> None:
    seen = TaskRelatedness().fit(_noise(1), _task(2), target_test=_task(3))
    unseen = TaskRelatedness().fit(_noise(1), _task(2), folds=5)
    assert REFERENCE_ON_FIT in seen.notes
    assert REFERENCE_ON_FIT not in unseen.notes
    assert seen.reference_loss < 1.0
    assert unseen.reference_loss > np.log(3) - 0.02
    assert unseen.certified
    assert unseen.transferred_loss is not None
    assert unseen.bound >= unseen.transferred_loss


def test_the_reference_loss_is_that_of_a_test_part_up_to_sampling() -> None:
    by_folds = TaskRelatedness().fit(_task(1, 300), _task(2), folds=5)
    on_test = TaskRelatedness().fit(_task(1, 300), _task(2), _task(4, 3000), folds=5)
    seen = TaskRelatedness().fit(_task(1, 300), _task(2), target_test=_task(3))
    assert abs(by_folds.reference_loss - on_test.reference_loss) < 0.1
    assert seen.reference_loss < on_test.reference_loss - 0.1


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_every_row_is_measured_once_and_fitted_in_all_other_folds(n_folds: int) -> None:
    task = _task(1, 60)
    whole = Reference.prepare(task, None, standardize=True, calibrate=True, seed=0)
    parts = whole.in_folds(n_folds, standardize=True)
    assert len(parts) == n_folds
    for part in parts:
        assert part.test is not None
        fit, test = ({row.tobytes() for row in each.features} for each in (part.task, part.test))
        assert not fit & test
        assert len(fit | test) == 60
        np.testing.assert_allclose(part.fit.features.mean(axis=0), 0, atol=1e-12)  # by its own fitting rows
    measured = np.concatenate([part.test.features for part in parts if part.test is not None])
    np.testing.assert_array_equal(np.sort(measured, axis=0), np.sort(task.features, axis=0))


def test_a_class_with_fewer_rows_than_folds_is_in_every_part() -> None:
    many = _task(1, 60)
    rows = np.flatnonzero((many.require_labels() > 0) | (np.arange(60) < 7))  # three rows of class 0
    whole = Reference.prepare(many.subset(rows), None, standardize=True, calibrate=True, seed=0)
    parts = whole.in_folds(5, standardize=True)
    assert [id(each.task) for each in parts[3:]] == [id(each.task) for each in parts[:2]]
    for part in parts:
        assert part.test is not None
        assert set(part.test.require_labels()) == set(part.task.require_labels()) == {0, 1, 2}
    result = TaskRelatedness().fit(many.subset(rows), _task(2), folds=5)
    assert result.certified
    assert REFERENCE_ON_FIT not in result.notes


def test_a_class_with_a_single_row_leaves_the_reference_whole_and_the_result_says_so() -> None:
    many = _task(1, 60)
    rows = np.concatenate([np.flatnonzero(many.require_labels() > 0), [0]])
    result = TaskRelatedness().fit(many.subset(rows), _task(2), folds=5)
    assert result.notes == (REFERENCE_ON_FIT,)
    assert repr(result).endswith("%, the reference on its fitting rows)")


def test_copies_of_reference_rows_are_not_measured_by_a_classifier_that_saw_them() -> None:
    few = _noise(1, 45)
    copied = Task(np.repeat(few.features, 6, axis=0), np.repeat(few.require_labels(), 6), "copied")
    assert TaskRelatedness().fit(copied, _task(2), folds=5).reference_loss > np.log(3) - 0.05


def test_a_reference_that_is_shared_gives_what_it_gives_alone() -> None:
    reference, targets = _task(1), [_task(2), _task(3, 60)]
    alone = [TaskRelatedness().fit(reference, each, folds=3) for each in targets]
    with sharing_references():
        shared = [TaskRelatedness().fit(reference, each, folds=3) for each in targets]
    assert [each.bound for each in shared] == [each.bound for each in alone]


@pytest.mark.parametrize("options", [{"union": True}, {"standardize": False, "tau": 1.0}, {"ground_cost": "loss"}])
def test_every_kind_of_fit_measures_references_by_folds(options: dict[str, Any]) -> None:
    results = TaskRelatedness(**options).fit([_noise(1), _noise(2)], _task(3), folds=3).references
    for result in results:
        assert result.reference_loss > np.log(3) - 0.05 if result.reference == "noise" else result.reference_loss > 1
        assert REFERENCE_ON_FIT not in result.notes
        assert result.transferred_loss is not None
        assert result.bound >= result.transferred_loss - 1e-9
