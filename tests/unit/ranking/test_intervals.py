"""Intervals of accuracies and of bounded losses: known values, coverage by simulation, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from transferability.errors import OptionError
from transferability.statistics.bounded_means import (
    bernstein_interval,
    betting_interval,
    largest_smoothed_loss,
    smoothed_losses,
)
from transferability.statistics.intervals import ConfidenceInterval, Sides, clopper_pearson


@pytest.mark.parametrize(("right", "n"), [(0, 20), (1, 20), (13, 20), (20, 20), (109, 120), (1990, 2000)])
def test_the_binomial_interval_is_that_of_scipy(right: int, n: int) -> None:
    for sides, alternative in (("both", "two-sided"), ("lower", "greater"), ("upper", "less")):
        found = clopper_pearson(right, n, confidence=0.9, sides=sides)
        expected = scipy.stats.binomtest(right, n, alternative=alternative).proportion_ci(0.9)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert (found.value, found.n_rows, found.n_shared) == (right / n, n, 1)


def test_all_rows_right_leave_room_below() -> None:
    assert clopper_pearson(42, 42).low == pytest.approx(0.025 ** (1 / 42))
    assert clopper_pearson(42, 42).high == 1


def test_shared_intervals_are_those_of_a_smaller_error() -> None:
    losses = np.random.default_rng(0).random(80)
    for several, single in (
        (clopper_pearson(70, 80, n_shared=10), clopper_pearson(70, 80, confidence=0.995)),
        (betting_interval(losses, 1, n_shared=10), betting_interval(losses, 1, confidence=0.995)),
        (bernstein_interval(losses, 1, n_shared=10), bernstein_interval(losses, 1, confidence=0.995)),
    ):
        assert (several.low, several.high) == pytest.approx((single.low, single.high), abs=1e-9)
        assert (several.confidence, several.n_shared) == (0.95, 10)


ACCURACIES = np.array([0.5, 0.7, 0.9, 0.98, 0.999, 1.0])


@pytest.mark.parametrize("n", [20, 50, 100, 500, 2000])
@pytest.mark.parametrize("n_encoders", [1, 20, 100])
def test_accuracies_are_covered(n: int, n_encoders: int) -> None:
    """Exactly: the chance of every count is known, so nothing is drawn."""
    counts = np.arange(n + 1)
    for sides in ("both", "lower", "upper"):
        found = [clopper_pearson(int(k), n, sides=sides, n_shared=n_encoders) for k in counts]
        low, high = np.array([each.low for each in found]), np.array([each.high for each in found])
        for accuracy in ACCURACIES:
            outside = scipy.stats.binom.pmf(counts, n, accuracy)[(accuracy < low) | (accuracy > high)].sum()
            assert outside <= 0.05 / n_encoders * (1 + 1e-9)
    assert (np.diff(low) >= 0).all()


def test_the_first_of_many_is_covered_by_shared_intervals_and_not_by_single_ones() -> None:
    rng = np.random.default_rng(0)
    n, n_encoders, accuracy = 100, 20, 0.9
    best = rng.binomial(n, accuracy, size=(4000, n_encoders)).max(axis=1)
    covered = {
        shared: np.mean([clopper_pearson(int(k), n, sides="lower", n_shared=shared).low <= accuracy for k in best])
        for shared in (1, n_encoders)
    }
    assert covered[1] < 0.8
    assert covered[n_encoders] >= 0.95


@pytest.mark.parametrize("n", [20, 200, 2000])
@pytest.mark.parametrize("tail", [0.025, 0.025 / 100])
def test_rows_of_unequal_chances_leave_tails_that_are_no_larger(n: int, tail: float) -> None:
    """Hoeffding 1956, and the range in which it holds: chances of two values and one between make the worst case."""
    low = np.array([clopper_pearson(k, n, sides="lower", confidence=1 - tail).low for k in range(n + 1)])
    for mean in (0.5, 0.7, 0.9, 0.98, 1 - 0.5 / n, 0.5 / n, tail / 2 / n):
        for spread in (0.1, 0.5, 1.0):
            half = min(mean, 1 - mean) * spread
            upper = scipy.stats.binom.pmf(np.arange(n // 2 + 1), n // 2, mean + half)
            lower = scipy.stats.binom.pmf(np.arange(n - n // 2 + 1), n - n // 2, mean - half)
            share = np.convolve(upper, lower)  # of each count
            true = (n // 2 * (mean + half) + (n - n // 2) * (mean - half)) / n
            allowed = tail if true >= -math.log1p(-tail) / n else -math.log1p(-tail)
            assert share[low > true].sum() <= allowed * (1 + 1e-9)


def _losses(rng: np.random.Generator, n: int, kind: str) -> tuple[np.ndarray, float]:
    """Return losses up to 1 and their mean."""
    if kind == "rare":  # nearly all small, now and then one that is as large as can be
        return np.where(rng.random(n) < 0.02, 1.0, 0.01), 0.02 + 0.98 * 0.01
    if kind == "skewed":
        return rng.beta(0.2, 1.8, n), 0.1
    return rng.random(n), 0.5


@pytest.mark.parametrize("kind", ["rare", "skewed", "even"])
@pytest.mark.parametrize(("n", "times"), [(20, 150), (100, 150), (500, 60)])
def test_bounded_means_are_covered(kind: str, n: int, times: int) -> None:
    rng = np.random.default_rng(n)
    missed = dict.fromkeys((betting_interval, bernstein_interval), 0)
    widths = dict.fromkeys(missed, 0.0)
    for _ in range(times):
        losses, mean = _losses(rng, n, kind)
        for interval in missed:
            found = interval(losses, 1.0)
            missed[interval] += not found.low <= mean <= found.high
            widths[interval] += found.high - found.low
    for count in missed.values():  # no more than 5 % but for the luck of the draw
        assert scipy.stats.binom.sf(count - 1, times, 0.05) > 1e-3
    assert widths[betting_interval] < widths[bernstein_interval]


@pytest.mark.parametrize("n", [50, 200])
def test_means_of_zeros_and_ones_are_covered(n: int) -> None:
    """Exactly, by the chance of every count: no order of the rows may be a lucky or an unlucky one."""
    counts = np.arange(n + 1)
    found = [betting_interval(np.repeat([0.0, 1.0], [n - k, k]), 1.0) for k in counts]
    low, high = np.array([each.low for each in found]), np.array([each.high for each in found])
    assert (np.diff(low) > -1e-9).all()
    for mean in np.linspace(0.02, 0.98, 33):
        outside = (mean < low) | (mean > high)
        assert scipy.stats.binom.pmf(counts, n, mean)[outside].sum() <= 0.05


def test_intervals_move_no_more_than_the_losses() -> None:
    losses = np.random.default_rng(0).random(100)
    found = betting_interval(losses, 1.0)
    moved = betting_interval(np.clip(losses + 1e-7 * np.random.default_rng(1).normal(size=100), 0, 1), 1.0)
    assert (moved.low, moved.high) == pytest.approx((found.low, found.high), abs=1e-6)


def test_losses_of_folds_with_unequal_means_are_covered() -> None:
    rng = np.random.default_rng(3)
    means, n, times = np.repeat([0.05, 0.05, 0.05, 0.05, 0.6], 40), 200, 150
    missed = 0
    for _ in range(times):
        found = betting_interval(rng.beta(2 * means, 2 * (1 - means)), 1.0)  # sorted by fold
        missed += not found.low <= means.mean() <= found.high
    assert scipy.stats.binom.sf(missed - 1, times, 0.05) > 1e-3
    assert found.n_rows == n


def test_the_order_of_the_rows_and_the_unit_do_not_matter() -> None:
    losses = np.random.default_rng(0).random(150) ** 3
    found = betting_interval(losses, 1.0)
    assert betting_interval(np.sort(losses), 1.0) == found
    scaled = betting_interval(losses * 7, 7.0)
    assert (scaled.low, scaled.high) == pytest.approx((7 * found.low, 7 * found.high), abs=1e-9)
    mirrored = betting_interval(1 - losses, 1.0)
    assert 0 < found.low < found.value < found.high < 1
    # Bets on the mirrored losses are those on the losses, in the other order.
    assert (mirrored.high, mirrored.low) == pytest.approx((1 - found.low, 1 - found.high), abs=0.02)


@pytest.mark.parametrize("interval", [betting_interval, bernstein_interval])
def test_one_sided_intervals_put_all_doubt_on_one_end(interval: object) -> None:
    losses = np.random.default_rng(0).random(150)
    both, lower, upper = (interval(losses, 2.0, sides=sides) for sides in ("both", "lower", "upper"))  # type: ignore[operator]
    assert both.low < lower.low < both.value < upper.high < both.high
    assert (lower.high, upper.low) == (2.0, 0.0)


def test_equal_losses_still_leave_doubt() -> None:
    for value in (0.0, 0.3, 1.0):
        found = betting_interval(np.full(50, value), 1.0)
        assert found.low <= value <= found.high
        assert 0.05 < found.high - found.low < 0.4
    assert betting_interval(np.zeros(1), 1.0).high > 0.9  # one row says next to nothing


def test_smoothing_bounds_losses_and_costs_little() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.full(4, 0.1), 1000)[:, 0]
    with np.errstate(divide="ignore"):
        losses = -np.log(probabilities)
    smooth = smoothed_losses(losses, 4, smoothing=0.1)
    assert smooth == pytest.approx(-np.log(0.9 * probabilities + 0.1 / 4))
    assert (smooth - losses).max() <= -math.log(0.9)
    assert smooth.max() <= largest_smoothed_loss(4, smoothing=0.1)
    assert smoothed_losses(math.inf, 4) == pytest.approx(largest_smoothed_loss(4))
    assert betting_interval(smooth, largest_smoothed_loss(4, smoothing=0.1)).value == pytest.approx(smooth.mean())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: clopper_pearson(21, 20), "`n_right` must be an integer from 0 to 20"),
        (lambda: clopper_pearson(0.5, 20), "`n_right` must be an integer"),
        (lambda: clopper_pearson(0, 0), "`n_rows` must be a positive integer; got 0"),
        (lambda: clopper_pearson(1, 2, confidence=95), "`confidence` must be between 0 and 1; got 95"),
        (lambda: clopper_pearson(1, 2, sides="left"), "`sides` must be one of 'both', 'lower', 'upper'"),
        (lambda: clopper_pearson(1, 2, n_shared=0), "`n_shared` must be a positive integer; got 0"),
        (lambda: betting_interval([0.2, 3.0], 1.0), "between 0 and `largest` = 1; got 0.2 to 3"),
        (lambda: betting_interval([0.2, math.nan], 1.0), "`losses` must lie between 0"),
        (lambda: betting_interval([], 1.0), "1-D with one loss for each row"),
        (lambda: betting_interval([0.1], math.inf), "`largest` must be a finite number > 0"),
        (lambda: bernstein_interval([0.1], 1.0), "two rows or more"),
        (lambda: smoothed_losses([0.1], 3, smoothing=0), "`smoothing` must be between 0 and 1"),
    ],
)
def test_what_cannot_be_answered_is_refused(call: object, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        call()  # type: ignore[operator]


def test_an_interval_says_what_it_is() -> None:
    sides: Sides = "lower"
    found = clopper_pearson(9, 10, sides=sides)
    assert isinstance(found, ConfidenceInterval)
    assert (found.method, found.confidence, found.high) == ("clopper-pearson", 0.95, 1.0)
