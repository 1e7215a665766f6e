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
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from transferability._array import FloatArray
from transferability.errors import OptionError

__all__ = ["ExpectedAccuracy", "KnownAccuracy", "expected_accuracies", "published_accuracies"]

CONFIDENCE = 0.9
_ROWS = 1000  # that known accuracies are taken to be measured on
_FREEDOM = 3  # degrees of freedom of each target beyond the first


class KnownAccuracy(NamedTuple):
    """An encoder on a target, of which both accuracies are known."""

    target: str
    encoder: str
    probe: float
    fine_tuned: float


class ExpectedAccuracy(NamedTuple):
    """What fine-tuning will give.

    Attributes
    ----------
    value, low, high : float
        Shares; the ends hold 90 % of new encoders and targets that are like those of the pairs.
    n_pairs, n_targets : int
        That it rests on.
    """

    value: float
    low: float
    high: float
    n_pairs: int
    n_targets: int


@cache
def published_accuracies() -> tuple[KnownAccuracy, ...]:
    """Return the pairs of the experiment with packaged encoders of pictures (`experiments/known_accuracies.py`)."""
    text = files("transferability.ranking").joinpath("known_accuracies.json").read_text("utf-8")
    return tuple(KnownAccuracy(**pair) for pair in json.loads(text)["pairs"])


def expected_accuracies(
    probes: Sequence[float],
    known: Sequence[KnownAccuracy] | None = None,
    *,
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
    shares = np.array(
        [*(share for pair in pairs for share in (pair.probe, pair.fine_tuned)), *probes], dtype=np.float64
    )
    if not ((shares >= 0) & (shares <= 1)).all():
        message = f"accuracies must be between 0 and 1; got {float(shares[~((shares >= 0) & (shares <= 1))][0])!r}."
        raise OptionError(message)
    x, y = _logit(shares[: 2 * len(pairs)], _ROWS).reshape(-1, 2).T
    left_out = np.empty(len(pairs))
    for k in range(len(targets)):
        own = group == k
        left_out[own] = np.abs(y[own] - _predict(x[~own], y[~own], x[own]))
    rank = int(np.ceil(confidence * (len(pairs) + 1)))
    margin = np.inf if rank > len(pairs) else float(np.sort(left_out)[rank - 1])
    level = (1 + confidence) / 2
    margin *= float(stdtrit(_FREEDOM * (len(targets) - 1), level) / ndtri(level))
    new = shares[2 * len(pairs) :]
    at = _logit(new, n_rows)
    away = _away(x, at)
    with np.errstate(invalid="ignore"):
        spread = np.where(np.isinf(away), np.inf, margin * away)
    margins = np.hypot(spread, ndtri(level) * _slope(x, y) * _noise(new, n_rows))
    centre = _predict(x, y, at)
    low, high = np.minimum(*_shares(centre - margins)), np.maximum(*_shares(centre + margins))
    values = np.clip(_shares(centre)[0], low, high)
    return [
        ExpectedAccuracy(float(a), float(b), float(c), len(pairs), len(targets))
        for a, b, c in zip(values, low, high, strict=True)
    ]


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


def _noise(share: FloatArray, n_rows: int) -> FloatArray:
    """Return the standard error of the log odds of a share of so many rows, beyond that of the known ones."""
    smooth = (share * n_rows + 0.5) / (n_rows + 1)
    error: FloatArray = np.sqrt(np.maximum(1 / n_rows - 1 / _ROWS, 0.0) / (smooth * (1 - smooth)))
    return error


def _logit(share: FloatArray, n_rows: int) -> FloatArray:
    """Return log odds, those of 0 and 1 as if half a row more had been the other way."""
    odds: FloatArray = np.log((share * n_rows + 0.5) / ((1 - share) * n_rows + 0.5))
    return odds


def _shares(logit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the share of 1,000 rows that has these log odds, at most all of them, and the share that has them."""
    with np.errstate(over="ignore"):
        any_number: FloatArray = 1 / (1 + np.exp(-logit))
    return np.clip((any_number * (_ROWS + 1) - 0.5) / _ROWS, 0.0, 1.0), any_number
