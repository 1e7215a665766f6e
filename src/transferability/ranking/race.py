r"""Which encoders are behind the first k of a list, by a paired test on a sample of the rows.

Encoder j is among the first k if at most k − 1 others are better. It is behind them if k others are better by more than
chance can do: where the k-th smallest of its paired p-values (`best_set`) is at most α / N, for N comparisons. If j is
among the first k, at most k − 1 of the comparisons are of better encoders, so the k-th smallest p-value is no smaller
than the smallest of the N others, whose hypotheses are true: that is at most α / N with a chance of at most α. A race
tests again on larger samples: over R rounds each has α / R, so that each of the first k leaves with a chance of at
most α, however the race goes.

The test speaks of the classifiers that are fitted on the sample. That an encoder would overtake with more rows to fit
on is what it cannot exclude; `experiments/race.py` measures how often the first choice stays what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special

from transferability._array import FloatArray
from transferability._criteria import TRANSFERRED_ACCURACY, TRANSFERRED_LOSS, Quantity
from transferability._validate import check_choice
from transferability.errors import OptionError
from transferability.ranking.best_set import betting_test, sign_test
from transferability.statistics.bounded_means import largest_smoothed_loss, smoothed_losses

__all__ = ["Behind", "Leaving", "Sample", "behind_first", "leaving"]

_SMALLEST = 1e-300
_SPARE = 2
"""Rivals on which bets are made beyond the k clearest: the clearest lead is not always the surest."""


@dataclass(frozen=True)
class Behind:
    """Evidence that an encoder is behind the first k.

    Attributes
    ----------
    p_value : float
        Of "it is among the first k", shared over all comparisons.
    rival : int
        The encoder whose lead decides: k are at least as surely ahead as this one.
    """

    p_value: float
    rival: int


def behind_first(
    parts: Any,
    quantity: Quantity,
    *,
    first: int = 1,
    n_classes: int = 2,
    n_comparisons: int | None = None,
    weight: float = 1.0,
) -> list[Behind]:
    """Return the evidence that each encoder is behind the first k.

    Parameters
    ----------
    parts : array of shape (n_rows, n_encoders)
        Part of the quantity of each row; the same rows for all encoders. Of an accuracy: whether the row was classified
        right.
    quantity : {"transferred_accuracy", "transferred_loss", "bound"}
        Compared by the exact sign test, by bets on the difference of the smoothed losses, and by Student's t, which is
        approximate.
    first : int, default=1
        k, below the number of encoders.
    n_classes : int, default=2
        Of the target; of losses, for the largest that there can be.
    n_comparisons : int, optional
        Over how many comparisons the error is shared; by default the number of encoders less k. Larger where this list
        is what is left of a longer one, or where each encoder is the best of several classifiers.
    weight : float, default=1
        As how much of a row each row counts, at most 1: p-values are then those of a sample that shows the same with so
        many fewer rows, and small differences are no evidence however many rows there are.

    Returns
    -------
    list of Behind

    Raises
    ------
    OptionError
        If `first` is not from 1 to the number of encoders less one.

    Examples
    --------
    >>> import numpy as np
    >>> correct = np.random.default_rng(0).random((300, 4)) < [0.9, 0.88, 0.7, 0.4]
    >>> [f"{each.p_value:.3f}" for each in behind_first(correct, "transferred_accuracy")]
    ['1.000', '0.720', '0.000', '0.000']
    >>> [f"{each.p_value:.3f}" for each in behind_first(correct, "transferred_accuracy", first=3)]
    ['1.000', '1.000', '1.000', '0.000']
    """
    rows = np.asarray(parts)
    if rows.ndim != 2:
        message = f"`parts` must be of shape (n_rows, n_encoders); got shape {rows.shape}. Stack them by columns."
        raise OptionError(message)
    n_encoders = len(rows.T)
    check_choice(quantity, (TRANSFERRED_ACCURACY, TRANSFERRED_LOSS, "bound"), "quantity")
    if not isinstance(first, int | np.integer) or not 1 <= first < n_encoders:
        message = f"`first` must be a whole number from 1 to {n_encoders - 1}, fewer than the encoders; got {first!r}."
        raise OptionError(message)
    n_comparisons = n_encoders - first if n_comparisons is None else n_comparisons
    if quantity == TRANSFERRED_ACCURACY:
        tails = sign_test(rows.astype(bool), weight)
    elif quantity == TRANSFERRED_LOSS:
        losses, largest = smoothed_losses(rows, n_classes), largest_smoothed_loss(n_classes)
        tail = max((0.05 / n_comparisons) ** (1 / weight), _SMALLEST)  # stakes as for so many fewer rows
        tails = betting_test(losses, largest, tail, first + _SPARE) ** weight
    else:
        tails = _student(rows.astype(np.float64), weight)
    np.fill_diagonal(tails, 1.0)
    order = np.argsort(tails, axis=1, kind="stable")[:, first - 1]
    found = tails[np.arange(n_encoders), order] * n_comparisons
    return [Behind(float(min(1.0, p_value)), int(rival)) for p_value, rival in zip(found, order, strict=True)]


@dataclass(frozen=True)
class Sample:
    """What a sample of the rows says of the encoders of a race, each layer of an encoder by itself.

    Attributes
    ----------
    parts : array of shape (n_rows, n_views)
        Part of the quantity of each row.
    owners : sequence of int of length n_views
        Which encoder each column belongs to.
    quantity : {"transferred_accuracy", "transferred_loss", "bound"}
    n_classes : int
        Of the target.
    n_references : int
        Among how many references these rows have chosen the classifier of each column.
    common : bool
        Whether they have chosen one reference for all columns.
    weight : float
        As how much of a row each row counts.
    """

    parts: npt.NDArray[Any]
    owners: Sequence[int]
    quantity: Quantity
    n_classes: int
    n_references: int = 1
    common: bool = False
    weight: float = 1.0

    def n_comparisons(self, first: int, n_encoders: int) -> int:
        """Return over how many comparisons the error is shared, in a race that began with so many encoders.

        An encoder is compared with the others. Where rows have chosen among references, they have chosen which encoders
        are the first too: all classifiers count, in pairs that can have been chosen together.
        """
        n_columns = max(n_encoders, len(self.owners))
        if self.n_references == 1 or self.common:
            return self.n_references * (n_columns - first)
        n_classifiers = n_columns * self.n_references
        return n_classifiers * (n_classifiers - 1) // 2


@dataclass(frozen=True)
class Leaving:
    """Why an encoder leaves: of its best layer, the value, and those of the rival whose lead decided."""

    value: float
    rival: int  # encoder
    rival_value: float
    p_value: float  # shared over all comparisons of this sample


def leaving(sample: Sample, *, first: int, error: float, n_encoders: int) -> dict[int, Leaving]:
    """Return the encoders of which every column is behind the first, with the evidence.

    Parameters
    ----------
    sample : Sample
    first : int
        How many places are raced for.
    error : float
        The chance that one given of the first leaves.
    n_encoders : int
        How many the race began with. All count, whoever has left: earlier rows, which are rows of this sample too, have
        chosen who is here.
    """
    n_views = len(sample.owners)
    if n_views <= first:
        return {}
    found = behind_first(
        sample.parts,
        sample.quantity,
        first=first,
        n_classes=sample.n_classes,
        n_comparisons=sample.n_comparisons(first, n_encoders),
        weight=sample.weight,
    )
    values = sample.parts.mean(axis=0)
    left: dict[int, Leaving] = {}
    for owner in dict.fromkeys(sample.owners):
        views = [view for view, own in enumerate(sample.owners) if own == owner]
        view = max(views, key=lambda view: found[view].p_value)
        if found[view].p_value <= error:
            rival = found[view].rival
            left[owner] = Leaving(float(values[view]), sample.owners[rival], float(values[rival]), found[view].p_value)
    return left


def _student(values: FloatArray, weight: float) -> FloatArray:
    """Return one-sided p-values of paired t tests of "the mean of j is at most that of k", (j, k)."""
    n, m = values.shape
    tails = np.ones((m, m))
    if n < 2:
        return tails
    for j in range(m):
        behind = values[:, [j]] - values
        error = behind.std(axis=0, ddof=1) / np.sqrt(weight * n)
        t = np.divide(behind.mean(axis=0), error, out=np.zeros(m), where=error > 0)
        tails[j] = np.where(t > 0, scipy.special.stdtr(n - 1, -t), 1.0)
    return tails
