r"""How accurate an encoder will be after fine-tuning: a value and an interval, from pairs where both are known.

With the accuracy :math:`p` of a linear probe and the accuracy :math:`a` after fine-tuning, of encoders on other
targets, logits are regressed, :math:`\operatorname{logit} a \approx \alpha + \beta \operatorname{logit} p`. The
interval is that value plus and minus a quantile of absolute residuals, each of a target that the regression was fitted
without: conformal prediction with targets left out one after the other, because encoders on one target err together
(Lee, Barber and Willett 2023, *Distribution-free inference with hierarchical data*). It supposes that the new target is
like those of the pairs.

Of K targets the quantile is uncertain itself. It is multiplied by the ratio of Student's quantile, with 3 (K − 1)
degrees of freedom, to the normal one: 1.4 of two targets, 1.1 of five. (Degrees of freedom chosen by simulation and on
the published pairs: `benchmarks/coverage.py --only expected`.) Away from the known probes it grows as that of a
regression line does, and of a probe measured on few rows by the standard error of its log odds. Of fewer than nine
pairs it is all of 0 to 1.

**With encoders that were fine-tuned on the target itself** the line has an effect of each target
(`transferability.ranking.target_effect` has the equations): of m such encoders, the mean of what they are off the line
is the target's own offset, as far as targets differ. The interval is conformal again. Each known target plays the new
one: its m first encoders by their probes are given, as those of a ranking are confirmed, and the others predicted from
them and the other targets; the quantile is that of absolute residuals divided by their predicted deviation, and it is
multiplied by the deviation of the encoder in question. So it holds for what a normal distribution has not: targets
whose line is steeper than that of others, and an encoder that fine-tunes badly everywhere. (Student's t, which takes
them as normal, holds 70 to 79 % of the published pairs after three encoders, of 90: `benchmarks/coverage.py --only
confirmed`.) All that were fine-tuned count, not only those that went on to the last round: these are there because
they were accurate, and would promise too much for the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from transferability._array import FloatArray, IntArray
from transferability.errors import OptionError
from transferability.ranking.target_effect import predict, variance_components

__all__ = ["ExpectedAccuracy", "KnownAccuracy", "expected_accuracies", "published_accuracies"]

CONFIDENCE = 0.9
_ROWS = 1000  # that known accuracies are taken to be measured on where they do not say
_FREEDOM = 3  # degrees of freedom of each target beyond the first


class KnownAccuracy(NamedTuple):
    """An encoder on a target, of which both accuracies are known.

    Attributes
    ----------
    target, encoder : str
    probe, fine_tuned : float
        Shares.
    probe_rows, rows : int
        That they were measured on, copies counted once.
    """

    target: str
    encoder: str
    probe: float
    fine_tuned: float
    probe_rows: int = _ROWS
    rows: int = _ROWS


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
        interval of that, of 95 %.
    """

    value: float
    low: float
    high: float
    n_pairs: int
    n_targets: int
    n_confirmed: int = 0
    measured: bool = False


@cache
def published_accuracies() -> tuple[KnownAccuracy, ...]:
    """Return the pairs of the experiment with packaged encoders of pictures (`experiments/known_accuracies.py`)."""
    text = files("transferability.ranking").joinpath("known_accuracies.json").read_text("utf-8")
    return tuple(KnownAccuracy(**pair) for pair in json.loads(text)["pairs"])


