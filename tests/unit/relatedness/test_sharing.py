"""References that serve several targets: trained once, with the numbers that each target gets alone."""

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.relatedness.tasks import problem
from transferability.relatedness.tasks.problem import sharing_references


def task(seed, n_classes=4, n=160, d=12):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return Task(2 * np.random.default_rng(seed % 3).normal(size=(n_classes, d))[y] + rng.normal(size=(n, d)), y)


@pytest.fixture
def fits(monkeypatch):
    """Return the list of what was trained: the number of rows of each fit."""
    done = []
    fit_rows = problem.fit_rows
    monkeypatch.setattr(
        problem, "fit_rows", lambda rows, *a, **k: done.append(len(rows.coordinates)) or fit_rows(rows, *a, **k)
    )
    return done


@pytest.mark.parametrize("options", [{}, {"tau": "auto"}, {"ground_cost": "loss"}])
def test_every_target_gets_the_numbers_that_it_gets_alone(options, fits):
    references = [task(0, 5, n=100, d=6), task(1, 3, n=100, d=6)]
    targets = [task(3, 3, n=60, d=6), task(5, 2, n=60, d=6)]
    estimator = TaskRelatedness(**options)
    alone = [estimator.fit(references, target, folds=3) for target in targets]
    n_alone = len(fits)
    fits.clear()
    with sharing_references():
        together = [estimator.fit(references, target, folds=3) for target in targets]
    assert len(fits) < n_alone
    for one, other in zip(alone, together, strict=True):
        assert one.bound == other.bound
        assert [each.bound for each in one.references] == [each.bound for each in other.references]
        np.testing.assert_array_equal(one.transferred_losses, other.transferred_losses)
        np.testing.assert_array_equal(one.reference_classifier.weights, other.reference_classifier.weights)
    fits.clear()
    estimator.fit(references, targets[0], folds=3)
    assert fits  # nothing is kept beyond the block


def test_classifiers_of_all_classes_are_trained_for_the_first_target_only(fits):
    reference, estimator = task(0), TaskRelatedness()
    with sharing_references():
        estimator.fit(reference, task(3))
        first = len(fits)
        estimator.fit(reference, task(4))
    assert first > 0
    assert len(fits) == first


def test_a_reference_with_another_test_part_seed_or_scale_is_another(fits):
    reference, target = task(0), task(3)
    with sharing_references():
        for estimator, test in (
            (TaskRelatedness(), None),
            (TaskRelatedness(seed=1), None),
            (TaskRelatedness(scale=False), None),
            (TaskRelatedness(standardize=False), None),
            (TaskRelatedness(), task(0, n=80)),
        ):
            fits.clear()
            estimator.fit(reference, target, test)
            assert fits
