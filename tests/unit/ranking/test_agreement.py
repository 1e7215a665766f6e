from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats

from transferability.agreement import agreement, bootstrap_pairs, top_k_regret
from transferability.errors import OptionError, TaskError

SCORES = [0.2, 0.5, 0.1, 0.9, 0.4]
ACCURACIES = [70.0, 80.0, 72.0, 88.0, 90.0]


def test_values_are_scipys() -> None:
    found = agreement(SCORES, ACCURACIES, k=2, n_resamples=5)
    assert found.pearson.value == pytest.approx(scipy.stats.pearsonr(SCORES, ACCURACIES).statistic)
    assert found.spearman.value == pytest.approx(scipy.stats.spearmanr(SCORES, ACCURACIES).statistic)
    assert found.kendall.value == pytest.approx(scipy.stats.kendalltau(SCORES, ACCURACIES).statistic)
    assert found.weighted_kendall.value == pytest.approx(scipy.stats.weightedtau(SCORES, ACCURACIES).statistic)
    assert found.regret.value == 2.0  # .9 and .5 come first, with 88 and 80; the best has 90
    assert (found.k, found.n_encoders) == (2, 5)


def test_direction_turns_the_sign() -> None:
    up = agreement(SCORES, ACCURACIES, n_resamples=50)
    down = agreement([-s for s in SCORES], ACCURACIES, higher_is_better=False, n_resamples=50)
    assert up == down


def test_intervals_hold_the_value_and_repeat() -> None:
    found = agreement(SCORES, ACCURACIES, n_resamples=50)
    for estimate in (found.pearson, found.spearman, found.kendall, found.weighted_kendall, found.regret):
        assert estimate.low <= estimate.value <= estimate.high
        assert all(math.isfinite(each) for each in (estimate.low, estimate.high))
    assert found == agreement(SCORES, ACCURACIES, n_resamples=50)
    assert found != agreement(SCORES, ACCURACIES, n_resamples=50, seed=1)


def test_interval_covers_the_true_correlation() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(40):
        x = rng.normal(size=40)
        y = 0.6 * x + 0.8 * rng.normal(size=40)
        found = bootstrap_pairs(
            lambda a, b: float(np.corrcoef(a, b)[0, 1]), x, y, confidence=0.95, n_resamples=100, rng=rng
        )
        covered += found.low <= 0.6 <= found.high
    assert covered >= 33  # nominal 38; a percentile interval of 100 resamples is a little narrow


def test_wider_confidence_is_wider() -> None:
    narrow = agreement(SCORES, ACCURACIES, confidence=0.5, n_resamples=100)
    wide = agreement(SCORES, ACCURACIES, confidence=0.99, n_resamples=100)
    assert wide.pearson.high - wide.pearson.low > narrow.pearson.high - narrow.pearson.low


def test_fewer_than_five_encoders_have_no_interval() -> None:
    """Of three, resamples that have a correlation are all alike: the value was at an end of its interval."""
    for n, known in ((3, False), (4, False), (5, True)):
        found = agreement(SCORES[:n], ACCURACIES[:n], n_resamples=50)
        for each in (found.pearson, found.spearman, found.kendall, found.weighted_kendall, found.regret):
            assert (each.low is not None, each.high is not None) == (known, known)
            assert math.isfinite(each.value)
        json.dumps(found.to_dict(), allow_nan=False)


def test_ties_in_the_score_are_not_flattered() -> None:
    assert top_k_regret([1, 1, 1], [80, 90, 85]) == 10.0
    assert top_k_regret([1, 2, 3], [80, 90, 85], higher_is_better=False) == 10.0
    assert top_k_regret([1, 2, 3], [80, 90, 85], k=2) == 0.0


def test_to_dict() -> None:
    assert agreement(SCORES, ACCURACIES, n_resamples=5).to_dict()["regret"]["value"] == 2.0


@pytest.mark.parametrize(
    ("scores", "accuracies", "message"),
    [
        ([1, 2], [1, 2], "three encoders"),
        ([1, 2, 3], [1, 2], "same length"),
        ([1, 2, math.nan], [1, 2, 3], "finite"),
        ([1, 1, 1], [1, 2, 3], "`scores` must differ"),
        ([1, 2, 3], [5, 5, 5], "`accuracies` must differ"),
    ],
)
def test_refusals(scores: list[float], accuracies: list[float], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        agreement(scores, accuracies)


@pytest.mark.parametrize("option", [{"k": 0}, {"k": 6}, {"confidence": 1.0}, {"n_resamples": 0}])
def test_options_out_of_range(option: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(option))):
        agreement(SCORES, ACCURACIES, **option)
