"""Test parts: classes by name, whatever numbers they got, and copies that count once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from transferability import Relatedness, Task, TaskRelatedness
from transferability.errors import LabelError, TaskError
from transferability.ranking.confidence import without_copies
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.results.summary import REFERENCE_ON_FIT
from transferability.relatedness.tasks.test_parts import first_copies

NAMES = ("ant", "bee", "cat", "dog")
CENTRES = 5 * np.eye(4, 6)


def _features(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    return CENTRES[labels] + np.random.default_rng(seed).normal(size=(len(labels), 6))


LABELS = np.arange(120) % 4
TEST = np.arange(60) % 4
REFERENCE = Task(_features(LABELS), LABELS, "reference", NAMES)


def _fit(target: Task, test: Task, reference_test: Task | None = None) -> Relatedness:
    return TaskRelatedness().fit(REFERENCE, target, reference_test, test)


def test_class_names_in_another_order_are_the_same_classes() -> None:
    target = Task(_features(LABELS, 1), LABELS, class_names=NAMES)
    expected = _fit(target, Task(_features(TEST, 2), TEST, class_names=NAMES))
    turned = Task(_features(TEST, 2), 3 - TEST, class_names=NAMES[::-1])
    found = _fit(target, turned)
    assert found.bound == expected.bound
    assert found.transferred_accuracy == expected.transferred_accuracy > 0.9
    other = TaskRelatedness().fit(REFERENCE, target, turned)
    assert other.bound == TaskRelatedness().fit(REFERENCE, target, Task(turned.features, TEST)).bound
    statistics = TaskRelatedness(solver="statistics")
    assert statistics.fit(REFERENCE, target, turned, turned).reference_loss < 1


def test_a_pack_measures_its_losses_by_the_names_of_the_classes() -> None:
    straight = ReferencePack.from_task(REFERENCE, Task(_features(TEST, 2), TEST, class_names=NAMES), tau=1.0)
    turned = ReferencePack.from_task(REFERENCE, Task(_features(TEST, 2), 3 - TEST, class_names=NAMES[::-1]), tau=1.0)
    np.testing.assert_array_equal(turned.heads[0].losses, straight.heads[0].losses)
    assert straight.heads[0].losses.max() < 1


@pytest.mark.parametrize(
    ("fit_labels", "test_labels", "words"),
    [
        (np.array(NAMES)[LABELS], np.array(["bee", "cat", "dog", "eel"])[TEST], "class 'eel' of test part"),
        (np.array(NAMES)[LABELS], np.array(["ant", "bee", "cat", "ant"])[TEST], "class 'dog' of 'target' is absent"),
        (LABELS, TEST + 1, "class '4' of test part"),
        (LABELS + 1, TEST, "class '0' of test part"),
        (LABELS, np.arange(60) % 3, "class 3 of 'target' is absent"),
    ],
)
def test_test_parts_of_other_classes_are_refused(fit_labels: np.ndarray, test_labels: np.ndarray, words: str) -> None:
    target = Task(_features(LABELS, 1), fit_labels, "target")
    test = Task(_features(TEST, 2), test_labels, "test")
    with pytest.raises(LabelError, match=words):
        _fit(target, test)


def test_guessed_classes_are_those_of_the_reference_also_where_few_are_measured() -> None:
    target = Task(_features(LABELS, 1))
    some = np.repeat([1, 3], 30)
    found = _fit(target, Task(_features(some, 2), np.array(NAMES)[some]))
    assert found.transferred_accuracy is not None
    assert found.transferred_accuracy > 0.9
    numbered = TaskRelatedness().fit(
        Task(REFERENCE.features, LABELS), target, None, Task(_features(some, 2), some)
    )  # without gaps they would be classes 0 and 1
    assert numbered.transferred_accuracy == found.transferred_accuracy
    other = Task(REFERENCE.features, LABELS, "other", NAMES[::-1])
    with pytest.raises(TaskError, match="those of the references differ"):
        TaskRelatedness().fit([REFERENCE, other], target, None, Task(_features(some, 2), np.array(NAMES)[some]))


def test_integers_are_numbers_of_the_classes_that_are_named() -> None:
    named = Task(_features(LABELS, 1), LABELS, class_names=NAMES)
    found = _fit(named, Task(_features(TEST, 2), TEST))
    assert found.bound == _fit(named, Task(_features(TEST, 2), TEST, class_names=NAMES)).bound


@pytest.mark.parametrize("reference", [REFERENCE, None])
def test_copies_of_rows_neither_leak_nor_count(reference: Task | None) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(48) % 4
    noise = rng.normal(size=(48, 40))  # as many features as rows, and nothing to learn: whoever saw a row knows it
    once = TaskRelatedness().fit(reference and Task(rng.normal(size=(120, 40)), LABELS), Task(noise, labels), folds=4)
    thrice = TaskRelatedness().fit(
        reference and Task(rng.normal(size=(120, 40)), LABELS),
        Task(np.concatenate([noise] * 3), np.concatenate([labels] * 3)),
        folds=4,
    )
    assert once.first_copies is None
    assert thrice.first_copies is not None
    np.testing.assert_array_equal(thrice.first_copies, np.arange(144) % 48)
    assert thrice.transferred_accuracy is not None
    assert thrice.transferred_accuracy < 0.6
    single, triple = once.interval(), thrice.interval()
    assert single is not None
    assert triple is not None
    assert single.n_rows == triple.n_rows == 48
    loss = thrice.interval("transferred_loss")
    assert loss is not None
    assert loss.n_rows == 48


def test_a_class_of_one_row_many_times_is_still_fitted_and_measured() -> None:
    labels = np.repeat([0, 1], 20)
    features = np.where(labels[:, None] == 0, 1.0, np.random.default_rng(0).normal(size=(40, 3)))
    found = TaskRelatedness().fit(REFERENCE.subset(LABELS < 4), Task(features, labels), folds=5)
    assert found.transferred_accuracy is not None
    alone = TaskRelatedness().fit(None, Task(features, labels))
    assert alone.first_copies is not None
    assert len(np.unique(alone.first_copies)) == 21


@pytest.mark.parametrize("copies", [(1, 3), (1, 1, 6), (2, 2), (5,)])
def test_halves_have_two_rows_of_every_class_however_many_are_copies(copies: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    rare = np.repeat(rng.normal(size=(len(copies), 6)), copies, axis=0)
    features = np.concatenate([rng.normal(size=(40, 6)), rare])
    labels = np.repeat([0, 1], [40, len(rare)])
    for seed in range(4):
        assert TaskRelatedness(seed=seed).fit(None, Task(features, labels)).certified


def test_rows_that_are_copies_under_one_encoder_only_are_none() -> None:
    parts = [np.array([True, False, True]), np.array([True, True, False])]
    both = without_copies(parts, [np.array([0, 0, 2]), np.array([0, 0, 0])])
    assert [each.tolist() for each in both if each is not None] == [[True, True], [True, False]]
    assert without_copies(parts, [np.array([0, 0, 2]), None]) == parts
    assert without_copies([None, parts[0]], [None, np.array([0, 0, 0])])[1].tolist() == [True]
    assert first_copies(Task(np.ones((3, 2)), [0, 1, 0])).tolist() == [0, 1, 0]
    assert first_copies(Task(np.ones((3, 2)))) is None


def test_a_reference_that_is_measured_where_it_was_fitted_says_so() -> None:
    target = Task(_features(LABELS, 1), LABELS)
    test = Task(_features(TEST, 2), TEST)
    found = _fit(target, test)
    assert REFERENCE_ON_FIT in found.notes
    assert repr(found).endswith("%, the reference on its fitting rows)")
    with_test = Task(_features(TEST, 4), TEST, class_names=NAMES)
    by_folds = [TaskRelatedness().fit(REFERENCE, target, each, folds=2) for each in (None, with_test)]
    for found in (_fit(target, test, with_test), *by_folds):
        assert found.notes == ()
        assert repr(found).endswith("%)")
    assert TaskRelatedness().fit(REFERENCE, target).notes == ()  # all on the fitting rows, which `repr` says
    assert TaskRelatedness().fit(None, target).notes == ()


def test_a_note_says_where_copies_of_a_row_are_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    few = np.repeat(rng.normal(size=(2, 6)), 3, axis=0)
    target = Task(np.concatenate([_features(LABELS, 1), few]), np.concatenate([LABELS, np.full(6, 4)]))

    def notes(**measured: Any) -> str:
        reference = measured.pop("reference", REFERENCE)
        return " ".join(TaskRelatedness().fit(reference, target, **measured).notes)

    assert "class '4' has fewer than 4 different rows" in notes(reference=None)
    assert "fitted on and measured on" not in notes(folds=3)  # two different rows: one on each side
    assert "fitted on and measured on" not in notes(reference=None, target_test=target)  # given sides
    target = target.subset(np.arange(len(LABELS) + 3))
    assert "class '4' has fewer than 2 different rows" in notes(folds=3)


def test_folds_that_divide_copies_are_said() -> None:
    features = np.repeat(_features(LABELS[:60], 1), 2, axis=0)
    target = Task(features, np.repeat(LABELS[:60], 2))
    apart = [np.flatnonzero(np.arange(120) // 8 % 2 == k) for k in (0, 1)]
    halves = [np.flatnonzero(np.arange(120) % 2 == k) for k in (0, 1)]
    for parts, divided in ((apart, False), (halves, True)):
        given = [(parts[1], parts[0]), (parts[0], parts[1])]
        notes = " ".join(TaskRelatedness().fit(REFERENCE, target, folds=given).notes)
        assert ("the folds given divide copies of 60 rows" in notes) is divided


def test_what_copies_do_to_the_accuracy_is_said_beside_an_interval_that_counts_them_once() -> None:
    labels = np.concatenate([LABELS, np.full(60, 1)])
    wrong = np.repeat(_features(np.zeros(1, dtype=int), 7), 60, axis=0)  # one row of class 0 under another label
    target = Task(np.concatenate([_features(LABELS, 1), wrong]), labels)
    result = TaskRelatedness().fit(REFERENCE, target, folds=3)
    found = result.interval()
    assert found is not None
    assert result.transferred_accuracy < found.low  # of different rows, in which the copies are one
    assert f"of the 121 different rows of 180 {100 * found.value:.1f} % are right" in " ".join(result.notes)
    plain = TaskRelatedness().fit(REFERENCE, target.subset(np.arange(120)), folds=3)
    assert "different rows" not in " ".join(plain.notes)
