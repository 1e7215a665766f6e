r"""How accurate an encoder will be after fine-tuning: a value and an interval, from pairs where both are known.

With the accuracy :math:`p` of a linear probe and the accuracy :math:`a` after fine-tuning, of encoders on other
targets, :math:`\operatorname{logit} a` is regressed on :math:`\operatorname{logit} p`, with an effect of each target
(`transferability.ranking.target_effect` has the equations). Of a new target nothing is known of the effect but how much
targets differ. With m encoders that were **fine-tuned on the target itself**, the mean of what they are off the line is
the target's own offset, as far as targets differ, and what they scatter is pooled into the scatter of the other
targets. All that were fine-tuned count, not only those that went on to the last round: these are there because they
were accurate, and would promise too much for the others.

**The interval** is conformal, with targets left out one after the other, because encoders on one target err together
(Lee, Barber and Willett 2023, *Distribution-free inference with hierarchical data*). Each known target plays the new
one: its m first encoders by their probes are given, as those of a ranking are confirmed, and the others predicted from
them and the other targets. The quantile is that of absolute residuals divided by their predicted deviation; times the
deviation of the encoder in question it is the margin. So it holds for what a normal distribution has not: targets whose
line is steeper than that of others, and an encoder that fine-tunes badly everywhere. (Student's t, which takes them as
normal, holds 70 to 79 % of the published pairs after three encoders, of 90: `benchmarks/coverage.py --only confirmed`.)
It supposes that the new target is like those of the pairs.

Of K targets the quantile is uncertain itself. It is multiplied by the ratio of Student's quantile to the normal one,
with 2 (K − 1) degrees of freedom where nothing of the target is known, so that its effect counts in full, and
3 (K − 1) after fine-tuning. (Chosen by simulation: `benchmarks/coverage.py --only expected --only confirmed`.) Of a
probe that was measured on few rows the interval grows by the standard error of its log odds. Of fewer than nine pairs
it is all of 0 to 1.

**A fine-tuned encoder that is far from what was expected of it** (`surprises`) says either that it went wrong or that
the target is unlike the known ones. Intervals of the others then reach over both: with it, and without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transferability.errors import OptionError
from transferability.ranking.conformal import CONFIDENCE, KnownRegression, Margins
from transferability.ranking.known_accuracies import N_ROWS
from transferability.ranking.known_accuracies import KnownAccuracy as KnownAccuracy
from transferability.ranking.known_accuracies import published_accuracies as published_accuracies
from transferability.ranking.log_odds import shares

__all__ = [
    "CONFIDENCE",
    "ExpectedAccuracy",
    "KnownAccuracy",
    "expected_accuracies",
    "published_accuracies",
    "surprises",
]


class ExpectedAccuracy(NamedTuple):
    """What fine-tuning will give.

    Attributes
    ----------
    value, low, high : float
        Shares; the ends hold 90 % of new encoders and targets that are like those of the pairs.
    n_pairs, n_targets : int
        That it rests on.
    n_confirmed : int
        Encoders that were fine-tuned on the target itself, which it rests on too.
    measured : bool
        Whether it is no expectation: the encoder itself was fine-tuned on the target. These are its accuracy and the
        interval of that, of 90 % too.
    """

    value: float
    low: float
    high: float
    n_pairs: int
    n_targets: int
    n_confirmed: int = 0
    measured: bool = False


def expected_accuracies(
    probes: Sequence[float],
    known: Sequence[KnownAccuracy] | None = None,
    *,
    confirmed: Sequence[KnownAccuracy] = (),
    n_rows: int | Sequence[int] = N_ROWS,
    confidence: float = CONFIDENCE,
) -> list[ExpectedAccuracy]:
    """Return the expected fine-tuned accuracy of encoders, from the accuracies of their linear probes.

    Parameters
    ----------
    probes : sequence of float
        Accuracies between 0 and 1, on rows that the probes were not fitted on.
    known : sequence of KnownAccuracy, optional
        Pairs of two targets or more; by default the published ones, of pictures.
    confirmed : sequence of KnownAccuracy
        Encoders that were fine-tuned on the target in question, whatever their `target` says: the first of a ranking.
    n_rows : int or sequence of int, default=1000
        That the probes were measured on, all or each: of few, an accuracy of 1 is no sure thing.
    confidence : float, default=0.9

    Raises
    ------
    OptionError
        If there are not two targets, or a number is out of range.

    Examples
    --------
    >>> (found,) = expected_accuracies([0.8])
    >>> found.low < found.value < found.high
    True
    """
    regression = _regression(known)
    if not 0 < confidence < 1:
        message = f"`confidence` must be between 0 and 1; got {confidence!r}. 0.9 is usual."
        raise OptionError(message)
    rows = [n_rows] * len(probes) if isinstance(n_rows, int | np.integer) else list(n_rows)
    if len(rows) != len(probes):
        message = f"`n_rows` must be one number, or one for each of {len(probes)} probes; got {len(rows)}."
        raise OptionError(message)
    for probe, count in zip(probes, rows, strict=True):
        _check_share(probe, "an accuracy of `probes`")
        _check_rows(count, "`n_rows`")
    _check_pairs(confirmed, "confirmed")
    found = regression.margins(probes, rows, confirmed, confidence)
    usual = regression.without_surprises(confirmed)
    if len(usual) < len(confirmed):
        found = found.joined(regression.margins(probes, rows, usual, confidence))
    return _as_shares(found, regression, len(confirmed))


def surprises(
    confirmed: Sequence[KnownAccuracy], known: Sequence[KnownAccuracy] | None = None
) -> list[tuple[KnownAccuracy, ExpectedAccuracy]]:
    """Return the encoders that fine-tuning left far from what was expected of them, with what was expected.

    The farthest comes first; it is not used for what is expected of the next. Far is outside of a 99 % interval from
    the other encoders that were fine-tuned on the target, and from the known pairs.

    Parameters
    ----------
    confirmed, known
        As of `expected_accuracies`.

    Examples
    --------
    >>> [pair.encoder for pair, _ in surprises([KnownAccuracy("here", "a", 0.9, 0.1)])]
    ['a']
    """
    regression = _regression(known)
    _check_pairs(confirmed, "confirmed")
    usual = list(confirmed)
    found = []
    while (far := regression.farthest(usual)) is not None:
        pair = usual.pop(far)
        margins = regression.margins([pair.probe], [pair.probe_rows], usual, CONFIDENCE)
        found += [(pair, expected) for expected in _as_shares(margins, regression, len(usual))]
    return found


def _regression(known: Sequence[KnownAccuracy] | None) -> KnownRegression:
    pairs = published_accuracies() if known is None else tuple(known)
    n_targets = len({pair.target for pair in pairs})
    if n_targets < 2:
        message = f"`known` must hold accuracies of two targets or more; got {n_targets}. Validate on another one."
        raise OptionError(message)
    _check_pairs(pairs, "known")
    return KnownRegression.of(pairs)


def _check_pairs(pairs: Sequence[KnownAccuracy], argument: str) -> None:
    for pair in pairs:
        where = f"of encoder {pair.encoder!r} on target {pair.target!r} in `{argument}`"
        for share in (pair.probe, pair.fine_tuned):
            _check_share(share, f"an accuracy {where}")
        for count in (pair.probe_rows, pair.rows):
            _check_rows(count, f"the number of rows {where}")


def _check_share(share: float, what: str) -> None:
    if isinstance(share, str) or not 0 <= share <= 1:
        message = f"{what} must be between 0 and 1; got {share!r}. Accuracies are shares: 0.9 of 90 %."
        raise OptionError(message)


def _check_rows(count: int, what: str) -> None:
    if isinstance(count, str) or not 1 <= count < np.inf:
        message = f"{what} must be at least 1; got {count!r}. Give how many rows the accuracy was measured on."
        raise OptionError(message)


def _as_shares(margins: Margins, regression: KnownRegression, n_confirmed: int) -> list[ExpectedAccuracy]:
    ends = shares(margins.low, regression.rows), shares(margins.high, regression.rows)
    low, high = np.minimum(*ends[0]), np.maximum(*ends[1])
    values = np.clip(shares(margins.centre, regression.rows)[0], low, high)
    return [
        ExpectedAccuracy(float(a), float(b), float(c), len(regression.x), regression.n_targets, n_confirmed)
        for a, b, c in zip(values, low, high, strict=True)
    ]
