"""Both tasks as the solvers see them: standardised, and the reference with the classifiers that were trained on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.constrained import Start
from transferability.relatedness.costs.base import HeldOut
from transferability.relatedness.lipschitz import SoftmaxClassifier, fit_rows
from transferability.relatedness.sample import Sample, at_most, hold_out
from transferability.relatedness.standardize import Scaler
from transferability.task import Task

__all__ = ["Head", "Reference", "Target", "keep_classes"]


_MOST_ROWS = 4_000  # that say how sure a classifier may be
_ROUGH = 0.1  # gap to the optimum, in nats, of a classifier that only compares classes


@dataclass(frozen=True, eq=False)
class Head:
    """``h_R`` of some classes for one τ, and what it does on rows that it has not seen."""

    classifier: SoftmaxClassifier
    held_out: HeldOut
    rough: bool
    starts: tuple[Start, Start]  # where the fit to a part, and that to all rows, ended


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference task, standardised; its classifiers are trained once and serve every target and fold."""

    task: Task
    scaler: Scaler
    fit: Sample
    measured: Sample  # the test part; the fitting part where there is none
    calibrate: bool  # whether classifiers are tried on rows that they have not seen
    seed: int
    _heads: dict[tuple[float, tuple[int, ...]], Head] = field(default_factory=dict)

    @classmethod
    def prepare(cls, task: Task, test: Task | None, *, standardize: bool, calibrate: bool, seed: int) -> Reference:
        """Standardise a reference by its fitting part."""
        scaler = Scaler.fit(task.features) if standardize else Scaler.identity(task.n_features)
        fit = Sample(scaler.apply(task.features), task.require_labels())
        measured = fit if test is None else Sample(scaler.apply(test.features), test.require_labels())
        return cls(task, scaler, fit, measured, calibrate, seed)

    @cached_property
    def spread(self) -> float:
        """Mean squared norm of the features: how many of them are alive, where they are standardised."""
        squares = (
            np.vdot(block, block) for block in np.array_split(self.fit.features, -(-len(self.fit.labels) // 512))
        )
        return float(sum(squares)) / len(self.fit.labels)

    def head(self, tau: float, kept: IntArray, *, rough: bool = False) -> Head:
        """Return the classifier of these classes.

        Parameters
        ----------
        tau : float
        kept : array of int
        rough : bool, default=False
            Whether a few digits will do: to compare classes, before those without use are left out.
        """
        key = tau, tuple(int(k) for k in kept)
        if key not in self._heads or (self._heads[key].rough and not rough):
            self._heads[key] = self._train(tau, kept, rough=rough)
        return self._heads[key]

    def _train(self, tau: float, kept: IntArray, *, rough: bool) -> Head:
        labels, n = self.fit.labels, len(self.fit.labels)
        used = np.flatnonzero(np.isin(labels, kept))
        rows = self.fit.rows if len(used) == n else self.fit.rows.take(used)
        labels = np.searchsorted(kept, labels[used])
        gap = _ROUGH if rough else None
        starts = self._nearest_starts(tau, kept)
        if self.calibrate:
            rng = np.random.default_rng(self.seed)
            some = at_most(labels, _MOST_ROWS, rng)
            first_rows, held_out = (some[chosen] for chosen in hold_out(labels[some], rng))
            if len(held_out):
                first = fit_rows(rows.take(first_rows), labels[first_rows], tau, start=starts[0], gap=gap)
                if rough and len(some) < len(used):
                    both = first  # a sample is enough
                else:
                    both = fit_rows(rows, labels, tau, start=starts[1] or first[1], gap=gap)
                unseen = first[0].logits(self.fit.features[used[held_out]]), labels[held_out]
                # Classes of one sample cannot be held out: what the classifier does on them it has seen.
                alone = np.flatnonzero(np.bincount(labels)[labels] == 1)
                seen = both[0].logits(self.fit.features[used[alone]]), labels[alone]
                together = HeldOut(*(np.concatenate(pair) for pair in zip(unseen, seen, strict=True)))
                return Head(both[0], together, rough, (first[1], both[1]))
        classifier, end = fit_rows(rows, labels, tau, start=starts[1], gap=gap)
        held_out = HeldOut(classifier.logits(self.fit.features[used]), labels)
        return Head(classifier, held_out, rough, (end, end))

    def _nearest_starts(self, tau: float, kept: IntArray) -> tuple[Start, Start] | tuple[None, None]:
        """Return where fits of these classes, or of more, ended, for the nearest τ that is known."""
        known = [key for key in self._heads if np.isin(kept, key[1]).all()]
        if not known:
            return None, None
        key = min(known, key=lambda key: (abs(np.log(key[0] / tau)), len(key[1])))
        places = np.searchsorted(key[1], kept)
        one, other = (start.of_classes(places).scaled(tau / key[0]) for start in self._heads[key].starts)
        return one, other


@dataclass(frozen=True, eq=False)
class Target:
    """A target task, standardised by its fitting part."""

    task: Task
    scaler: Scaler
    features: FloatArray
    labels: IntArray | None
    n_classes: int  # 0 if neither labels nor class names are known

    @cached_property
    def sample(self) -> Sample:
        """The features with their labels, which must be known."""
        assert self.labels is not None
        return Sample(self.features, self.labels)

    @classmethod
    def prepare(cls, task: Task, *, standardize: bool) -> Target:
        """Standardise a target."""
        scaler = Scaler.fit(task.features) if standardize else Scaler.identity(task.n_features)
        return cls(task, scaler, scaler.apply(task.features), task.labels, task.n_classes)


def keep_classes(reference: Sample, kept: IntArray) -> Sample:
    """Return the samples of the classes in use, numbered anew."""
    rows = np.isin(reference.labels, kept)
    if rows.all() and len(kept) == int(kept[-1]) + 1:
        return reference
    return Sample(reference.features[rows], np.searchsorted(kept, reference.labels[rows]))
