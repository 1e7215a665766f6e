"""Features that differ by rounding: results move about as much as the features do.

Where an optimiser stops one step earlier or later, a result may jump by the accuracy of the solver: the trained
classifiers are a hundredth of a nat from the optimum at most, and so small are the jumps.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferability import Relatedness, Task, TaskRelatedness
from transferability.relatedness.tasks.sample import stratified_folds

ROUNDING = 2e-7  # relative, as between two libraries in single precision
TYPICAL = 100 * ROUNDING  # of the bound and the loss, relative; 20 were measured
JUMP = 2e-2  # 1.1e-2 were measured for the loss cost, 2.3e-3 for the exact one


def part(seed: int, n: int, *, turned: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    features = 0.5 * np.random.default_rng(99).normal(size=(4, 20))[labels] + rng.normal(size=(n, 20))
    turn = np.linalg.qr(np.random.default_rng(98).normal(size=(20, 20)))[0] if turned else np.eye(20)
    return features @ turn, labels


def fit(seed: int, ground_cost: str, noise: int | None, how: str = "test") -> Relatedness:
    rng = np.random.default_rng(noise)
    tasks = []
    for k, turned in enumerate((False, True, False, True)):
        features, labels = part(seed + 50 * k, 200, turned=turned)
        relative = 0 if noise is None else ROUNDING * rng.uniform(-1, 1, size=features.shape)
        tasks.append(Task(features * (1 + relative), labels))
    model = TaskRelatedness(ground_cost=ground_cost)
    if how == "own half":
        return model.fit(None, tasks[1])
    return model.fit(*tasks) if how == "test" else model.fit(*tasks[:3], folds=3)


@pytest.mark.parametrize(
    ("ground_cost", "how"),
    [("exact", "test"), ("loss", "test"), ("euclidean", "test"), ("exact", "folds"), ("exact", "own half")],
)
def test_results_move_no_more_than_rounding_and_tolerances_do(ground_cost: str, how: str) -> None:
    moves, accuracies = [], []
    for seed in range(4 if how == "test" else 2):
        plain, rounded = fit(seed, ground_cost, None, how), fit(seed, ground_cost, 1, how)
        moves.append(abs(rounded.bound / plain.bound - 1))
        moves.append(abs(rounded.transferred_loss / plain.transferred_loss - 1))
        accuracies.append(abs(rounded.transferred_accuracy - plain.transferred_accuracy))
        assert rounded.ridge == plain.ridge
        np.testing.assert_array_equal(rounded.class_map, plain.class_map)
    assert np.median(moves) < TYPICAL
    assert max(moves) < JUMP
    assert np.median(accuracies) == 0
    assert max(accuracies) < 0.02


def test_maps_of_few_rows_with_many_features_move_no_more_than_rounding() -> None:
    """The loss cost's map of 120 rows in 200 dimensions, where nearly every ridge fits: bounds moved by a fifth."""
    turn = np.linalg.qr(np.random.default_rng(98).normal(size=(200, 200)))[0]
    labels = np.arange(120) % 3
    centres = 0.3 * np.random.default_rng(99).normal(size=(3, 200))

    def bound(seed: int, noise: int | None) -> float:
        rng, tasks = np.random.default_rng(noise), []
        for k in range(4):
            features = centres[labels] + np.random.default_rng(seed + 50 * k).normal(size=(120, 200))
            relative = 0 if noise is None else ROUNDING * rng.uniform(-1, 1, size=features.shape)
            tasks.append(Task((features @ turn if k % 2 else features) * (1 + relative), labels))
        return TaskRelatedness(ground_cost="loss").fit(*tasks).bound

    for seed in (0, 1):
        assert bound(seed, 1) == pytest.approx(bound(seed, None), rel=JUMP)


@given(
    n=st.integers(2, 60),
    n_features=st.integers(1, 5),
    n_classes=st.integers(1, 3),
    n_folds=st.integers(2, 4),
    copies=st.integers(1, 3),
    offset=st.sampled_from([0.0, 30.0]),
    seed=st.integers(0, 2**20),
)
def test_folds_do_not_depend_on_rounding(
    n: int, n_features: int, n_classes: int, n_folds: int, copies: int, offset: float, seed: int
) -> None:
    """Nor on the precision, nor on the unit; and a row that was computed twice stays on one side.

    Rounding is told from a difference by its share of a feature's spread, so the spread is one at any number of rows.
    """
    rng = np.random.default_rng(seed)
    rows = np.tile(np.arange(n), copies)
    labels = rng.integers(n_classes, size=n)[rows]
    drawn = rng.normal(size=(n, n_features))
    features = np.round(offset + 2 * (drawn - drawn.min(axis=0)) / np.ptp(drawn, axis=0), 2)[rows]
    rounded = features * (1 + ROUNDING * rng.uniform(-1, 1, size=features.shape))
    folds = stratified_folds(labels, features, n_folds, seed % 5)
    for others in (rounded, features.astype(np.float32), 1e-3 * rounded):
        for (_, one), (_, other) in zip(folds, stratified_folds(labels, others, n_folds, seed % 5), strict=True):
            np.testing.assert_array_equal(one, other)
    enough = [k for k in range(n_classes) if len(np.unique(features[labels == k], axis=0)) >= 2 * n_folds]
    for _, test in stratified_folds(labels, rounded, n_folds, seed % 5):
        own = test[np.isin(labels[test], enough)]
        assert np.isin(np.flatnonzero(np.isin(rows, rows[own])), test).all()


@pytest.mark.parametrize("how", ["folds", "own half"])
def test_another_order_of_the_rows_is_another_draw_whose_interval_overlaps(how: str) -> None:
    for seed in range(2):
        features, labels = part(seed + 50, 200, turned=True)
        reference = None if how == "own half" else Task(*part(seed, 200, turned=False))
        folds = None if how == "own half" else 3
        first, other = (
            TaskRelatedness().fit(reference, Task(features[order], labels[order]), folds=folds)
            for order in (np.arange(200), np.random.default_rng(seed).permutation(200))
        )
        for quantity in ("transferred_accuracy", "transferred_loss"):
            here, there = first.interval(quantity), other.interval(quantity)
            assert here is not None
            assert there is not None
            assert max(here.low, there.low) < min(here.high, there.high)
        assert abs(other.bound - first.bound) < 0.2 * first.bound
