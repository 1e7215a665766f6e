import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferability.datasets import split, stratified_sample
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
        # Within one of the exact share, but for rows that rarer classes needed for their one.
        assert share - n_classes <= (labels[rows] == label).sum() <= max(share + 1, 1)


def test_sample_is_decided_by_its_seed():
    labels = np.repeat([0, 1], 50)
    first, again, other = (stratified_sample(labels, 100, 10, seed) for seed in (3, 3, 4))
    assert first.tolist() == again.tolist() != other.tolist()
    assert len(stratified_sample(None, 100, 10)) == 10


@pytest.mark.parametrize(("size", "match"), [(0, "at least 1"), (1, "every class")])
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


def test_split_refuses_a_share_of_all():
    with pytest.raises(OptionError, match="between 0 and 1"):
        split(np.array([0, 1]), 1.0)
