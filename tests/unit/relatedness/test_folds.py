"""Cross-fitting: every row is measured once, by a classifier that knows neither the row nor its label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from transferability import Relatedness, Task, TaskRelatedness
from transferability.errors import LabelError, OptionError, TaskError
from transferability.relatedness.measure import Measurement, pool
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.tasks.sample import equal_rows, stratified_folds

GROUND_COSTS = ["exact", "loss", "euclidean"]


def clusters(seed: int, n: int = 60, n_classes: int = 3, d: int = 5, spread: float = 2.0, name: str = "task") -> Task:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes)
    return Task(spread * np.eye(n_classes, d)[labels] + rng.normal(size=(n, d)), labels, name=name)


REFERENCE, TARGET = clusters(0, name="reference"), clusters(1, name="target")


def same_transform(one: Relatedness, other: Relatedness) -> bool:
    return all(
        np.array_equal(getattr(one.transform, name), getattr(other.transform, name))
        for name in ("map", "offset", "B", "D", "weights", "intercept")
    )


# ── each row once ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("n_folds", [2, 3, 7])
def test_folds_partition_the_rows_and_spread_the_classes(n_folds: int) -> None:
    folds = stratified_folds(TARGET.labels, TARGET.features, n_folds, seed=3)
    tested = np.concatenate([rows for _, rows in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(60))
    for fit, test in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([fit, test])), np.arange(60))
        counts = np.bincount(TARGET.labels[test], minlength=3)
        assert counts.max() - counts.min() <= 1


def test_equal_rows_of_a_class_stay_together_where_there_are_enough_others() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    features = rng.normal(size=(20, 3))[(np.arange(80) // 2) % 20].astype(np.float32)  # 20 different rows a class
    features[labels == 1] = np.where(features[labels == 1] == features[1], 0.0, features[labels == 1])
    for seed in range(5):
        for _, test in stratified_folds(labels, features, 5, seed):
            elsewhere = np.setdiff1d(np.arange(80), test)
            for row in test:
                twins = (features[elsewhere] == features[row]).all(axis=1) & (labels[elsewhere] == labels[row])
                assert not twins.any()


def test_equal_rows_stay_together_though_a_feature_is_zero_throughout() -> None:
    rng = np.random.default_rng(3)
    features = np.repeat(rng.normal(size=(20, 4)), 2, axis=0)
    features[:, 1] = 0.0
    for _, test in stratified_folds(np.arange(40) // 2 % 2, features, 4, 0):
        assert set(test) == {row ^ 1 for row in test}  # each with its copy


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e8])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_rows_far_from_zero_are_no_copies_for_that(offset: float, unit: float) -> None:
    """Rounding is relative to the size of a feature; rows that differ by a millionth of it can be as far as others."""
    features = unit * (np.random.default_rng(0).normal(size=(200, 4)) + offset)
    features[:, 3] = 7.0 * unit  # a dead feature
    labels = np.arange(200) % 3
    np.testing.assert_array_equal(equal_rows(features, labels), np.arange(200))
    twice = np.concatenate([features, np.nextafter(features, np.inf)])
    np.testing.assert_array_equal(equal_rows(twice, np.tile(labels, 2)), np.tile(np.arange(200), 2))


def test_a_row_that_is_far_larger_than_all_others_makes_no_copies_of_them() -> None:
    features = np.random.default_rng(0).normal(size=(60, 4))
    features[:, 3] = np.where(np.arange(60) < 5, features[:, 3], 0.0)  # a feature that is mostly zero
    features[7] = 1e9
    np.testing.assert_array_equal(equal_rows(features, np.arange(60) % 3), np.arange(60))
    features[30] = features[9]
    assert equal_rows(features, np.arange(60) % 3)[30] == 9


def test_one_feature_far_from_zero_hides_no_copies() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 64)) + 1200 * (np.arange(64) == 5)
    again = features * (1 + 4e-7 * rng.uniform(-1, 1, size=features.shape))
    labels = np.tile(np.arange(100) % 3, 2)
    np.testing.assert_array_equal(equal_rows(np.concatenate([features, again]), labels), np.tile(np.arange(100), 2))


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("n_folds", [2, 5, 6])
def test_no_duplicates_empty_a_fold_or_a_class(labelled: bool, n_folds: int) -> None:
    """A class of two equal pictures, and features that are all the same."""
    labels = np.array([0] * 30 + [1] * 2)
    for features in (np.ones((32, 4)), np.vstack([np.random.default_rng(0).normal(size=(30, 4)), np.ones((2, 4))])):
        folds = stratified_folds(labels if labelled else None, features, n_folds, 0)
        assert min(len(test) for _, test in folds) > 0
        np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(32))
        if labelled:
            assert all(set(labels[fit]) == {0, 1} for fit, _ in folds)
    result = TaskRelatedness(0.5).fit(REFERENCE, Task(np.ones((32, 4)), labels), folds=n_folds)
    assert result.certified
    assert result.bound >= result.transferred_loss - 1e-9


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_pooled_numbers_are_those_of_fits_fold_by_fold(ground_cost: str) -> None:
    """Every fold is a fit of its own with its rows as test parts; together they are the mean over all rows."""
    folds = stratified_folds(TARGET.labels, TARGET.features, 4, seed=0)
    reference_folds = stratified_folds(REFERENCE.labels, REFERENCE.features, 4, seed=0)
    model = TaskRelatedness(0.5, ground_cost=ground_cost)
    result = model.fit(REFERENCE, TARGET, folds=folds)
    alone = [
        model.fit(REFERENCE.subset(their_fit), TARGET.subset(fit), REFERENCE.subset(their_test), TARGET.subset(test))
        for (fit, test), (their_fit, their_test) in zip(folds, reference_folds, strict=True)
    ]
    weights = np.array([len(test) for _, test in folds]) / 60
    assert result.bound == pytest.approx(weights @ [each.bound for each in alone], rel=1e-12)
    assert result.transferred_loss == pytest.approx(weights @ [each.transferred_loss for each in alone], rel=1e-6)
    for each, (_, test) in zip(alone, folds, strict=True):
        np.testing.assert_array_equal(result.transferred_losses[test], each.transferred_losses)
        np.testing.assert_array_equal(result.transferred_correct[test], each.transferred_correct)
    assert result.certified
    assert result.bound >= result.transferred_loss
    assert result.evaluated_on == "folds"
    per_point = result.certificate_terms.per_point
    assert per_point.shape == (60,)
    assert per_point.mean() == pytest.approx(result.bound, rel=1e-9)
    np.testing.assert_allclose(result.certificate_terms.priors, TARGET.class_priors)
    # The transformation is fitted to all rows, and that fit's bound is told apart.
    whole = model.fit(REFERENCE, TARGET)
    assert same_transform(result, whole)
    assert result.bound != whole.bound
    assert result.fit_bound == pytest.approx(whole.bound, rel=1e-9)


def test_a_number_of_folds_means_stratified_ones() -> None:
    model = TaskRelatedness(0.5, seed=5)
    one = model.fit(REFERENCE, TARGET, folds=3)
    other = model.fit(REFERENCE, TARGET, folds=stratified_folds(TARGET.labels, TARGET.features, 3, seed=5))
    assert (one.bound, one.transferred_loss) == (other.bound, other.transferred_loss)
    np.testing.assert_array_equal(one.fold_shares, other.fold_shares)
    assert set(one.fold_shares * 3) <= {0.0, 1.0, 2.0, 3.0}
    assert model.fit(REFERENCE, TARGET).fold_shares is None


def test_every_reference_of_a_panel_is_cross_fitted() -> None:
    result = TaskRelatedness(0.5).fit([REFERENCE, clusters(7, name="other")], TARGET, folds=3)
    assert [each.evaluated_on for each in result.references] == ["folds", "folds"]
    for each in result.references:
        assert each.bound >= each.transferred_loss
        assert len(each.transferred_correct) == 60


def test_an_unlabelled_target_is_cross_fitted_without_a_certificate() -> None:
    result = TaskRelatedness(0.5).fit(REFERENCE, Task(TARGET.features), folds=3)
    assert (result.evaluated_on, result.certified, result.transferred_loss) == ("folds", False, None)
    assert np.isfinite(result.bound)
    assert len(result.certificate_terms.per_point) == 60


# ── h′ is frozen ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
@pytest.mark.parametrize("solver", ["alternating", "sgd"])
@pytest.mark.parametrize("matching", ["assignment", "gradient"])
def test_labels_of_the_test_part_have_no_influence(ground_cost: str, solver: str, matching: str) -> None:
    options: dict[str, Any] = {"ground_cost": ground_cost, "tau": [0.3, 1.0], "matching": matching}
    if solver == "sgd":
        options |= {"solver": "sgd", "ground_cost": None, "epochs": 20, "tau": 0.5}
    test = clusters(2, n=30)
    shifted = Task(test.features, np.where(np.arange(30) < 24, 0, test.labels) | (np.arange(30) == 1), name="target")
    lopsided = Task(shifted.features, np.concatenate([[0, 1, 2], np.zeros(27, dtype=int)]))
    one, other = (TaskRelatedness(**options).fit(REFERENCE, TARGET, target_test=each) for each in (test, lopsided))
    assert same_transform(one, other)
    assert one.bound != other.bound
    np.testing.assert_array_equal(one.predict_proba(test.features), other.predict_proba(test.features))


def test_the_test_part_is_standardised_by_the_fitting_part() -> None:
    """Moved and stretched test features give other predictions: by themselves they would all look the same."""
    test = clusters(2, n=30)
    moved = Task(3 * test.features + 20, test.labels)
    model = TaskRelatedness(0.5)
    one, other = (model.fit(REFERENCE, TARGET, target_test=each) for each in (test, moved))
    assert same_transform(one, other)
    assert other.transferred_loss > one.transferred_loss + 0.1
    np.testing.assert_allclose(one.transform.target_scaler.mean, TARGET.features.mean(axis=0))
    np.testing.assert_allclose(one.transform.reference_scaler.mean, REFERENCE.features.mean(axis=0))
    moved_reference = Task(3 * REFERENCE.features + 20, REFERENCE.labels)
    assert model.fit(REFERENCE, TARGET, moved_reference).reference_loss > model.fit(REFERENCE, TARGET).reference_loss
    # A single row has no deviation of its own, and no influence on how the others are seen.
    whole = model.fit(REFERENCE, TARGET, target_test=test)
    probabilities = whole.predict_proba(test.features)
    np.testing.assert_allclose(whole.predict_proba(test.features[:1]), probabilities[:1], rtol=1e-12)


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_labels_of_a_fold_have_no_influence_on_who_measures_it(ground_cost: str) -> None:
    """Change the labels of one fold's rows: what the classifier says on these rows stays bit for bit as it was."""
    folds = stratified_folds(TARGET.labels, TARGET.features, 3, seed=0)
    _, rows = folds[1]
    labels = TARGET.labels.copy()
    labels[rows] = np.roll(labels[rows], 1)
    changed = Task(TARGET.features, labels, name="target")
    model = TaskRelatedness(0.5, ground_cost=ground_cost)
    one, other = (model.fit(REFERENCE, task, clusters(2), folds=folds) for task in (TARGET, changed))
    kept = rows[labels[rows] == TARGET.labels[rows]]
    assert 0 < len(kept) < len(rows)
    np.testing.assert_array_equal(one.transferred_losses[kept], other.transferred_losses[kept])
    np.testing.assert_array_equal(one.transferred_correct[kept], other.transferred_correct[kept])
    elsewhere = folds[0][1]
    assert (one.transferred_losses[elsewhere] != other.transferred_losses[elsewhere]).any()  # they fit the others


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_ridge_and_tau_are_chosen_without_the_test_part(ground_cost: str) -> None:
    far = Task(clusters(3, n=30).features[:, ::-1] * 2, clusters(3, n=30).labels)
    model = TaskRelatedness("auto", ground_cost=ground_cost)
    results = [model.fit(REFERENCE, TARGET, target_test=test) for test in (None, clusters(2, n=30), far)]
    assert len({(each.ridge, each.tau, each.scale, each.tau_path) for each in results}) == 1


