"""How many rows of each class are held out, and how many are drawn."""

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.relatedness.tasks.sample import at_most, hold_out, hold_out_apart

COUNTS = np.array([1, 2, 3, 4, 5, 6, 10, 40])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))


@pytest.mark.parametrize("seed", range(3))
def test_a_quarter_of_each_class_is_held_out(seed: int) -> None:
    seen, unseen = hold_out(LABELS, np.random.default_rng(seed))
    assert np.array_equal(np.sort(np.concatenate([seen, unseen])), np.arange(len(LABELS)))
    assert np.bincount(LABELS[unseen]).tolist() == [0, 1, 1, 1, 1, 2, 3, 10]  # halves are rounded up


@pytest.mark.parametrize(
    ("n", "drawn"), [(71, COUNTS.tolist()), (72, COUNTS.tolist()), (36, [1, 1, 1, 2, 2, 3, 5, 20])]
)
def test_of_each_class_its_share_is_drawn(n: int, drawn: list[int]) -> None:
    chosen = at_most(LABELS, n, np.random.default_rng(0))
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.bincount(LABELS[chosen]).tolist() == drawn


def test_copies_of_a_row_are_held_out_together() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 3))
    features, labels = np.repeat(rows, 3, axis=0), np.repeat(np.arange(40) % 2, 3)
    features = np.concatenate([features, np.ones((4, 3))])  # a class of copies
    labels = np.concatenate([labels, np.full(4, 2)])
    seen, unseen = hold_out_apart(features, labels, rng)
    np.testing.assert_array_equal(np.sort(np.concatenate([seen, unseen])), np.arange(124))
    assert not set(seen // 3) & set(unseen // 3)
    assert np.bincount(labels[unseen]).tolist() == [15, 15]
    plain = [hold_out_apart(rows, labels[:120:3], np.random.default_rng(1))]
    plain.append(hold_out(labels[:120:3], np.random.default_rng(1)))
    for one, other in zip(*plain, strict=True):
        np.testing.assert_array_equal(one, other)


def test_copies_of_reference_rows_make_the_classifier_no_surer() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(120) % 3
    reference = Task(np.eye(3, 20)[labels] + rng.normal(size=(120, 20)), labels)
    copied = Task(np.repeat(reference.features, 4, axis=0), np.repeat(labels, 4))
    target = Task(np.eye(3, 20)[labels] + rng.normal(size=(120, 20)), labels)
    once, often = (TaskRelatedness().fit(each, target).scale for each in (reference, copied))
    assert often < 1.5 * once
