import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferability.datasets import folds, split, stratified_sample
from transferability.errors import OptionError

labels_strategy = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)


@given(labels_strategy, st.data())
def test_sample_has_the_size_asked_for_every_class_and_nearly_its_share(labels, data):
    n_classes = len(np.unique(labels))
    size = data.draw(st.integers(n_classes, len(labels) + 5))
    rows = stratified_sample(labels, len(labels), size, seed=1)
    assert len(rows) == min(size, len(labels))
    assert (np.diff(rows) > 0).all()
    assert len(np.unique(labels[rows])) == n_classes
    for label in np.unique(labels):
        share = (labels == label).sum() * min(size / len(labels), 1)
        # Within one of the exact share, but for rows that rarer classes needed for their two.
        assert share - 2 * n_classes <= (labels[rows] == label).sum() <= max(share + 1, 2)
        if size >= 2 * n_classes:
            assert (labels[rows] == label).sum() >= min(2, (labels == label).sum())


def test_sample_is_decided_by_its_seed():
    labels = np.repeat([0, 1], 50)
    first, again, other = (stratified_sample(labels, 100, 10, seed) for seed in (3, 3, 4))
    assert first.tolist() == again.tolist() != other.tolist()
    assert len(stratified_sample(None, 100, 10)) == 10


@pytest.mark.parametrize(("size", "match"), [(0, "at least 1"), (1.5, "an integer"), (1, "every class")])
def test_sample_refuses(size, match):
    with pytest.raises(OptionError, match=match):
        stratified_sample(np.array([0, 1, 1]), 3, size)


@given(labels_strategy, st.floats(0.05, 0.95))
def test_split_is_a_partition_with_every_class_of_two_on_both_sides(labels, share):
    fit, test = split(labels, share, seed=2)
    assert sorted([*fit, *test]) == list(range(len(labels)))
    for label in np.unique(labels):
        in_fit, in_test = (labels[fit] == label).sum(), (labels[test] == label).sum()
        if in_fit + in_test == 1:
            assert in_fit == 1
        else:
            assert in_fit >= 1
            assert abs(in_test - share * (in_fit + in_test)) <= 1


@pytest.mark.parametrize("seed", [-1, 0.5, "1"])
def test_seeds_that_are_none(seed):
    labels = np.array([0, 1, 0, 1])
    for use in (
        lambda: split(labels, seed=seed),
        lambda: folds(labels, 2, seed),
        lambda: stratified_sample(None, 4, 2, seed),
    ):
        with pytest.raises(OptionError, match="`seed` must be an integer from 0"):
            use()


def test_split_refuses_a_share_of_all():
    with pytest.raises(OptionError, match="between 0 and 1"):
        split(np.array([0, 1]), 1.0)


grouped_rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=4, max_size=150).map(
    lambda pairs: tuple(np.array(pairs).T)
)


@given(labels_strategy, st.floats(0.05, 0.95))
def test_groups_of_one_row_change_no_split(labels, share):
    for part, grouped in zip(
        split(labels, share, seed=3), split(labels, share, 3, groups=np.arange(len(labels))), strict=True
    ):
        np.testing.assert_array_equal(part, grouped)


@given(grouped_rows, st.floats(0.05, 0.95))
def test_split_keeps_groups_whole_and_every_class_on_the_fitting_side(rows, share):
    labels, groups = rows
    fit, test = split(labels, share, seed=2, groups=groups)
    assert sorted([*fit, *test]) == list(range(len(labels)))
    assert not set(groups[fit]) & set(groups[test])
    assert set(labels[fit]) == set(labels)


@given(labels_strategy, st.integers(2, 6), st.integers(1, 4))
def test_split_of_pure_groups_has_every_class_of_two_groups_on_both_sides(labels, n_parts, size):
    labels = np.repeat(labels, size)
    groups = np.arange(len(labels)) // size
    fit, test = split(labels, 1 / n_parts, seed=2, groups=groups)
    for label in np.unique(labels):
        n_groups = len(np.unique(groups[labels == label]))
        in_test = (labels[test] == label).sum()
        assert label in labels[fit]
        assert (in_test > 0) == (n_groups > 1)
        assert n_groups == 1 or abs(in_test - n_groups * size / n_parts) <= size


@given(labels_strategy.filter(lambda labels: len(labels) > 1), st.data())
def test_folds_test_every_row_once_with_the_shares_of_the_classes(labels, data):
    n_folds = data.draw(st.integers(2, min(len(labels), 12)))
    found = folds(labels, n_folds, seed=1)
    assert len(found) == n_folds
    assert sorted(np.concatenate([test for _, test in found])) == list(range(len(labels)))
    assert np.ptp([len(test) for _, test in found]) <= len(np.unique(labels))
    for fit, test in found:
        assert sorted([*fit, *test]) == list(range(len(labels)))
        assert len(test) > 0
        for label in np.unique(labels):
            assert abs((labels[test] == label).sum() - (labels == label).sum() / n_folds) < 1


@given(grouped_rows.filter(lambda rows: len(np.unique(rows[1])) > 2), st.integers(2, 3))
def test_folds_keep_groups_whole_and_no_fold_is_empty(rows, n_folds):
    labels, groups = rows
    found = folds(labels, n_folds, seed=1, groups=groups)
    assert sorted(np.concatenate([test for _, test in found])) == list(range(len(labels)))
    for fit, test in found:
        assert len(test) > 0
        assert not set(groups[fit]) & set(groups[test])


def test_folds_are_decided_by_their_seed_and_random():
    labels = np.repeat([0, 1], 50)
    first, again, other = (folds(labels, 5, seed)[0][1] for seed in (3, 3, 4))
    assert first.tolist() == again.tolist() != other.tolist()
    assert sum(np.diff(first) == 5) < len(first) / 2  # not every fifth row


@pytest.mark.parametrize("n_folds", [1, 4, 2.5])
def test_folds_refuse_a_number_out_of_range(n_folds):
    with pytest.raises(OptionError, match="from 2 to the number of rows, 3"):
        folds(np.array([0, 1, 1]), n_folds)
    with pytest.raises(OptionError, match="one entry per row"):
        folds(np.array([0, 1, 1]), 2, groups=[1, 2])
