r"""How accurate an encoder will be after fine-tuning: a value and an interval, from pairs where both are known.

With the accuracy :math:`p` of a linear probe and the accuracy :math:`a` after fine-tuning, of encoders on other
targets, logits are regressed, :math:`\operatorname{logit} a \approx \alpha + \beta \operatorname{logit} p`. The
interval is that value plus and minus a quantile of absolute residuals, each of a target that the regression was fitted
without: conformal prediction with targets left out one after the other, because encoders on one target err together
(Lee, Barber and Willett 2023, *Distribution-free inference with hierarchical data*). It supposes that the new target is
like those of the pairs. Of few targets it is wide, and of fewer than nine pairs it is all of 0 to 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray
from transferability.errors import OptionError

__all__ = ["ExpectedAccuracy", "KnownAccuracy", "expected_accuracies", "published_accuracies"]

CONFIDENCE = 0.9
_ROWS = 1000  # what an accuracy of 0 or 1 is taken to be measured on


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
    probes: Sequence[float], known: Sequence[KnownAccuracy] | None = None, *, confidence: float = CONFIDENCE
) -> list[ExpectedAccuracy]:
    """Return the expected fine-tuned accuracy of encoders, from the accuracies of their linear probes.

    Parameters
    ----------
    probes : sequence of float
        Accuracies between 0 and 1, on rows that the probes were not fitted on.
    known : sequence of KnownAccuracy, optional
        Pairs of two targets or more; by default the published ones, of pictures.
    confidence : float, default=0.9

    Raises
    ------
    OptionError
        If there are not two targets, or a number is no share.

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
    if not 0 < confidence < 1:
        message = f"`confidence` must be between 0 and 1; got {confidence!r}. 0.9 is usual."
        raise OptionError(message)
    shares = np.array(
        [*(share for pair in pairs for share in (pair.probe, pair.fine_tuned)), *probes], dtype=np.float64
    )
    if not ((shares >= 0) & (shares <= 1)).all():
        message = f"accuracies must be between 0 and 1; got {float(shares[~((shares >= 0) & (shares <= 1))][0])!r}."
        raise OptionError(message)
    x, y = _logit(shares[: 2 * len(pairs)]).reshape(-1, 2).T
    left_out = np.empty(len(pairs))
    for k in range(len(targets)):
        own = group == k
        left_out[own] = np.abs(y[own] - _predict(x[~own], y[~own], x[own]))
    rank = int(np.ceil(confidence * (len(pairs) + 1)))
    margin = np.inf if rank > len(pairs) else float(np.sort(left_out)[rank - 1])
    centre = _predict(x, y, _logit(shares[2 * len(pairs) :]))
    values, low, high = (_share(centre + shift) for shift in (0.0, -margin, margin))
    return [
        ExpectedAccuracy(float(a), float(b), float(c), len(pairs), len(targets))
        for a, b, c in zip(values, low, high, strict=True)
    ]


def _predict(x: FloatArray, y: FloatArray, at: FloatArray) -> FloatArray:
    """Return the regression line of y on x; a constant where x is."""
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0
    line: FloatArray = y.mean() + slope * (at - x.mean())
    return line


def _logit(share: FloatArray) -> FloatArray:
    """Return log odds, those of 0 and 1 as if half a row more had been the other way."""
    odds: FloatArray = np.log((share * _ROWS + 0.5) / ((1 - share) * _ROWS + 0.5))
    return odds


def _share(logit: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        share: FloatArray = 1 / (1 + np.exp(-logit))
    return share
