"""Which encoders can be best: exact values, and how often the best one stays in the set."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from transferability.errors import OptionError
from transferability.ranking.best_set import best_by_accuracy, best_by_loss


def _answers(rng: np.random.Generator, n: int, accuracies: np.ndarray, shared: float = 0.6) -> np.ndarray:
    """Return right answers to rows that are hard or easy for all encoders."""
    difficulty = np.sqrt(shared) * rng.normal(size=(n, 1)) + np.sqrt(1 - shared) * rng.normal(size=(n, len(accuracies)))
    return difficulty < scipy.stats.norm.ppf(accuracies)


def test_of_two_it_is_the_exact_sign_test() -> None:
    first, second = (
        np.repeat([True, True, False, False], [30, 9, 1, 7]),
        np.repeat([True, False, True, False], [30, 9, 1, 7]),
    )
    found = best_by_accuracy(np.stack([first, second], axis=1))
    expected = scipy.stats.binomtest(9, 10, alternative="greater").pvalue
    assert found.p_values == pytest.approx((scipy.stats.binom.sf(0, 10, 0.5), expected))
    assert found.included == (True, False)
    assert best_by_accuracy(np.stack([second, first, second], axis=1)).p_values[0] == pytest.approx(2 * expected)


def test_rows_that_also_chose_each_classifier_count_all_pairs() -> None:
    answers = _answers(np.random.default_rng(0), 200, np.array([0.9, 0.8, 0.7]))
    single, chosen = best_by_accuracy(answers), best_by_accuracy(answers, n_classifiers=9)
    small = np.array(single.p_values) < 1e-3
    assert small.any()
    assert np.array(chosen.p_values)[small] == pytest.approx(np.array(single.p_values)[small] * (9 * 8 / 2) / 2)


@pytest.mark.parametrize("n", [20, 100, 500])
@pytest.mark.parametrize("n_encoders", [2, 10, 50])
def test_the_most_accurate_stays_in_the_set(n: int, n_encoders: int) -> None:
    rng = np.random.default_rng(n + n_encoders)
    times = 150
    for accuracies in (np.full(n_encoders, 0.7), 0.9 - np.arange(n_encoders) * 0.01):
        lost = sum(not best_by_accuracy(_answers(rng, n, accuracies)).included[0] for _ in range(times))
        assert scipy.stats.binom.sf(lost - 1, times, 0.05) > 1e-3


def test_the_test_of_the_observed_first_alone_would_lose_the_best() -> None:
    rng = np.random.default_rng(0)
    kept = {"list": 0, "first": 0}
    for _ in range(200):
        answers = _answers(rng, 100, np.full(30, 0.8))
        kept["list"] += best_by_accuracy(answers).included[0]
        first = answers[:, answers.sum(axis=0).argmax()]
        won, lost = int((first & ~answers[:, 0]).sum()), int((~first & answers[:, 0]).sum())
        kept["first"] += scipy.stats.binom.sf(won - 1, won + lost, 0.5) > 0.05 or won == 0
    assert kept["first"] < 0.9 * 200
    assert kept["list"] >= 0.95 * 200


def test_clear_losers_leave_the_set_and_close_ones_stay() -> None:
    answers = _answers(np.random.default_rng(0), 600, np.array([0.9, 0.89, 0.8, 0.6]))
    assert best_by_accuracy(answers).included == (True, True, False, False)
    losses = np.random.default_rng(0).beta(1, [5, 4.9, 1.5], size=(600, 3))
    assert best_by_loss(losses, 1.0).included == (True, True, False)


@pytest.mark.parametrize("n", [20, 100, 500])
def test_the_one_of_least_loss_stays_in_the_set(n: int) -> None:
    """Of equal means, one with rare large losses and others with many small ones: where t tests fail."""
    rng = np.random.default_rng(n)
    times, lost = 60, 0
    for _ in range(times):
        rare = np.where(rng.random(n) < 0.02, 1.0, 0.0)
        losses = np.stack([rare, np.full(n, 0.02), np.full(n, 0.02)], axis=1)
        lost += not best_by_loss(losses, 1.0).included[0]
        lost += not best_by_loss(losses, 1.0).included[1]
    assert scipy.stats.binom.sf(lost - 1, 2 * times, 0.05) > 1e-3


def test_the_order_of_rows_and_encoders_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    losses = rng.beta(1, [5, 4.9, 1.5], size=(200, 3))
    found = best_by_loss(losses, 1.0).p_values
    assert best_by_loss(losses[rng.permutation(200)], 1.0).p_values == found
    assert best_by_loss(losses[:, ::-1], 1.0).p_values == pytest.approx(found[::-1])


def test_a_single_encoder_is_the_best() -> None:
    assert best_by_accuracy(np.zeros((5, 1), dtype=bool)).included == (True,)
    assert best_by_loss(np.ones((5, 1)), 1.0).p_values == (1.0,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: best_by_accuracy(np.zeros((5, 2))), "`correct` must be bool"),
        (lambda: best_by_accuracy(np.zeros((0, 2), dtype=bool)), r"of shape \(0, 2\)"),
        (lambda: best_by_accuracy(np.zeros((5, 2), dtype=bool), n_classifiers=1), "`n_classifiers` must be at least 2"),
        (lambda: best_by_accuracy(np.zeros((5, 2), dtype=bool), confidence=0), "`confidence` must be between 0 and 1"),
        (lambda: best_by_loss(np.zeros(5), 1.0), "`losses` must be of shape"),
        (lambda: best_by_loss(np.full((5, 2), 2.0), 1.0), "must lie between 0 and `largest`"),
    ],
)
def test_what_cannot_be_answered_is_refused(call: object, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        call()  # type: ignore[operator]
