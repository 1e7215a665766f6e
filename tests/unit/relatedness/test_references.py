"""References that nobody brings: the union of those given, and the target's own other half."""

from __future__ import annotations

import numpy as np
import pytest

from transferability import Task, TaskRelatedness, datasets
from transferability._folds import RowFolds
from transferability.errors import LabelError, OptionError, TaskError
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.references import OWN_HALF, UNION, union_of
from transferability.relatedness.tasks.sample import stratified_folds

GROUND_COSTS = ["exact", "loss", "euclidean"]


def clusters(seed: int, axes: list[int], n: int = 90, d: int = 8, name: str = "task", shift: float = 0.0) -> Task:
    """Return classes at these axes."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % len(axes))
    names = [f"axis {axis}" for axis in axes]
    return Task(4 * np.eye(d)[axes][labels] + rng.normal(size=(n, d)) + shift, labels, name=name, class_names=names)


# ── union ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_a_union_has_a_class_for_each_where_no_single_reference_has(ground_cost: str) -> None:
    references = [clusters(0, [0, 1], name="a"), clusters(1, [2, 3, 4], name="b")]
    target, test = clusters(2, [0, 1, 2, 3, 4], 150), clusters(3, [0, 1, 2, 3, 4], 150)
    model = TaskRelatedness("scaled", ground_cost=ground_cost, union=True)
    result = model.fit(references, target, target_test=test)
    union = result.references[-1]
    assert [each.reference for each in result.references] == ["a", "b", UNION]
    assert min(each.label_mismatch for each in result.references[:2]) > 0.2
    assert union.label_mismatch == 0
    assert sorted(union.class_map.tolist()) == [0, 1, 2, 3, 4]
    assert set(union.reference_class_names) == {"a: axis 0", "a: axis 1", "b: axis 2", "b: axis 3", "b: axis 4"}  # type: ignore[attr-defined]
    assert union.transferred_accuracy > max(each.transferred_accuracy for each in result.references[:2]) + 0.2
    assert result.reference == UNION
    for each in result.references:
        assert each.certified
        assert each.bound >= each.transferred_loss - 1e-9
    without = TaskRelatedness("scaled", ground_cost=ground_cost).fit(references, target, target_test=test)
    assert [each.bound for each in without.references] == [each.bound for each in result.references[:2]]


@pytest.mark.parametrize("folds", [None, 3])
def test_an_unlabelled_target_takes_its_classes_from_the_union(folds: int | None) -> None:
    references = [clusters(0, [0, 1], name="small"), clusters(1, [2, 3, 4], name="large")]
    features = clusters(2, [0, 1, 2, 3], 120).features
    four, three = (Task(features, None, class_names=[f"{i}" for i in range(k)]) for k in (4, 3))
    model = TaskRelatedness(union=True)
    result = model.fit(references, four, folds=folds)
    assert result.reference == UNION
    assert result.pseudo_labels is not None
    assert len(set(result.pseudo_labels.tolist())) == 4
    assert any("left out by themselves: small, large, with fewer classes than the 4" in note for note in result.notes)
    result = model.fit(references, three, folds=folds)
    assert [each.reference for each in result.references] == ["large", UNION]
    assert all(any("left out by themselves: small" in note for note in each.notes) for each in result.references)
    alone = TaskRelatedness().fit(references, three, folds=folds)
    assert [each.reference for each in alone.references] == ["large"]
    with pytest.raises(TaskError, match="more classes than the reference; got 4 for 2"):
        TaskRelatedness().fit(references, four, folds=folds)


def test_a_union_standardises_each_reference_as_it_would_be_alone() -> None:
    """Two references in other units would otherwise differ by nothing but their units."""
    plain = [clusters(0, [0, 1], name="a"), clusters(1, [2, 3], name="b")]
    moved = [plain[0], Task(1000 * plain[1].features + 50, plain[1].labels, "b", plain[1].class_names)]
    one, other = (union_of([(each, None) for each in tasks], standardize=True)[0] for tasks in (plain, moved))
    np.testing.assert_allclose(one.features, other.features, atol=1e-9)
    np.testing.assert_array_equal(one.labels, np.concatenate([plain[0].labels, 2 + plain[1].labels]))
    np.testing.assert_allclose(one.features[:90].std(axis=0), 1)
    results = [TaskRelatedness(union=True).fit(tasks, clusters(2, [0, 3])).references[-1] for tasks in (plain, moved)]
    assert results[0].bound == pytest.approx(results[1].bound, rel=1e-6)
    raw, _ = union_of([(each, None) for each in plain], standardize=False)
    np.testing.assert_array_equal(raw.features, np.concatenate([each.features for each in plain]))


def test_references_of_another_dimension_are_left_out_of_the_union() -> None:
    references = [clusters(0, [0, 1], name="a"), clusters(1, [0, 1], d=5, name="b"), clusters(2, [2, 3], name="c")]
    union, _ = union_of([(each, None) for each in references], standardize=True)
    assert [name.split(":")[0] for name in union.class_names] == ["a", "a", "c", "c"]
    panel = TaskRelatedness(union=True).fit(references, clusters(3, [0, 2])).references
    assert [each.reference for each in panel] == ["a", "b", "c", UNION]


def test_a_union_has_a_test_part_where_all_references_have_one() -> None:
    tasks = [(clusters(0, [0, 1], name="a"), clusters(5, [0, 1], 30)), (clusters(1, [2, 3], name="b"), None)]
    assert union_of(tasks, standardize=True)[1] is None
    tasks[1] = (tasks[1][0], clusters(6, [2, 3], 20))
    _, test = union_of(tasks, standardize=True)
    np.testing.assert_array_equal(np.bincount(test.labels), [15, 15, 10, 10])


def test_one_reference_is_its_own_union() -> None:
    result = TaskRelatedness(union=True).fit([clusters(0, [0, 1])], clusters(1, [0, 1]))
    assert len(result.references) == 1


def test_a_saved_transformation_of_the_union_predicts_what_was_measured() -> None:
    references = [clusters(0, [0, 1], name="a", shift=3), clusters(1, [2, 3], name="b")]
    target, test = clusters(2, [0, 1, 2, 3]), clusters(3, [0, 1, 2, 3])
    result = TaskRelatedness(union=True).fit(references, target, target_test=test).references[-1]
    predicted = result.predict_proba(test.features).argmax(axis=1)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(predicted == test.labels, result.transferred_correct)


# ── the target's own other half ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
@pytest.mark.parametrize("folds", [None, 3])
def test_each_half_is_the_reference_of_the_other(ground_cost: str, folds: int | None) -> None:
    target = clusters(0, [0, 1, 2], 120, name="mine")
    noisy = Task(target.features + 1.5 * np.random.default_rng(1).normal(size=(120, 8)), target.labels, "mine")
    result = TaskRelatedness("scaled", ground_cost=ground_cost).fit(None, noisy, folds=folds)
    assert (result.reference, result.evaluated_on, result.certified) == (OWN_HALF, "folds", True)
    assert result.class_map.tolist() == [0, 1, 2]
    assert result.label_mismatch == pytest.approx(0, abs=1e-12)
    assert result.bound >= result.transferred_loss - 1e-9
    assert len(result.transferred_losses) == 120
    assert result.transferred_losses.mean() == pytest.approx(result.transferred_loss, rel=1e-5)
    assert 0.7 < result.transferred_accuracy <= 1
    assert result.certificate_terms.per_point.mean() == pytest.approx(result.bound, rel=1e-9)
    np.testing.assert_allclose(result.certificate_terms.priors, 1 / 3)


def test_the_own_half_needs_no_help_from_matching() -> None:
    target = clusters(0, [0, 1, 2], 120)
    results = [TaskRelatedness(matching=each).fit(None, target) for each in ("assignment", "random", [2, 1, 0])]
    assert len({each.bound for each in results}) == 1


def test_the_own_half_is_measured_on_a_test_part_where_there_is_one() -> None:
    target, test = clusters(0, [0, 1, 2], 120), clusters(1, [0, 1, 2], 60)
    result = TaskRelatedness().fit(None, target, target_test=test)
    assert result.evaluated_on == "test"
    assert len(result.transferred_correct) == 60
    assert result.bound >= result.transferred_loss - 1e-9
    np.testing.assert_array_equal(
        result.predict_proba(test.features).argmax(axis=1) == test.labels, result.transferred_correct
    )


def test_own_folds_are_kept_within_the_halves() -> None:
    target = clusters(0, [0, 1, 2], 120)
    folds = stratified_folds(target.labels, target.features, 4, seed=9)
    result = TaskRelatedness().fit(None, target, folds=folds)
    assert len(result.transferred_correct) == 120
    assert result.bound >= result.transferred_loss - 1e-9


def test_unrelated_labels_are_not_learned_from_the_other_half() -> None:
    """Labels that say nothing: a half that had seen the rows it is measured on would be right more often than not."""
    rng = np.random.default_rng(0)
    target = Task(rng.normal(size=(200, 30)), np.arange(200) % 2)
    result = TaskRelatedness().fit(None, target)
    assert 0.35 < result.transferred_accuracy < 0.65
    assert result.transferred_loss > 0.6


@pytest.mark.parametrize("n_few", [4, 5])
def test_four_rows_of_a_class_are_enough_even_where_they_are_equal(n_few: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * n_few)
    features = rng.normal(size=(len(labels), 3))
    for copies in (0, 2, n_few):
        features[20 : 20 + copies] = 1.0
        result = TaskRelatedness().fit(None, Task(features, labels))
        assert result.bound >= result.transferred_loss - 1e-9
        assert len(result.transferred_correct) == len(labels)


def test_what_the_own_half_refuses() -> None:
    few = Task(np.random.default_rng(0).normal(size=(13, 3)), [0] * 10 + [1] * 3, "few", ["many", "rare"])
    with pytest.raises(LabelError, match="class 'rare' of 'few' has fewer than 4 rows; without a reference each half"):
        TaskRelatedness().fit(None, few)
    with pytest.raises(LabelError, match="class 1 of 'few' has fewer than 4 rows"):
        TaskRelatedness().fit(None, Task(few.features, few.labels, "few"))
    with pytest.raises(LabelError, match="task 'bare' has no labels"):
        TaskRelatedness().fit(None, Task(few.features, name="bare"))
    pack = ReferencePack.from_task(clusters(0, [0, 1]), tau=0.5)
    for target in (pack, clusters(0, [0, 1])):
        with pytest.raises(OptionError, match="the target's own other half need samples"):
            TaskRelatedness(solver="statistics").fit(None, target)
    for folds in (1, 0, 500):
        with pytest.raises(OptionError, match="`folds` must lie between 2 and"):
            TaskRelatedness().fit(None, clusters(0, [0, 1]), folds=folds)
    with pytest.raises(OptionError, match=r"`folds` must be a whole number, or "):
        TaskRelatedness().fit(None, clusters(0, [0, 1]), folds="abc")


def test_the_union_does_not_depend_on_the_order_and_names_what_it_leaves_out() -> None:
    few = Task(np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2, name="narrow")
    a, b = clusters(0, [0, 1], name="a"), clusters(1, [2, 3], name="b")
    target = clusters(2, [0, 3])
    unions = [TaskRelatedness(union=True).fit(tasks, target).references[-1] for tasks in ([few, a, b], [a, b, few])]
    assert [each.reference for each in unions] == [UNION, UNION]
    assert unions[0].bound == unions[1].bound
    assert all("the union leaves out narrow" in each.notes[-1] for each in unions)
    alone = TaskRelatedness(union=True).fit([few, a], target)  # nothing to unite it with
    assert {each.reference for each in alone.references} == {"narrow", "a"}
    assert not any("the union" in note for each in alone.references for note in each.notes)
    apart = TaskRelatedness(union=True).fit([few, a], target)
    assert [each.reference for each in apart.references] == ["narrow", "a"]


def test_rows_that_belong_together_are_not_in_the_reference_while_one_is_measured() -> None:
    """Photos of random labels in five near copies each: folds that keep a photo together leave nothing to learn."""
    accuracies = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        photos, labels = np.repeat(rng.normal(size=(30, 8)), 5, axis=0), rng.permutation(np.arange(30) % 3)
        target = Task(photos + 0.02 * rng.normal(size=photos.shape), np.repeat(labels, 5))
        together = datasets.folds(target.require_labels(), 3, 0, np.repeat(np.arange(30), 5))
        both = together, RowFolds(together)  # as if they had been dealt row by row
        accuracies.append([TaskRelatedness().fit(None, target, folds=each).transferred_accuracy for each in both])
    apart, mixed = np.mean(accuracies, axis=0)
    assert 0.22 < apart < 0.4
    assert mixed > apart + 0.08


def test_a_class_whose_rows_are_all_in_one_fold_stays_in_the_reference() -> None:
    labels = np.repeat([0, 1, 2], [40, 40, 5])
    features = 4 * np.eye(3, 6)[labels] + np.random.default_rng(0).normal(size=(85, 6))
    place = np.where(labels < 2, np.arange(85) % 4, np.arange(85) % 2)  # class 2 in two folds
    given = [(np.flatnonzero(place != k), np.flatnonzero(place == k)) for k in range(4)]
    result = TaskRelatedness().fit(None, Task(features, labels), folds=given)
    assert result.certified
    assert result.bound >= result.transferred_loss
    assert result.transferred_accuracy > 0.8
