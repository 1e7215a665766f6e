"""Intervals in log odds: how what is not sure of a probe and of a fine-tuned accuracy is added."""

from __future__ import annotations

from statistics import harmonic_mean

import numpy as np
import pytest
from scipy.special import ndtri

from transferability.ranking.conformal import KnownRegression
from transferability.ranking.expected import KnownAccuracy
from transferability.ranking.log_odds import standard_error, typical_rows


def known(noise: float) -> list[KnownAccuracy]:
    """Pairs of four targets near a line, of different numbers of rows."""
    rng = np.random.default_rng(0)
    probes = np.linspace(0.3, 0.8, 6)
    return [
        KnownAccuracy(f"{k}", f"{n}", probe, probe + 0.1 + noise * rng.normal(), 100 * (n + 1), 200 * (n + 1))
        for k in range(4)
        for n, probe in enumerate(probes)
    ]


def test_rows_are_averaged_as_noise_is() -> None:
    rows = [10, 30, 1000]
    assert typical_rows(rows) == pytest.approx(harmonic_mean(rows))
    regression = KnownRegression.of(known(0.01))
    assert regression.probe_rows == pytest.approx(harmonic_mean([100 * (n + 1) for n in range(6)]))
    assert regression.rows == pytest.approx(2 * regression.probe_rows)


def test_the_noise_of_a_probe_is_independent_of_the_scatter_of_encoders() -> None:
    """Squares are added. Log odds of one half are zero whatever the rows, so that the centre stays where it is."""
    regression = KnownRegression.of(known(0.03))
    typical, few = (regression.margins([0.5], [rows], [], 0.9) for rows in (10**6, 40))
    assert few.centre == pytest.approx(typical.centre, abs=1e-12)
    spread, half = typical.high - typical.centre, few.high - few.centre
    noise = (
        ndtri(0.95) * abs(regression.slope) * standard_error(np.array([0.5]), np.array([40.0]), regression.probe_rows)
    )
    assert 0.2 < noise[0] / spread[0] < 5
    assert half == pytest.approx(np.sqrt(spread**2 + noise**2))
    assert few.centre - few.low == pytest.approx(half)


def test_an_accuracy_of_few_rows_is_not_far() -> None:
    regression = KnownRegression.of(known(0.01))
    pair = KnownAccuracy("here", "a", 0.7, 0.5, 1000, 1000)
    assert regression.farthest([pair]) == 0
    assert regression.farthest([pair._replace(rows=6)]) is None
    usual = KnownAccuracy("here", "b", 0.6, 0.7, 1000, 1000)
    assert regression.farthest([usual, usual._replace(fine_tuned=0.71), pair]) == 2
    assert regression.without_surprises([usual, pair]) == [usual]
