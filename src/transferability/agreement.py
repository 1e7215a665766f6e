"""How well a score's ranking of encoders agrees with the accuracies that were measured after fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.stats

from transferability._array import FloatArray
from transferability.errors import OptionError, TaskError

__all__ = ["FEWEST_RESAMPLED", "Agreement", "Estimate", "agreement", "bootstrap_pairs", "top_k_regret"]

FEWEST_RESAMPLED = 5
"""Encoders that an interval needs: of fewer, the resamples that have a correlation are few and nearly alike."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its bootstrap interval.

    Attributes
    ----------
    value : float
        On all encoders.
    low, high : float or None
        Ends of the interval; None of fewer than five encoders, where resampling says nothing.
    """

    value: float
    low: float | None
    high: float | None

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class Agreement:
    """Agreement of a score with accuracies; correlations are 1 for perfect agreement, whatever the score's direction.

    Attributes
    ----------
    pearson, spearman, kendall, weighted_kendall : Estimate
        Linear correlation, rank correlation, Kendall's τ_b, and τ weighted towards the best encoders [1]_
        (`scipy.stats.weightedtau`: hyperbolic, ranks by both lexicographic orders).
    regret : Estimate
        Best accuracy less the best among the k encoders that the score puts first, in the unit of the accuracies.
    k : int
    n_encoders : int

    References
    ----------
    .. [1] Vigna. A weighted correlation index for rankings with ties. WWW 2015.
    """

    pearson: Estimate
    spearman: Estimate
    kendall: Estimate
    weighted_kendall: Estimate
    regret: Estimate
    k: int
    n_encoders: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def agreement(
    scores: Sequence[float] | FloatArray,
    accuracies: Sequence[float] | FloatArray,
    *,
    higher_is_better: bool = True,
    k: int = 1,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Compare scores with measured accuracies of the same encoders.

    Parameters
    ----------
    scores, accuracies : sequence of float
        One of each per encoder, finite, in the same order; three encoders or more.
    higher_is_better : bool, default=True
        Direction of the score.
    k : int, default=1
        How many encoders one is ready to fine-tune, for the regret.
    confidence : float, default=0.95
        Of the bootstrap intervals, between 0 and 1.
    n_resamples : int, default=1000
        Of the bootstrap.
    seed : int, default=0
        Of the bootstrap.

    Raises
    ------
    TaskError
        If lengths differ, there are fewer than three encoders, values are not finite, or all scores or all accuracies
        are equal.
    OptionError
        If an option is out of its range.

    Notes
    -----
    Intervals are percentile intervals over resampled encoders; with ten encoders they are wide, and should be. There is
    none of fewer than five: of three, only resamples with all three or with two of them have a correlation, which is
    that of the sample or 1 or −1.

    Examples
    --------
    >>> found = agreement([0.3, 0.5, 0.4, 0.9], [70.0, 80.0, 81.0, 90.0])
    >>> round(found.kendall.value, 3), found.regret.value
    (0.667, 0.0)
    """
    first, second = _checked(scores, accuracies)
    if not higher_is_better:
        first = -first
    if not 1 <= k <= len(first):
        message = f"`k` must be from 1 to {len(first)}, the number of encoders; got {k!r}."
        raise OptionError(message)
    if not 0 < confidence < 1:
        message = f"`confidence` must be between 0 and 1; got {confidence!r}."
        raise OptionError(message)
    if n_resamples < 1:
        message = f"`n_resamples` must be a positive integer; got {n_resamples!r}."
        raise OptionError(message)

    def estimate(statistic: Any) -> Estimate:
        rng = np.random.default_rng(seed)  # the same resamples for all statistics
        return bootstrap_pairs(statistic, first, second, confidence=confidence, n_resamples=n_resamples, rng=rng)

    return Agreement(
        pearson=estimate(_pearson),
        spearman=estimate(_spearman),
        kendall=estimate(lambda a, b: float(scipy.stats.kendalltau(a, b).statistic)),
        weighted_kendall=estimate(lambda a, b: float(scipy.stats.weightedtau(a, b).statistic)),
        regret=estimate(partial(_regret, k=k)),
        k=k,
        n_encoders=len(first),
    )


def top_k_regret(
    scores: Sequence[float] | FloatArray,
    accuracies: Sequence[float] | FloatArray,
    *,
    k: int = 1,
    higher_is_better: bool = True,
) -> float:
    """Return the best accuracy less the best among the k encoders that the score puts first.

    Encoders whose scores tie are taken worst first, so that a score which cannot tell them apart is not flattered.

    Examples
    --------
    >>> top_k_regret([1, 2, 3], [80, 90, 85])
    5.0
    """
    first, second = _checked(scores, accuracies, may_be_constant=True)
    return _regret(first if higher_is_better else -first, second, k=k)


def _regret(scores: FloatArray, accuracies: FloatArray, *, k: int) -> float:
    order = np.lexsort((accuracies, -scores))
    return float(accuracies.max() - accuracies[order[:k]].max())


def _pearson(a: FloatArray, b: FloatArray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _spearman(a: FloatArray, b: FloatArray) -> float:
    return _pearson(scipy.stats.rankdata(a), scipy.stats.rankdata(b))


def _checked(scores: Any, accuracies: Any, *, may_be_constant: bool = False) -> tuple[FloatArray, FloatArray]:
    arrays = []
    for values, argument in ((scores, "scores"), (accuracies, "accuracies")):
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 1 or not np.isfinite(array).all():
            message = f"`{argument}` must be finite numbers, one per encoder; got {values!r}."
            raise TaskError(message)
        arrays.append(array)
    first, second = arrays
    if len(first) != len(second):
        message = f"`scores` and `accuracies` must have the same length; got {len(first)} and {len(second)}."
        raise TaskError(message)
    if may_be_constant:
        return first, second
    if len(first) < 3:
        message = f"`scores` must hold three encoders or more to speak of agreement; got {len(first)}."
        raise TaskError(message)
    for array, argument in ((first, "scores"), (second, "accuracies")):
        if np.ptp(array) == 0:
            message = f"`{argument}` must differ between encoders; all are {array[0]:g}. No correlation is defined."
            raise TaskError(message)
    return first, second


def bootstrap_pairs(
    statistic: Callable[[FloatArray, FloatArray], float],
    first: FloatArray,
    second: FloatArray,
    *,
    confidence: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> Estimate:
    """Return the statistic of two paired samples, in which their order has no part, and its percentile interval.

    Of fewer than five pairs there is no interval.
    Resamples in which one of the two does not vary are drawn again: a correlation is not defined there.
    `scipy.stats.bootstrap` would return nan for the whole interval.
    """
    value = statistic(first, second)
    if len(first) < FEWEST_RESAMPLED:
        return Estimate(value, None, None)
    values = np.empty(n_resamples)
    known: dict[bytes, float] = {}  # of five pairs there are 126 resamples
    for index in range(n_resamples):
        while True:
            rows = np.sort(rng.integers(len(first), size=len(first)))
            a, b = first[rows], second[rows]
            if np.ptp(a) > 0 and np.ptp(b) > 0:
                break
        drawn = rows.tobytes()
        if drawn not in known:
            known[drawn] = statistic(a, b)
        values[index] = known[drawn]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    # The resamples need not surround the statistic: an extreme one is not reached by most of them.
    return Estimate(value, min(float(low), value), max(float(high), value))
