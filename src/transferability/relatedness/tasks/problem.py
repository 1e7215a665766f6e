"""Both tasks as the solvers see them: standardised, and the reference with the classifiers that were trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.linear.rows import Rows
from transferability.relatedness.classifier.constrained import Start
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier, fit_rows
from transferability.relatedness.tasks.sample import (
    HeldOut,
    Sample,
    at_most,
    dealt_together,
    hold_out_apart,
    stratified_folds,
)
from transferability.relatedness.tasks.standardize import Scaler
from transferability.task import Task

__all__ = ["Head", "Reference", "Target", "calibrated_head", "keep_classes", "sharing_references"]


_Starts = tuple[Start, Start] | None
_Lineage = tuple[object, ...]
_MOST_ROWS = 4_000  # that say how sure a classifier may be
_FIRST = 5e-2  # gap to the optimum of the classifier of a sample, which says how sure the other may be
_ROUGH = 0.1  # gap to the optimum, in nats, of a classifier that only compares classes


@dataclass(frozen=True, eq=False)
class Head:
    """``h_R`` of some classes for one τ, and what it does on rows that it has not seen."""

    classifier: SoftmaxClassifier
    held_out: HeldOut
    rough: bool = False
    starts: _Starts = None  # where the fit to a part, and that to all rows, ended
    lineage: _Lineage = ()  # τ, classes, roughness, and the lineage of the classifier that it was started from


_shared: ContextVar[dict[tuple[object, ...], Reference] | None] = ContextVar("references", default=None)


@contextmanager
def sharing_references() -> Iterator[None]:
    """Standardise each reference once, and train none of its classifiers twice, for all targets until the block ends.

    Every target gets the classifiers that it would get alone, to the last bit: one is shared where it was started from
    the same classifier, if from any.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference task, standardised; its classifiers are trained once and serve every target and fold."""

    task: Task
    scaler: Scaler
    fit: Sample
    measured: Sample  # the test part; the fitting part where there is none
    calibrate: bool  # whether classifiers are tried on rows that they have not seen
    seed: int
    test: Task | None = None
    level: bool = False  # whether classifiers are trained in a unit and about an origin of their own
    _heads: dict[tuple[float, tuple[int, ...]], Head] = field(default_factory=dict)
    _trained: dict[_Lineage, Head] = field(default_factory=dict)  # for all targets
    _parts: dict[int, tuple[Reference, ...]] = field(default_factory=dict)  # for all targets

    @classmethod
    def prepare(
        cls, task: Task, test: Task | None, *, standardize: bool, calibrate: bool, seed: int, level: bool = False
    ) -> Reference:
        """Standardise a reference by its fitting part, or leave it as it came (`level`), or as it was standardised."""
        shared = _shared.get()
        if shared is None:
            return cls._prepared(task, test, standardize, calibrate, seed, level)
        key = id(task), id(test), standardize, calibrate, seed, level  # of tasks that are kept
        if key not in shared:
            shared[key] = cls._prepared(task, test, standardize, calibrate, seed, level)
        return replace(shared[key], _heads={})

    @classmethod
    def _prepared(
        cls, task: Task, test: Task | None, standardize: bool, calibrate: bool, seed: int, level: bool
    ) -> Reference:
        scaler = Scaler.fit(task.features) if standardize else Scaler.identity(task.n_features)
        fit = Sample(scaler.apply(task.features), task.require_labels())
        measured = fit if test is None else Sample(scaler.apply(test.features), test.require_labels())
        return cls(task, scaler, fit, measured, calibrate, seed, test, level)

    @cached_property
    def spread(self) -> float:
        """Mean squared distance of the features from their mean: how many are alive, where they are standardised."""
        features = self.fit.features
        if self._level is not None:  # as they came, perhaps far from zero
            return float(features.var(axis=0).sum())
        squares = (np.vdot(block, block) for block in np.array_split(features, -(-len(features) // 512)))
        return float(sum(squares)) / len(features)

    def at(self, tau: float) -> Reference:
        """Return the reference as it is for one τ."""
        return self

    def in_folds(self, n_folds: int, *, standardize: bool) -> tuple[Reference, ...]:
        """Return the reference of each fold: its classifiers are fitted without some rows, and measured there.

        Every row is measured once where each class has as many different rows as there are folds; where one has fewer,
        so many parts of the reference take turns. None where a class has a single row: it cannot be fitted to and
        measured.
        """
        labels = self.task.require_labels()
        first = np.unique(dealt_together(self.task.features, labels, n_folds))
        n_parts = min(n_folds, int(np.bincount(labels[first]).min()))
        if n_parts < 2:
            return ()
        if n_parts not in self._parts:
            parts = stratified_folds(labels, self.task.features, n_parts, self.seed)
            tasks = [(self.task.subset(fit), self.task.subset(test)) for fit, test in parts]
            self._parts[n_parts] = tuple(
                Reference._prepared(fit, test, standardize, self.calibrate, self.seed, self.level)
                for fit, test in tasks
            )
        taken = [replace(each, _heads={}) for each in self._parts[n_parts]]
        return tuple(taken[k % n_parts] for k in range(n_folds))

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
            near = self._nearest(tau, kept)
            lineage = (*key, rough, () if near is None else self._heads[near].lineage)
            if lineage not in self._trained:
                self._trained[lineage] = replace(self._train(tau, kept, near, rough=rough), lineage=lineage)
            self._heads[key] = self._trained[lineage]
        return self._heads[key]

    def _train(self, tau: float, kept: IntArray, near: tuple[float, tuple[int, ...]] | None, *, rough: bool) -> Head:
        used = np.flatnonzero(np.isin(self.fit.labels, kept))
        whole, unit = (self.fit, 1.0) if self._level is None else (self._levelled, float(self._level.scale[0]))
        sample, rows = whole, whole.rows
        if len(used) < len(sample.labels):
            sample, rows = keep_classes(sample, kept), rows.take(used)
        training = _Training(rows, sample, unit * tau, self._starts(tau, kept, near), rough=rough)
        head = training.calibrated(self.seed) if self.calibrate else training.plain()
        return head if self._level is None else replace(head, classifier=_behind(head.classifier, self._level))

    @cached_property
    def _level(self) -> Scaler | None:
        """Where features came as they are: what brings them to a unit and an origin that descents converge in."""
        return Scaler.levelled(self.fit.features) if self.level else None

    @cached_property
    def _levelled(self) -> Sample:
        assert self._level is not None
        return Sample(self._level.apply(self.fit.features), self.fit.labels)

    def _nearest(self, tau: float, kept: IntArray) -> tuple[float, tuple[int, ...]] | None:
        """Return which fit of these classes, or of more, has the nearest τ."""
        known = [key for key, head in self._heads.items() if head.starts is not None and np.isin(kept, key[1]).all()]
        return min(known, key=lambda key: (abs(np.log(key[0] / tau)), len(key[1]))) if known else None

    def _starts(self, tau: float, kept: IntArray, near: tuple[float, tuple[int, ...]] | None) -> _Starts:
        """Return where the nearest fit ended."""
        if near is None:
            return None
        places, starts = np.searchsorted(near[1], kept), self._heads[near].starts
        assert starts is not None
        return starts[0].of_classes(places).scaled(tau / near[0]), starts[1].of_classes(places).scaled(tau / near[0])


def _behind(classifier: SoftmaxClassifier, level: Scaler) -> SoftmaxClassifier:
    """Return the classifier of features as they are that a classifier of levelled ones is."""
    unit = float(level.scale[0])
    weights = classifier.weights / unit
    return replace(
        classifier,
        weights=weights,
        intercept=classifier.intercept - weights @ level.mean,
        certified_tau=classifier.certified_tau / unit,
    )


class _Training(NamedTuple):
    rows: Rows
    sample: Sample
    tau: float
    starts: _Starts
    rough: bool

    def fit(
        self, chosen: IntArray | None, start: Start | None, gap: float | None = None
    ) -> tuple[SoftmaxClassifier, Start]:
        """Fit to these rows, or to all."""
        rows = self.rows if chosen is None else self.rows.take(chosen)
        labels = self.sample.labels if chosen is None else self.sample.labels[chosen]
        return fit_rows(rows, labels, self.tau, start=start, gap=_ROUGH if self.rough else gap)

    def plain(self) -> Head:
        """Return the classifier, and what it does on the rows it was fitted to."""
        classifier, end = self.fit(None, self.starts and self.starts[1])
        held_out = HeldOut(classifier.logits(self.sample.features), self.sample.labels)
        return Head(classifier, held_out, self.rough, (end, end))

    def calibrated(self, seed: int) -> Head:
        """Return the classifier, and what one that was fitted to three quarters of the rows does on the others."""
        features, labels = self.sample
        rng = np.random.default_rng(seed)
        some = at_most(labels, _MOST_ROWS, rng)
        first_rows, unseen = (some[rows] for rows in hold_out_apart(features[some], labels[some], rng))
        if len(unseen) == 0:
            return self.plain()
        sampled = len(some) < len(labels)
        first, first_end = self.fit(first_rows, self.starts and self.starts[0], _FIRST if sampled else None)
        if self.rough and sampled:  # a sample is enough
            classifier, end = first, first_end
        else:
            classifier, end = self.fit(None, self.starts[1] if self.starts else first_end)
        # Classes of one sample, or of copies of it, cannot be held out: what the classifier does on them it has seen.
        parts = labels, labels[some], labels[unseen]
        counts, drawn, held = (np.bincount(part, minlength=labels.max() + 1) for part in parts)
        alone = np.flatnonzero(((counts == drawn) & (held == 0))[labels])
        logits = np.concatenate([first.logits(features[unseen]), classifier.logits(features[alone])])
        held_out = HeldOut(logits, np.concatenate([labels[unseen], labels[alone]]))
        return Head(classifier, held_out, self.rough, (first_end, end))


def calibrated_head(sample: Sample, tau: float, seed: int) -> Head:
    """Return the classifier of all rows, and what one that was fitted to three quarters of them does on the others."""
    return _Training(sample.rows, sample, tau, None, rough=False).calibrated(seed)


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