# ── pooling ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pool_is_the_mean_by_rows() -> None:
    result = TaskRelatedness(0.5).fit(REFERENCE, TARGET, target_test=clusters(2, n=30))
    first = Measurement(
        result.certificate_terms, result.transferred_losses, result.transferred_correct, result.accuracy_terms
    )
    other = TaskRelatedness(0.5).fit(REFERENCE, TARGET, target_test=clusters(3, n=9))
    second = Measurement(
        other.certificate_terms, other.transferred_losses, other.transferred_correct, other.accuracy_terms
    )
    rows = np.random.default_rng(0).permutation(39)
    pooled = pool([(rows[:30], first), (rows[30:], second)])
    assert pooled.certificate.bound == pytest.approx((30 * result.bound + 9 * other.bound) / 39, rel=1e-12)
    np.testing.assert_array_equal(pooled.losses[rows[30:]], other.transferred_losses)
    np.testing.assert_array_equal(pooled.correct[rows[:30]], result.transferred_correct)
    assert pooled.correct.dtype == bool
    lost = sum(float(each.sum()) for each in pooled.accuracy_terms)
    assert lost == pytest.approx(1 - pooled.correct.mean(), abs=1e-12)
    # A part without labels leaves nothing to say of the whole.
    blind = pool([(rows[:30], first), (rows[30:], second._replace(losses=None, correct=None, accuracy_terms=None))])
    assert (blind.losses, blind.correct, blind.accuracy_terms) == (None, None, None)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_folds_refuse() -> None:
    model = TaskRelatedness(0.5)
    alone = Task(TARGET.features[:31], np.append(np.arange(30) % 2, 2), name="few", class_names=["a", "b", "c"])
    with pytest.raises(LabelError, match="class 'c' of 'few' has a single row, and with folds each class needs two"):
        model.fit(REFERENCE, alone, folds=3)
    with pytest.raises(OptionError, match="`folds` must be left out where there is a test part of the target"):
        model.fit(REFERENCE, TARGET, target_test=TARGET, folds=3)
    for bad in (1, 0, -2, 61):
        with pytest.raises(OptionError, match=f"`folds` must lie between 2 and the 60 rows of the target; got {bad}"):
            model.fit(REFERENCE, TARGET, folds=bad)
    rows = np.arange(60)
    for no_number in (2.0, "five", np.float32(3), np.array(5)):
        for reference in (REFERENCE, None):
            with pytest.raises(OptionError, match=r"`folds` must be a whole number, or .* for each fold; got"):
                model.fit(reference, TARGET, folds=no_number)
    overlapping = [(rows, rows[:30]), (rows[:30], rows[30:])]
    twice = [(rows[30:], rows[:30]), (rows[:20], rows[20:])]
    missing = [(rows[30:], rows[:30])]
    for folds in (overlapping, twice, missing, []):
        with pytest.raises(OptionError, match="`folds` must measure each of the 60 rows of the target once"):
            model.fit(REFERENCE, TARGET, folds=folds)
    pack = ReferencePack.from_task(REFERENCE, tau=0.5, rows=0)
    with pytest.raises(OptionError, match="need samples; got solver='statistics'"):
        TaskRelatedness(0.5, solver="statistics").fit(pack, TARGET, folds=3)
    with pytest.raises(TaskError, match="a reference pack without rows holds statistics"):
        model.fit(pack, TARGET, folds=3)


def test_a_fold_that_lacks_a_class_is_refused() -> None:
    """Fitting rows without a class would give a classifier that cannot say it."""
    labels = np.sort(TARGET.labels)
    task = Task(TARGET.features, labels, name="sorted")
    rows = np.arange(60)
    thirds = [(np.setdiff1d(rows, part), part) for part in np.split(rows, 3)]
    with pytest.raises(OptionError, match="fold 0 has none of class 0 of 'sorted'"):
        TaskRelatedness(0.5).fit(REFERENCE, task, folds=thirds)
    for bad in ([(rows, rows + 0.5)], [(np.array([99]), rows)], "abc", [rows]):
        with pytest.raises(OptionError, match="`folds` must"):
            TaskRelatedness(0.5).fit(REFERENCE, TARGET, folds=bad)
