from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from transferability.ranking.confidence import standings

# How many samples both encoders, the first alone, the second alone and neither get right.
BOTH, FIRST, SECOND, NEITHER = 30, 9, 4, 7
N = BOTH + FIRST + SECOND + NEITHER
first = np.repeat([True, True, False, False], [BOTH, FIRST, SECOND, NEITHER])
second = np.repeat([True, False, True, False], [BOTH, FIRST, SECOND, NEITHER])


def test_of_accuracies_the_bootstrap_is_the_multinomial() -> None:
    # A resample draws N samples: how often each kind comes is multinomial, and so is how often the first is ahead.
    won, lost = (grid.ravel() for grid in np.mgrid[: N + 1, : N + 1])
    kinds = np.stack([won, lost, N - won - lost], axis=1)[won + lost <= N]
    chances = scipy.stats.multinomial.pmf(kinds, N, np.array([FIRST, SECOND, BOTH + NEITHER]) / N)
    ahead = chances[kinds[:, 0] > kinds[:, 1]].sum() + chances[kinds[:, 0] == kinds[:, 1]].sum() / 2
    assert chances.sum() == pytest.approx(1)

    found = standings([first, second], higher_is_better=True, n_resamples=20_000)
    assert found[0].behind == 0.5  # of itself: ties count half
    assert found[1].behind == pytest.approx(ahead, abs=0.015)  # four standard errors
    for standing, right in zip(found, (first, second), strict=True):
        low, high = scipy.stats.binom.ppf([0.025, 0.975], N, right.mean()) / N
        assert (standing.low, standing.high) == pytest.approx((low, high), abs=1.01 / N)  # the next step
        assert standing.low < right.mean() < standing.high


def test_the_direction_decides_who_is_ahead() -> None:
    up, down = (standings([first, second], higher_is_better=higher)[1] for higher in (True, False))
    assert (up.low, up.high) == (down.low, down.high)
    assert up.behind == pytest.approx(1 - down.behind)
    errors = standings([~first, ~second])[1]
    assert errors.behind == pytest.approx(up.behind)
    assert (1 - errors.high, 1 - errors.low) == pytest.approx((up.low, up.high))
