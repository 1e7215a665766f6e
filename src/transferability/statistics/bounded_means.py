r"""Confidence intervals of a mean of bounded losses, for new data; finite-sample, not asymptotic.

A cross-entropy has no largest value; that of the smoothed classifier :math:`(1 - ε) h + ε / K` has: log(K / ε). The
mean of bounded values has an interval without further assumptions, by betting [1]_: if the mean is m, the bet
:math:`\prod_t (1 + \lambda_t (X_t - m))` wins nothing on average, so m is excluded where the bet multiplies its stake
by :math:`1 / \alpha`. The empirical Bernstein interval [2]_ is the closed form to compare with.

`statistics.intervals` says what is assumed of the rows and of rows of different folds, and what `n_shared` does.

References
----------
.. [1] Waudby-Smith, Ramdas. Estimating means of bounded random variables by betting. JRSS B 2024. (Predictable plug-in
   bets for a fixed number of rows.)
.. [2] Maurer, Pontil. Empirical Bernstein bounds and sample variance penalization. COLT 2009.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special

from transferability._array import FloatArray, IntArray
from transferability.errors import OptionError
from transferability.statistics.intervals import ConfidenceInterval, Method, Sides, tail_of

__all__ = [
    "Bet",
    "bernstein_interval",
    "betting_interval",
    "largest_smoothed_loss",
    "shares_of",
    "smoothed_losses",
]

SMOOTHING = 0.05
"""Share of the uniform guess in the smoothed classifier: it costs at most 0.05 nats, and 0.01 to 0.1 give the same
upper ends to a tenth from 100 rows on."""
_LARGEST_STAKE = 0.9
"""Largest share of its wealth that a bet stakes on one row. [1]_ names 1/2 and 3/4; losses lie
near their lower end, where larger stakes win more: at 100 rows the upper end comes a third nearer."""

_N_ORDERS = 16


def betting_interval(
    losses: Any, largest: float, *, confidence: float = 0.95, sides: Sides = "both", n_shared: int = 1
) -> ConfidenceInterval:
    """Return the interval of a mean of bounded losses, by betting.

    Parameters
    ----------
    losses : array of shape (n_rows,)
        From 0 to `largest`, one of each row.
    largest : float
        What no loss can exceed, whatever the row; known beforehand (`largest_smoothed_loss`), not read off the losses.
    confidence, sides, n_shared
        As of `clopper_pearson`.

    Returns
    -------
    ConfidenceInterval

    Raises
    ------
    OptionError
        If an argument is not as said above.

    Notes
    -----
    Does not depend on the order of the rows: see `Bet`. Cost O(n) times some hundreds.

    Examples
    --------
    >>> import numpy as np
    >>> losses = np.random.default_rng(0).exponential(0.3, 500).clip(max=5.0)
    >>> found = betting_interval(losses, 5.0)
    >>> f"{found.value:.2f}: {found.low:.2f} to {found.high:.2f}"
    '0.33: 0.29 to 0.38'
    """
    shares = shares_of(losses, largest)
    tail = tail_of(confidence, sides, n_shared)
    low = 0.0 if sides == "upper" else _least_mean(shares, tail)
    high = 1.0 if sides == "lower" else 1.0 - _least_mean(1.0 - shares, tail)
    return _scaled(shares, (low, high), largest, confidence, "betting", n_shared)


def bernstein_interval(
    losses: Any, largest: float, *, confidence: float = 0.95, sides: Sides = "both", n_shared: int = 1
) -> ConfidenceInterval:
    """Return the interval of a mean of bounded losses, by the empirical Bernstein inequality.

    Wider than `betting_interval` in everything that was tried, and a closed form.

    Parameters
    ----------
    losses, largest, confidence, sides, n_shared
        As of `betting_interval`; two rows or more.

    Returns
    -------
    ConfidenceInterval

    Raises
    ------
    OptionError
        If an argument is not as said above.

    Examples
    --------
    >>> import numpy as np
    >>> losses = np.random.default_rng(0).exponential(0.3, 500).clip(max=5.0)
    >>> found = bernstein_interval(losses, 5.0)
    >>> f"{found.value:.2f}: {found.low:.2f} to {found.high:.2f}"
    '0.33: 0.18 to 0.47'
    """
    shares = shares_of(losses, largest)
    n = len(shares)
    if n < 2:
        message = "`losses` must have two rows or more for a variance; got 1. Use `betting_interval`."
        raise OptionError(message)
    logarithm = math.log(2 / tail_of(confidence, sides, n_shared))
    width = math.sqrt(2 * float(shares.var(ddof=1)) * logarithm / n) + 7 * logarithm / (3 * (n - 1))
    mean = float(shares.mean())
    low = 0.0 if sides == "upper" else max(0.0, mean - width)
    high = 1.0 if sides == "lower" else min(1.0, mean + width)
    return _scaled(shares, (low, high), largest, confidence, "empirical-bernstein", n_shared)


def smoothed_losses(losses: Any, n_classes: int, *, smoothing: float = SMOOTHING) -> FloatArray:
    """Return the cross-entropies of (1 − ε) h + ε / K from those of h: bounded, and at most −log(1 − ε) larger.

    Parameters
    ----------
    losses : array of shape (n_rows, …)
        Cross-entropies of h in nats, ≥ 0; infinity is allowed.
    n_classes : int
        K.
    smoothing : float, default=0.05
        ε, between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> smoothed_losses(np.array([0.0, 1.0, np.inf]), 10).round(3)
    array([0.046, 1.037, 5.298])
    """
    uniform = _smoothing(smoothing) / n_classes
    return np.asarray(-np.log((1 - smoothing) * np.exp(-np.asarray(losses, dtype=np.float64)) + uniform))


def largest_smoothed_loss(n_classes: int, *, smoothing: float = SMOOTHING) -> float:
    """Return log(K / ε), which no smoothed loss exceeds."""
    return math.log(n_classes / _smoothing(smoothing))


class Bet:
    """A bet against "the mean is at most so much", in the average over orders of the rows.

    Row by row the stakes follow from the rows before, and what is won depends on the order. The average over orders is
    as fair a bet, does not depend on the order given, and moves little where the rows move little. By Markov's
    inequality the chance that its wealth is 1 / α or more is at most α, for every α.

    Parameters
    ----------
    gains : (n_rows,)
        In [0, 1].
    tail : float
        Chance of error for which the stakes are made. It decides how much is won, never whether the bet is fair.
    """

    def __init__(self, gains: FloatArray, tail: float) -> None:
        n = len(gains)
        self._gains = np.sort(gains)[_orders(n)]  # (n, orders)
        seen = np.arange(2, n + 2)[:, None]
        means = (0.5 + self._gains.cumsum(axis=0)) / seen
        variances = (0.25 + ((self._gains - means) ** 2).cumsum(axis=0)) / seen
        before = np.concatenate([np.full_like(variances[:1], 0.25), variances[:-1]])
        self._stakes = np.sqrt(2 * math.log(1 / tail) / (n * before))

    def log_wealth(self, mean: float) -> float:
        """Return the logarithm of what one unit has become; falls with the mean, which is in (0, 1)."""
        stakes = np.minimum(self._stakes, _LARGEST_STAKE / mean)
        wealth = np.log1p(stakes * (self._gains - mean)).sum(axis=0)
        return float(scipy.special.logsumexp(wealth)) - math.log(len(wealth))


@functools.lru_cache(maxsize=4)
def _orders(n_rows: int) -> IntArray:
    """Return orders of the rows, (n_rows, orders), always the same ones."""
    orders: IntArray = np.random.default_rng(0).random((n_rows, _N_ORDERS)).argsort(axis=0)
    return orders


def _least_mean(gains: FloatArray, tail: float) -> float:
    """Return the least mean that the bet on more does not exclude."""
    bet, goal, smallest = Bet(gains, tail), math.log(1 / tail), 1e-12
    if bet.log_wealth(smallest) < goal:
        return 0.0
    return float(scipy.optimize.brentq(lambda mean: bet.log_wealth(mean) - goal, smallest, 1.0, xtol=1e-8))


def _scaled(
    shares: FloatArray, ends: tuple[float, float], largest: float, confidence: float, method: Method, n_shared: int
) -> ConfidenceInterval:
    value = float(shares.mean())
    low, high = min(ends[0], value), max(ends[1], value)
    return ConfidenceInterval(value * largest, low * largest, high * largest, confidence, method, len(shares), n_shared)


def shares_of(losses: Any, largest: float) -> FloatArray:
    """Return checked losses as shares of the largest."""
    if not (math.isfinite(largest) and largest > 0):
        message = f"`largest` must be a finite number > 0; got {largest!r}. Use `largest_smoothed_loss(n_classes)`."
        raise OptionError(message)
    array = np.asarray(losses, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        message = (
            f"`losses` must be 1-D with one loss for each row; got shape {array.shape}. Give one column at a time."
        )
        raise OptionError(message)
    shares = array / largest
    if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.max() <= 1 + 1e-9):
        message = f"`losses` must lie between 0 and `largest` = {largest:g}; got {array.min():g} to {array.max():g}. "
        message += "Cross-entropies have no largest value: smooth them first with `smoothed_losses`."
        raise OptionError(message)
    return np.minimum(shares, 1.0)


def _smoothing(smoothing: float) -> float:
    if not 0 < smoothing < 1:
        message = f"`smoothing` must be between 0 and 1; got {smoothing!r}. {SMOOTHING} is usual."
        raise OptionError(message)
    return smoothing
