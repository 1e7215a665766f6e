r"""Which encoders can still be the best of a list: a set that holds the best one with the confidence given.

The observed first of a hundred is first partly by luck, and a test of the others against it does not know that. So each
encoder j is tested by itself: it leaves the set where some encoder k is better on the same rows, by more than chance
can do in m − 1 comparisons. The best encoder leaves the set with a chance of at most α, whoever is best, because all m
− 1 tests against it are tests of true hypotheses; that others are in the set or not does not matter.

Accuracies are compared by the exact sign test of McNemar [1]_: of the rows on which one of the two is right and the
other wrong, the better one wins at least half on average. Losses are compared by a bet on their difference
(`statistics.bounded_means`). Both hold for any number of rows. Of ten encoders of one accuracy, .9 on 100
rows, the sign tests keep a given one in 99 % where 95 % are claimed; the bootstrap of the largest of all differences in
93 %, sign tests against the observed first in 87 %, the share of resamples in which that stays ahead in 72 %. What is
exact costs power: 8.8 of ten encoders from .9 down by .01 are kept, and 7.7 by that bootstrap
(`benchmarks/coverage.py`).

References
----------
.. [1] McNemar. Note on the sampling error of the difference between correlated proportions. Psychometrika 1947.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

from transferability._array import BoolArray, FloatArray
from transferability.errors import OptionError
from transferability.statistics.bounded_means import Bet, shares_of
from transferability.statistics.intervals import tail_of

__all__ = ["BestSet", "best_by_accuracy", "best_by_loss", "betting_test", "sign_test"]

_RIVALS = 3
"""Encoders with the clearest lead over one, on which bets are made."""


@dataclass(frozen=True)
class BestSet:
    """The encoders that can be best.

    Attributes
    ----------
    p_values : tuple of float
        Of "this encoder is the best", for each encoder, shared over all comparisons.
    confidence : float
        With which the best encoder is in the set.
    """

    p_values: tuple[float, ...]
    confidence: float

    @property
    def included(self) -> tuple[bool, ...]:
        """Whether each encoder can be the best."""
        return tuple(each > 1 - self.confidence for each in self.p_values)


def best_by_accuracy(correct: Any, *, confidence: float = 0.95, n_classifiers: int | None = None) -> BestSet:
    """Return which encoders can have the largest accuracy.

    Parameters
    ----------
    correct : bool array of shape (n_rows, n_encoders)
        Whether the row was classified right; the same rows for all encoders.
    confidence : float, default=0.95
        Between 0 and 1.
    n_classifiers : int, optional
        How many classifiers these rows chose among, where each encoder is represented by the best of several (one for
        each reference, say). Default: one for each encoder.

    Returns
    -------
    BestSet

    Raises
    ------
    OptionError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n m²). Shared by Bonferroni, over the m − 1 comparisons of an encoder. Where the rows have also chosen each
    encoder's classifier among M, all M (M − 1) / 2 pairs count.

    Examples
    --------
    >>> import numpy as np
    >>> correct = np.random.default_rng(0).random((300, 3)) < [0.9, 0.87, 0.6]
    >>> best_by_accuracy(correct).included
    (True, True, False)
    """
    array = np.asarray(correct)
    if array.dtype != np.bool_ or array.ndim != 2 or 0 in array.shape:
        message = f"`correct` must be bool of shape (n_rows, n_encoders); got {array.dtype} of shape {array.shape}."
        raise OptionError(message)
    comparisons = _comparisons(array.shape[1], n_classifiers, confidence)
    return _shared(sign_test(array).min(axis=1), comparisons, confidence)


def sign_test(correct: BoolArray, weight: float = 1.0) -> FloatArray:
    """Return McNemar's exact one-sided p-values of "j is at least as accurate as k", shape (m, m); (n, m) is given.

    A `weight` below 1 gives those of a sample with so many fewer rows that shows the same.
    """
    right = correct.astype(np.float64)  # counts below 2**53 are exact
    won = weight * (right.T @ (1 - right))  # (m, m): rows on which one is right and the other wrong
    lost = won.T
    # P(Bin(N, 1/2) ≥ lost), which is 1 for lost = 0; rows j, columns k.
    tails: FloatArray = np.where(lost > 0, scipy.special.betainc(np.maximum(lost, 1e-9), won + 1, 0.5), 1.0)
    return tails


def best_by_loss(losses: Any, largest: float, *, confidence: float = 0.95, n_classifiers: int | None = None) -> BestSet:
    """Return which encoders can have the smallest mean loss.

    Parameters
    ----------
    losses : array of shape (n_rows, n_encoders)
        From 0 to `largest`; the same rows for all encoders.
    largest : float
        What no loss can exceed (`largest_smoothed_loss`).
    confidence, n_classifiers
        As of `best_by_accuracy`.

    Returns
    -------
    BestSet

    Raises
    ------
    OptionError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n m²). Few rows exclude little: nothing is assumed but the largest loss.

    Examples
    --------
    >>> import numpy as np
    >>> losses = np.random.default_rng(0).random((300, 3)) * [0.5, 0.51, 1.0]
    >>> best_by_loss(losses, 1.0).included
    (True, True, False)
    """
    array = np.asarray(losses, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        message = f"`losses` must be of shape (n_rows, n_encoders); got shape {array.shape}. Stack them by columns."
        raise OptionError(message)
    n_encoders = array.shape[1]
    comparisons = _comparisons(n_encoders, n_classifiers, confidence)
    smallest = betting_test(array, largest, (1 - confidence) / comparisons, _RIVALS).min(axis=1)
    return _shared(smallest, comparisons, confidence)


def betting_test(losses: FloatArray, largest: float, tail: float, n_rivals: int) -> FloatArray:
    """Return p-values of "the mean loss of j is at most that of k", (n, m) -> (m, m), by betting; 1 without a bet.

    Bets, which are made for this tail, are on the `n_rivals` encoders with the clearest lead over j: others cannot win
    as much.
    """
    shares = shares_of(losses.ravel(), largest).reshape(losses.shape)
    tails = np.ones((losses.shape[1], losses.shape[1]))
    for j in range(losses.shape[1]):
        gains = (1 + shares[:, [j]] - shares) / 2  # (n, m), at most 1/2 on average where j is no worse
        lead = (gains.mean(axis=0) - 0.5) / np.maximum(gains.std(axis=0), 1e-12)
        for k in np.argsort(-lead, kind="stable")[:n_rivals]:
            if lead[k] > 0:
                tails[j, k] = min(1.0, math.exp(-Bet(gains[:, k], tail).log_wealth(0.5)))
    return tails


def _comparisons(n_encoders: int, n_classifiers: int | None, confidence: float) -> int:
    """Return over how many comparisons the error is shared."""
    if n_classifiers is None or n_classifiers == n_encoders:
        comparisons = max(1, n_encoders - 1)
    elif n_classifiers < n_encoders:
        message = f"`n_classifiers` must be at least {n_encoders}, one for each encoder; got {n_classifiers!r}."
        raise OptionError(message)
    else:
        comparisons = n_classifiers * (n_classifiers - 1) // 2
    tail_of(confidence, "lower", comparisons)  # checks the confidence
    return comparisons


def _shared(p_values: FloatArray, comparisons: int, confidence: float) -> BestSet:
    return BestSet(tuple(float(each) for each in np.minimum(1.0, p_values * comparisons)), confidence)