def expected_accuracies(
    probes: Sequence[float],
    known: Sequence[KnownAccuracy] | None = None,
    *,
    confirmed: Sequence[KnownAccuracy] = (),
    n_rows: int = _ROWS,
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
    n_rows : int, default=1000
        That the probes were measured on: of few, an accuracy of 1 is no sure thing.
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
    pairs = published_accuracies() if known is None else tuple(known)
    targets, group = np.unique([pair.target for pair in pairs], return_inverse=True)
    if len(targets) < 2:
        message = f"`known` must hold accuracies of two targets or more; got {len(targets)}. Validate on another one."
        raise OptionError(message)
    if n_rows < 1:
        message = f"`n_rows` must be at least 1; got {n_rows!r}."
        raise OptionError(message)
    if not 0 < confidence < 1:
        message = f"`confidence` must be between 0 and 1; got {confidence!r}. 0.9 is usual."
        raise OptionError(message)
    known_shares = [(pair.probe, pair.fine_tuned) for pair in (*pairs, *confirmed)]
    shares = np.array([*(share for both in known_shares for share in both), *probes], dtype=np.float64)
    if not ((shares >= 0) & (shares <= 1)).all():
        message = f"accuracies must be between 0 and 1; got {float(shares[~((shares >= 0) & (shares <= 1))][0])!r}."
        raise OptionError(message)
    x, y = _logits(pairs)
    new = np.asarray(probes, dtype=np.float64)
    at, level = _logit(new, n_rows), (1 + confidence) / 2
    if confirmed:
        centre, spread = _with_confirmed(pairs, group, at, confirmed, confidence)
    else:
        centre, spread = _from_other_targets(x, y, group, at, confidence)
    spread = spread * float(stdtrit(_FREEDOM * (len(targets) - 1), level) / ndtri(level))
    noise = _noise(new, n_rows, _typical([pair.probe_rows for pair in pairs]))
    margins = np.hypot(spread, ndtri(level) * _slope(x, y) * noise)
    measured_on = _typical([pair.rows for pair in pairs])
    ends = _shares(centre - margins, measured_on), _shares(centre + margins, measured_on)
    low, high = np.minimum(*ends[0]), np.maximum(*ends[1])
    values = np.clip(_shares(centre, measured_on)[0], low, high)
    return [
        ExpectedAccuracy(float(a), float(b), float(c), len(pairs), len(targets), len(confirmed))
        for a, b, c in zip(values, low, high, strict=True)
    ]


def _from_other_targets(
    x: FloatArray, y: FloatArray, group: IntArray, at: FloatArray, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """Return the logits expected on a new target, and how far the truth may be."""
    left_out = np.empty(len(x))
    for k in range(int(group.max()) + 1):
        own = group == k
        left_out[own] = np.abs(y[own] - _predict(x[~own], y[~own], x[own]))
    margin, away = _quantile(left_out, confidence), _away(x, at)
    with np.errstate(invalid="ignore"):
        return _predict(x, y, at), np.where(np.isinf(away), np.inf, margin * away)


def _with_confirmed(
    pairs: Sequence[KnownAccuracy],
    group: IntArray,
    at: FloatArray,
    confirmed: Sequence[KnownAccuracy],
    confidence: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the same on a target of which the accuracies of some encoders are known."""
    x, y = _logits(pairs)
    residual, between = variance_components(x, y, group)
    ratio = between / max(residual, 1e-12)
    left_out = _left_out(x, y, group, ratio, _as_many(group, len(confirmed), confidence))
    noise = _noise_of(confirmed, pairs, _slope(x, y))
    own = (*_logits(confirmed), residual / np.maximum(residual + noise, 1e-12) if residual > 0 else np.ones(len(noise)))
    found = predict(x, y, group, at, ratio, own)
    margin = _quantile(left_out, confidence)
    with np.errstate(invalid="ignore"):
        return found.centre, np.where(np.isinf(found.deviation), np.inf, margin * found.deviation)


def _left_out(x: FloatArray, y: FloatArray, group: IntArray, ratio: float, count: int) -> FloatArray:
    """Return residuals of known targets by their predicted deviation, their first so many encoders given."""
    found = []
    for k in range(int(group.max()) + 1):
        own = np.flatnonzero(group == k)
        own = own[np.argsort(-x[own], kind="stable")]
        given, asked, others = own[:count], own[count:], group != k
        numbers = np.unique(group[others], return_inverse=True)[1]
        on_target = x[given], y[given], np.ones(len(given))
        centre, deviation = predict(x[others], y[others], numbers, x[asked], ratio, on_target)
        found.append(np.where(np.isinf(deviation), np.inf, np.abs(y[asked] - centre) / deviation))
    return np.concatenate(found)


def _as_many(group: IntArray, count: int, confidence: float) -> int:
    """Return how many encoders of each known target to give: as were confirmed, or as leave enough to be asked for."""
    sizes = np.bincount(group)
    return next((m for m in range(count, 0, -1) if _rank(int((sizes - m).clip(0).sum()), confidence)), 0)


def _rank(count: int, confidence: float) -> int | None:
    """Return which of so many residuals, from 1, is the quantile of a new one; None of too few."""
    rank = int(np.ceil(confidence * (count + 1)))
    return None if rank > count else rank


def _quantile(residuals: FloatArray, confidence: float) -> float:
    rank = _rank(len(residuals), confidence)
    return np.inf if rank is None else float(np.sort(residuals)[rank - 1])


def _slope(x: FloatArray, y: FloatArray) -> float:
    """Return the slope of the regression line of y on x; 0 where x is constant."""
    spread = float(((x - x.mean()) ** 2).sum())
    return float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0


def _predict(x: FloatArray, y: FloatArray, at: FloatArray) -> FloatArray:
    """Return the regression line of y on x; a constant where x is."""
    line: FloatArray = y.mean() + _slope(x, y) * (at - x.mean())
    return line


def _away(x: FloatArray, at: FloatArray) -> FloatArray:
    """Return how much less sure the line is at some places than it is at the pairs, in the mean: 1 near them."""
    spread, n = float(((x - x.mean()) ** 2).sum()), len(x)
    leverage = 1 / n + (np.square(at - x.mean()) / spread if spread > 0 else np.where(at == x.mean(), 0.0, np.inf))
    grown: FloatArray = np.sqrt(np.maximum((1 + leverage) / (1 + 2 / n), 1.0))
    return grown


def _typical(rows: Sequence[int]) -> float:
    """Return on how many rows, in the harmonic mean, accuracies were measured: noise goes by 1 / n."""
    return float(len(rows) / np.sum(1 / np.asarray(rows, dtype=np.float64)))


def _noise(share: FloatArray, n_rows: float | FloatArray, typical: float) -> FloatArray:
    """Return the standard error of the log odds of a share of so many rows, beyond that of the known ones."""
    smooth = (share * n_rows + 0.5) / (n_rows + 1)
    error: FloatArray = np.sqrt(np.maximum(1 / n_rows - 1 / typical, 0.0) / (smooth * (1 - smooth)))
    return error


def _noise_of(confirmed: Sequence[KnownAccuracy], pairs: Sequence[KnownAccuracy], slope: float) -> FloatArray:
    """Return the variance of confirmed pairs about the line that comes from their rows, beyond that of known ones."""
    columns = np.array([(c.probe, c.fine_tuned, c.probe_rows, c.rows) for c in confirmed], dtype=np.float64).T
    of_probe = _noise(columns[0], columns[2], _typical([pair.probe_rows for pair in pairs]))
    of_tuned = _noise(columns[1], columns[3], _typical([pair.rows for pair in pairs]))
    variance: FloatArray = np.square(slope * of_probe) + np.square(of_tuned)
    return variance


def _logits(pairs: Sequence[KnownAccuracy]) -> tuple[FloatArray, FloatArray]:
    columns = np.array([(c.probe, c.fine_tuned, c.probe_rows, c.rows) for c in pairs], dtype=np.float64).T
    return _logit(columns[0], columns[2]), _logit(columns[1], columns[3])


def _logit(share: FloatArray, n_rows: float | FloatArray) -> FloatArray:
    """Return log odds, those of 0 and 1 as if half a row more had been the other way."""
    odds: FloatArray = np.log((share * n_rows + 0.5) / ((1 - share) * n_rows + 0.5))
    return odds


def _shares(logit: FloatArray, n_rows: float) -> tuple[FloatArray, FloatArray]:
    """Return the share of so many rows that has these log odds, at most all of them, and the share that has them."""
    with np.errstate(over="ignore"):
        any_number: FloatArray = 1 / (1 + np.exp(-logit))
    return np.clip((any_number * (n_rows + 1) - 0.5) / n_rows, 0.0, 1.0), any_number
