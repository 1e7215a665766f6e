"""What a ranking can say of new data: an interval for each encoder, and which of them can be the best.

Accuracies and losses are measured on rows that nothing was fitted on, so both have finite-sample statements
(`intervals`, `bounded_means`, `best_set`). A bound has not: it speaks of the rows that it was computed on and promises
nothing for others. What is returned for it is Student's t of the rows' parts, the transport held: how much the bound
varies with the sample, approximately.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.special

from transferability._array import BoolArray, FloatArray, IntArray
from transferability._criteria import TRANSFERRED_ACCURACY, TRANSFERRED_LOSS, Quantity
from transferability.ranking.best_set import best_by_accuracy, best_by_loss
from transferability.statistics.bounded_means import betting_interval, largest_smoothed_loss, smoothed_losses
from transferability.statistics.intervals import ConfidenceInterval, clopper_pearson, tail_of

__all__ = ["can_be_best", "intervals_of", "without_copies"]

Parts = Sequence[FloatArray | BoolArray | None]


def without_copies(parts: Parts, first_copies: Sequence[IntArray | None]) -> Parts:
    """Return the parts of rows that are no copies: of rows that are copies under every encoder, only the first.

    Parameters
    ----------
    parts : sequence of array of shape (n_rows,), or None
    first_copies : sequence of array of int of shape (n_rows,), or None
        Of each encoder: the first row that each row is a copy of; None where no row repeats.
    """
    of_known = [each for part, each in zip(parts, first_copies, strict=True) if part is not None]
    known = [each for each in of_known if each is not None]
    if not known or len(known) < len(of_known) or len({len(each) for each in known}) > 1:
        return parts
    rows = np.sort(np.unique(np.stack(known, axis=1), axis=0, return_index=True)[1])
    return [None if part is None else part[rows] for part in parts]


def intervals_of(
    parts: Parts, quantity: Quantity, n_classes: int, n_classifiers: int | None = None, *, confidence: float = 0.95
) -> list[ConfidenceInterval | None]:
    """Return where the quantity of each encoder lies on new data; all intervals hold at once.

    Parameters
    ----------
    parts : sequence of array of shape (n_rows,), or None
        Part of the quantity of each row, encoder by encoder; their mean is the quantity. Of an accuracy: whether the
        row was classified right. None where unknown.
    quantity : {"transferred_accuracy", "transferred_loss", "bound"}
        Which it is. Losses are smoothed: the interval is of the loss of (1 − ε) h′ + ε / K.
    n_classes : int
        Of the target.
    n_classifiers : int, optional
        How many classifiers were measured on these rows, where each encoder is represented by one of several. Default:
        one for each encoder.
    confidence : float, default=0.95

    Returns
    -------
    list of ConfidenceInterval or None
        None where the parts are unknown, or a single row of a bound.

    Examples
    --------
    >>> import numpy as np
    >>> (found,) = intervals_of([np.ones(42, dtype=bool)], "transferred_accuracy", 10)
    >>> f"{found.low:.1%} to {found.high:.1%}"
    '91.6% to 100.0%'
    """
    n_shared = max(1, sum(each is not None for each in parts) if n_classifiers is None else n_classifiers)
    found: list[ConfidenceInterval | None] = []
    for each in parts:
        if each is None:
            found.append(None)
        elif quantity == TRANSFERRED_ACCURACY:
            n_right = int(np.count_nonzero(each))
            found.append(clopper_pearson(n_right, len(each), confidence=confidence, n_shared=n_shared))
        elif quantity == TRANSFERRED_LOSS:
            losses, largest = smoothed_losses(each, n_classes), largest_smoothed_loss(n_classes)
            found.append(betting_interval(losses, largest, confidence=confidence, n_shared=n_shared))
        else:
            found.append(_student_interval(np.asarray(each, dtype=np.float64), confidence, n_shared))
    return found


def can_be_best(
    parts: Parts, quantity: Quantity, n_classes: int, n_classifiers: int | None = None, *, confidence: float = 0.95
) -> list[float | None]:
    """Return the p-value of "this encoder is the best of the list" for each encoder, shared over all comparisons.

    Those above 1 − confidence can be the best. The best one is among them with that confidence (of a bound: about).

    Parameters
    ----------
    parts, quantity, n_classes, n_classifiers, confidence
        As of `intervals_of`.

    Returns
    -------
    list of float or None
        None where the parts are unknown or belong to other rows than those of the first encoder.

    Examples
    --------
    >>> import numpy as np
    >>> good, poor = np.arange(60) % 10 > 0, np.arange(60) % 2 > 0
    >>> [f"{p:.3f}" for p in can_be_best([good, poor], "transferred_accuracy", 2)]
    ['1.000', '0.000']
    """
    p_values: list[float | None] = [None] * len(parts)
    first = parts[0] if parts else None
    if first is None:
        return p_values
    together = [k for k, each in enumerate(parts) if each is not None and len(each) == len(first)]
    if n_classifiers is not None:
        n_classifiers = max(n_classifiers, len(together))
    rows = np.stack([np.asarray(parts[k]) for k in together], axis=1)  # (n, encoders)
    found: Sequence[float]
    if quantity == TRANSFERRED_ACCURACY:
        found = best_by_accuracy(rows, confidence=confidence, n_classifiers=n_classifiers).p_values
    elif quantity == TRANSFERRED_LOSS:
        losses, largest = smoothed_losses(rows, n_classes), largest_smoothed_loss(n_classes)
        found = best_by_loss(losses, largest, confidence=confidence, n_classifiers=n_classifiers).p_values
    else:
        found = _student_best(rows.astype(np.float64))
    for position, k in enumerate(together):
        p_values[k] = found[position]
    return p_values


def _student_interval(values: FloatArray, confidence: float, n_shared: int) -> ConfidenceInterval | None:
    n, mean = len(values), float(values.mean())
    if n < 2:
        return None
    quantile = float(scipy.special.stdtrit(n - 1, 1 - tail_of(confidence, "both", n_shared)))
    width = quantile * float(values.std(ddof=1)) / math.sqrt(n)
    return ConfidenceInterval(mean, max(0.0, mean - width), mean + width, confidence, "student", n, n_shared)


def _student_best(values: FloatArray) -> list[float]:
    """Return the p-values of paired t tests of each column against those of a smaller mean, times their number."""
    n, m = values.shape
    if n == 1:
        return [1.0] * m
    found = []
    for j in range(m):
        behind = values[:, [j]] - values  # (n, m): more than zero where another is better
        error = behind.std(axis=0, ddof=1) / np.sqrt(n)
        t = float(np.divide(behind.mean(axis=0), error, out=np.zeros(m), where=error > 0).max())
        found.append(min(1.0, (m - 1) * float(scipy.special.stdtr(n - 1, -t))) if t > 0 else 1.0)
    return found
