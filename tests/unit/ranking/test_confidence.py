"""What a ranking says of new data, by the quantity that it is sorted by."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from transferability.ranking.best_set import best_by_accuracy, best_by_loss
from transferability.ranking.confidence import can_be_best, intervals_of
from transferability.statistics.bounded_means import betting_interval, largest_smoothed_loss, smoothed_losses
from transferability.statistics.intervals import clopper_pearson

rng = np.random.default_rng(0)
correct = [rng.random(80) < share for share in (0.95, 0.9, 0.6)]
losses = [rng.exponential(scale, 80) for scale in (0.2, 0.3, 2.0)]


def test_of_accuracies_it_is_the_binomial_shared_over_the_list() -> None:
    found = intervals_of([*correct, None], "transferred_accuracy", 10)
    assert found == [*(clopper_pearson(int(each.sum()), 80, n_shared=3) for each in correct), None]
    several = intervals_of(correct, "transferred_accuracy", 10, 9)
    assert several[0] == clopper_pearson(int(correct[0].sum()), 80, n_shared=9)
    expected = best_by_accuracy(np.stack(correct, axis=1)).p_values
    assert can_be_best(correct, "transferred_accuracy", 10) == pytest.approx(expected)
    assert expected[2] < 0.01 < expected[1]


def test_where_all_are_right_doubt_is_left() -> None:
    (found,) = intervals_of([np.ones(42, dtype=bool)], "transferred_accuracy", 10)
    assert found.low == pytest.approx(0.025 ** (1 / 42))


def test_of_losses_it_is_that_of_the_smoothed_classifier() -> None:
    outlier = [np.append(each, np.inf) for each in losses]
    found = intervals_of(outlier, "transferred_loss", 4)
    expected = betting_interval(smoothed_losses(outlier[0], 4), largest_smoothed_loss(4), n_shared=3)
    assert found[0] == expected
    assert found[0].low < found[0].value < found[0].high < largest_smoothed_loss(4)
    smooth = smoothed_losses(np.stack(outlier, axis=1), 4)
    p_values = can_be_best(outlier, "transferred_loss", 4)
    assert p_values == pytest.approx(best_by_loss(smooth, largest_smoothed_loss(4)).p_values)
    assert p_values[2] < 0.05 < p_values[1]


def test_of_bounds_it_is_how_much_they_vary() -> None:
    bounds = [each + 0.5 for each in losses]
    found = intervals_of(bounds, "bound", 4, confidence=0.9)
    expected = scipy.stats.ttest_1samp(bounds[0], 0).confidence_interval(1 - 0.1 / 3)
    assert (found[0].low, found[0].high, found[0].method) == (
        pytest.approx(expected.low),
        pytest.approx(expected.high),
        "student",
    )
    paired = scipy.stats.ttest_rel(bounds[1], bounds[0], alternative="greater").pvalue
    assert can_be_best(bounds[:2], "bound", 4) == [1.0, pytest.approx(paired)]
    assert can_be_best([bounds[0], bounds[0]], "bound", 4) == [1.0, 1.0]
    assert intervals_of([bounds[0][:1]], "bound", 4) == [None]
    assert can_be_best([each[:1] for each in bounds], "bound", 4) == [1.0, 1.0, 1.0]


def test_what_is_unknown_or_of_other_rows_is_left_out() -> None:
    parts = [correct[0], None, correct[1][:10], correct[2]]
    p_values = can_be_best(parts, "transferred_accuracy", 10)
    assert p_values[1] is p_values[2] is None
    assert p_values[3] == pytest.approx(best_by_accuracy(np.stack([correct[0], correct[2]], axis=1)).p_values[1])
    assert [each is None for each in intervals_of(parts, "transferred_accuracy", 10)] == [False, True, False, False]
    assert can_be_best([None, correct[0]], "transferred_accuracy", 10) == [None, None]
    assert can_be_best([], "bound", 10) == intervals_of([], "bound", 10) == []
