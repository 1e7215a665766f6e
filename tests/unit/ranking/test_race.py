"""Who is behind the first k: closed forms, and how often a race lets one of the first leave."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from transferability.errors import OptionError
from transferability.ranking.race import Sample, behind_first, leaving


def test_accuracies_by_the_exact_sign_test():
    best, other = np.ones(20, dtype=bool), np.arange(20) >= 8
    parts = np.stack([best, other, np.arange(20) >= 15], axis=1)
    found = behind_first(parts, "transferred_accuracy")
    assert found[0].p_value == 1
    assert found[1].p_value == pytest.approx(2 * binomtest(8, 8, alternative="greater").pvalue)
    assert found[2].p_value == pytest.approx(2 * binomtest(15, 15, alternative="greater").pvalue)
    assert (found[1].rival, found[2].rival) == (0, 0)
    second = behind_first(parts, "transferred_accuracy", first=2, n_comparisons=1)
    assert [each.p_value for each in second[:2]] == [1, 1]
    assert second[2].p_value == pytest.approx(binomtest(7, 7, alternative="greater").pvalue)  # against the second
    assert second[2].rival == 1


def test_losses_by_bets_and_bounds_by_student():
    rng = np.random.default_rng(0)
    losses = rng.exponential(0.3, size=(400, 4)) + np.array([0.0, 0.01, 0.4, 0.8])
    for quantity in ("transferred_loss", "bound"):
        found = behind_first(losses, quantity, n_classes=10)
        assert [each.p_value < 0.05 for each in found] == [False, False, True, True]
        assert [each.p_value < 0.05 for each in behind_first(losses, quantity, first=3)] == [False] * 3 + [True]
    expected = ttest_rel(losses[:, 2], losses[:, 0], alternative="greater").pvalue
    assert behind_first(losses[:, [0, 2]], "bound")[1].p_value == pytest.approx(expected)
    assert behind_first(losses[:1], "bound")[3].p_value == 1


@pytest.mark.parametrize("first", [0, 3, 1.5])
def test_as_many_places_as_there_can_be(first):
    with pytest.raises(OptionError, match="`first` must be a whole number from 1 to 2"):
        behind_first(np.ones((5, 3), dtype=bool), "transferred_accuracy", first=first)
    with pytest.raises(OptionError, match=r"`parts` must be of shape \(n_rows, n_encoders\); got shape \(5,\)"):
        behind_first(np.ones(5, dtype=bool), "transferred_accuracy")


def test_the_best_leaves_as_seldom_as_is_claimed_over_all_rounds():
    rng, n_lost, n_runs = np.random.default_rng(0), 0, 300
    for _ in range(n_runs):
        difficulty = rng.normal(size=(800, 1))
        correct = difficulty + rng.normal(size=(800, 12)) < 0.8  # equally good: whoever leaves is wrongly dropped
        stay = list(range(12))
        for size in (100, 200, 400, 800):
            sample = Sample(correct[:size, stay], range(len(stay)), "transferred_accuracy", 2)
            left = leaving(sample, first=1, error=0.05 / 4, n_encoders=12)
            stay = [each for place, each in enumerate(stay) if place not in left]
        n_lost += 0 not in stay  # a given one of the best
    assert n_lost / n_runs <= 0.05


def test_an_encoder_leaves_when_all_its_layers_are_behind():
    rows = np.arange(100)
    good, fair, poor = rows >= 5, rows >= 30, rows >= 70
    sample = Sample(np.stack([good, poor, poor, fair, poor], axis=1), [0, 0, 1, 2, 2], "transferred_accuracy", 2)
    left = leaving(sample, first=1, error=0.05, n_encoders=3)
    assert list(left) == [1, 2]  # the poor layer of the first encoder does not count
    assert (left[2].value, left[2].rival, left[2].rival_value) == (0.7, 0, 0.95)
    assert list(leaving(sample, first=2, error=0.05, n_encoders=3)) == [1]
    assert leaving(sample, first=5, error=0.05, n_encoders=3) == {}


def test_whoever_left_and_every_reference_count_as_comparisons():
    parts = np.stack([np.ones(30, dtype=bool), np.arange(30) >= 9], axis=1)
    one = behind_first(parts, "transferred_accuracy")[1].p_value
    for n_encoders, n_references, n_comparisons in [(2, 1, 1), (20, 1, 19), (2, 3, 15)]:
        sample = Sample(parts, [0, 1], "transferred_accuracy", 2, n_references)
        assert leaving(sample, first=1, error=1.0, n_encoders=n_encoders)[1].p_value == pytest.approx(
            one * n_comparisons
        )


@pytest.mark.parametrize("quantity", ["transferred_accuracy", "transferred_loss", "bound"])
def test_rows_that_count_less_are_less_evidence(quantity):
    rng = np.random.default_rng(3)
    parts = rng.random((60, 3)) < [0.9, 0.7, 0.5]
    parts = parts if quantity == "transferred_accuracy" else np.where(parts, 0.1, 3.0)
    whole, tenth = (
        [each.p_value for each in behind_first(np.tile(parts, (10, 1)), quantity, weight=weight)]
        for weight in (1.0, 0.1)
    )
    once = [each.p_value for each in behind_first(parts, quantity)]
    assert whole[2] < 1e-6 * once[2]
    if quantity == "transferred_accuracy":
        assert tenth == pytest.approx(once)
    else:  # the stakes, and the degrees of freedom, are those of all rows
        assert whole[2] < tenth[2] < 2 * once[2]


def test_one_reference_for_all_has_fewer_comparisons():
    sample = Sample(np.ones((30, 4), dtype=bool), range(4), "transferred_accuracy", 2, n_references=3)
    assert sample.n_comparisons(1, 10) == 30 * 29 // 2
    assert replace(sample, common=True).n_comparisons(1, 10) == 3 * 9
    assert replace(sample, n_references=1).n_comparisons(2, 10) == 8
    assert replace(sample, n_references=1).n_comparisons(1, 2) == 3  # layers


def test_equal_encoders_stay_as_often_as_is_claimed_on_rows_that_count_less():
    rng, n_lost, n_runs = np.random.default_rng(1), 0, 200
    for _ in range(n_runs):
        stay = list(range(12))
        for weight in (0.15, 0.45, 1.0):  # the same rows in each round, other classifiers
            correct = rng.normal(size=(400, 1)) + rng.normal(size=(400, 12)) < 0.8
            sample = Sample(correct[:, stay], range(len(stay)), "transferred_accuracy", 2, weight=weight)
            left = leaving(sample, first=1, error=0.05 / 3, n_encoders=12)
            stay = [each for place, each in enumerate(stay) if place not in left]
        n_lost += 0 not in stay
    assert n_lost / n_runs <= 0.05
