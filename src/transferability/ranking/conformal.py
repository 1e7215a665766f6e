"""Intervals of fine-tuned accuracies in log odds: a regression on known targets, each left out once.

`transferability.ranking.expected` says what is computed, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from transferability._array import FloatArray, IntArray
from transferability.ranking.known_accuracies import KnownAccuracy
from transferability.ranking.log_odds import logit, shares, standard_error, typical_rows
from transferability.ranking.target_effect import OnTarget, pooled_variance, predict, variance_components

__all__ = ["CONFIDENCE", "KnownRegression", "Margins"]

CONFIDENCE = 0.9
_SURPRISING = 0.99
_FREEDOM, _FREEDOM_AFTER = 2, 3  # degrees of freedom of each target beyond the first: before fine-tuning, and after
_SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Margins:
    """Log odds that are expected, and the ends of their intervals, each of shape (n,)."""

    centre: FloatArray
    low: FloatArray
    high: FloatArray

    def joined(self, other: Margins) -> Margins:
        """Return what is expected by another one, with intervals that reach over both."""
        return Margins(other.centre, np.minimum(self.low, other.low), np.maximum(self.high, other.high))


@dataclass(frozen=True, eq=False)
class KnownRegression:
    """A regression of fine-tuned accuracies on probes, in log odds, from pairs of several targets.

    Attributes
    ----------
    x, y : array of shape (n,)
        Log odds of probes and of fine-tuned accuracies.
    group : array of int of shape (n,)
        Number of each one's target, from 0.
    variance, ratio, n_free
        σ² within targets, ρ, and the degrees of freedom of σ²: see `transferability.ranking.target_effect`.
    slope : float
        β of these pairs alone.
    probe_rows, rows : float
        That probes and fine-tuned accuracies were measured on, in the harmonic mean.
    """

    x: FloatArray
    y: FloatArray
    group: IntArray
    variance: float
    ratio: float
    n_free: int
    slope: float
    probe_rows: float
    rows: float

    @classmethod
    def of(cls, pairs: Sequence[KnownAccuracy]) -> KnownRegression:
        """Return the regression on pairs of two targets or more."""
        group = np.unique([pair.target for pair in pairs], return_inverse=True)[1]
        x, y = _logits(pairs)
        within, between, n_free = variance_components(x, y, group)
        variance = max(within, _SMALLEST_VARIANCE)
        ratio = between / variance
        slope = predict(x, y, group, np.zeros(0), ratio, _NOTHING).slope
        rows = (typical_rows([getattr(pair, name) for pair in pairs]) for name in ("probe_rows", "rows"))
        return cls(x, y, group, variance, ratio, n_free, slope, *rows)

    @property
    def n_targets(self) -> int:
        """Number of known targets."""
        return int(self.group.max()) + 1

    def margins(
        self, probes: Sequence[float], n_rows: Sequence[int], confirmed: Sequence[KnownAccuracy], confidence: float
    ) -> Margins:
        """Return what is expected of encoders with these probes, on a target of which some are confirmed."""
        share, rows = np.asarray(probes, dtype=np.float64), np.asarray(n_rows, dtype=np.float64)
        centre, deviation = self._predict(logit(share, rows), self._on_target(confirmed))
        level = (1 + confidence) / 2
        noise = float(ndtri(level)) * abs(self.slope) * standard_error(share, rows, self.probe_rows)
        with np.errstate(invalid="ignore"):
            spread = np.where(np.isinf(deviation), np.inf, self._quantile(len(confirmed), confidence) * deviation)
        half = np.hypot(spread, noise)
        return Margins(centre, centre - half, centre + half)

    def without_surprises(self, confirmed: Sequence[KnownAccuracy]) -> list[KnownAccuracy]:
        """Return the encoders of a target that are not far from what is expected of them."""
        usual = list(confirmed)
        while (far := self.farthest(usual)) is not None:
            usual.pop(far)
        return usual

    def farthest(self, confirmed: Sequence[KnownAccuracy]) -> int | None:
        """Return which encoder of a target is farthest from what the others let expect; None where none is far.

        An accuracy within its interval is not far, whatever its log odds: those of 100 % grow with the rows.
        """
        if not confirmed:
            return None
        x, y, weights = self._on_target(confirmed)
        distances = np.zeros(len(x))
        for k in range(len(x)):
            others = np.arange(len(x)) != k
            centre, deviation = self._predict(x[[k]], (x[others], y[others], weights[others]))
            noise = self.variance * (1 / weights[k] - 1)  # its own accuracies are of fewer rows
            distances[k] = abs(y[k] - centre[0]) / np.hypot(deviation[0], np.sqrt(noise))
            if self._holds(confirmed[k], [confirmed[int(other)] for other in np.flatnonzero(others)]):
                distances[k] = 0.0
        far, freedom = int(np.argmax(distances)), self._freedom(len(x) - 1)
        beyond = stdtrit(freedom, (1 + _SURPRISING) / 2) / stdtrit(freedom, (1 + CONFIDENCE) / 2)
        return far if distances[far] > beyond * self._quantile(len(x) - 1, CONFIDENCE) else None

    def _holds(self, pair: KnownAccuracy, others: Sequence[KnownAccuracy]) -> bool:
        """Tell whether the interval of an encoder holds its accuracy."""
        margins = self.margins([pair.probe], [pair.probe_rows], others, CONFIDENCE)
        low, high = (np.array(shares(end, self.rows)) for end in (margins.low, margins.high))
        return bool(low.min() <= pair.fine_tuned <= high.max())

    def _predict(self, at: FloatArray, on_target: OnTarget) -> tuple[FloatArray, FloatArray]:
        """Return log odds that are expected, and their deviations, with the scatter of the target's own pooled."""
        found = predict(self.x, self.y, self.group, at, self.ratio, on_target)
        variance = self._pooled((self.x, self.y, self.group), on_target)
        return found.centre, np.sqrt(variance) * found.deviation

    def _pooled(self, known: tuple[FloatArray, FloatArray, IntArray], on_target: OnTarget) -> float:
        return pooled_variance(*known, self.ratio, on_target, self.variance, self.n_free)

    def _on_target(self, confirmed: Sequence[KnownAccuracy]) -> OnTarget:
        """Return log odds of encoders of the target, and weights: less of accuracies of fewer rows than known ones."""
        if not confirmed:
            return _NOTHING
        probe, tuned, probe_rows, rows = _columns(confirmed)
        of_probe = standard_error(probe, probe_rows, self.probe_rows)
        noise = np.square(self.slope * of_probe) + np.square(standard_error(tuned, rows, self.rows))
        return *_logits(confirmed), self.variance / (self.variance + noise)

    def _freedom(self, count: int) -> int:
        return (_FREEDOM_AFTER if count else _FREEDOM) * (self.n_targets - 1)

    def _quantile(self, count: int, confidence: float) -> float:
        """Return the quantile of distances of known targets' encoders, so many given, widened for few targets."""
        level, freedom = (1 + confidence) / 2, self._freedom(count)
        distances = self._left_out(self._as_many(count, confidence))
        rank = _rank(len(distances), confidence)
        if rank is None:
            return float(np.inf)
        return float(np.sort(distances)[rank - 1] * stdtrit(freedom, level) / ndtri(level))

    def _left_out(self, count: int) -> FloatArray:
        """Return residuals of known targets by their predicted deviation, their first so many encoders given."""
        found = []
        for k in range(self.n_targets):
            own, others = np.flatnonzero(self.group == k), self.group != k
            own = own[np.argsort(-self.x[own], kind="stable")]
            given, asked = own[:count], own[count:]
            numbers = np.unique(self.group[others], return_inverse=True)[1]
            known = self.x[others], self.y[others], numbers
            on_target = self.x[given], self.y[given], np.ones(len(given))
            centre, deviation, _ = predict(*known, self.x[asked], self.ratio, on_target)
            deviation *= np.sqrt(self._pooled(known, on_target))
            found.append(np.where(np.isinf(deviation), np.inf, np.abs(self.y[asked] - centre) / deviation))
        return np.concatenate(found)

    def _as_many(self, count: int, confidence: float) -> int:
        """Return how many encoders of each known target to give: as were confirmed, or as leave enough to ask for."""
        sizes = np.bincount(self.group)
        enough = (m for m in range(count, 0, -1) if _rank(int((sizes - m).clip(0).sum()), confidence))
        return next(enough, 0)


_NOTHING: OnTarget = (np.zeros(0), np.zeros(0), np.zeros(0))


def _rank(count: int, confidence: float) -> int | None:
    """Return which of so many residuals, from 1, is the quantile of a new one; None of too few."""
    rank = int(np.ceil(confidence * (count + 1)))
    return None if rank > count else rank


def _columns(pairs: Sequence[KnownAccuracy]) -> FloatArray:
    """Return probes, fine-tuned accuracies and the rows of both, (4, n)."""
    return np.array([(c.probe, c.fine_tuned, c.probe_rows, c.rows) for c in pairs], dtype=np.float64).T


def _logits(pairs: Sequence[KnownAccuracy]) -> tuple[FloatArray, FloatArray]:
    probe, tuned, probe_rows, rows = _columns(pairs)
    return logit(probe, probe_rows), logit(tuned, rows)
