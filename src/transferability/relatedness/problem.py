"""Both tasks as the solvers see them: standardised, and the reference with the classifiers that were trained on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.costs.base import HeldOut
from transferability.relatedness.lipschitz import SoftmaxClassifier, fit_and_hold_out, fit_lipschitz_softmax
from transferability.relatedness.sample import Sample, at_most, hold_out
from transferability.relatedness.standardize import Scaler
from transferability.task import Task

__all__ = ["Head", "Reference", "Target", "calibrated_head", "keep_classes"]


_MOST_ROWS = 4_000  # that say how sure a classifier may be


@dataclass(frozen=True, eq=False)
class Head:
    """``h_R`` of some classes for one τ, and what it does on rows that it has not seen."""

    classifier: SoftmaxClassifier
    held_out: HeldOut


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference task, standardised; its classifiers are trained once and serve every fold of the target."""

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

    @property
    def spread(self) -> float:
        """Mean squared norm of the features: how many of them are alive, where they are standardised."""
        return float(np.mean(np.einsum("nd,nd->n", self.fit.features, self.fit.features)))

    def at(self, tau: float) -> Reference:
        """Return the reference as it is for one τ."""
        return self

    def head(self, tau: float, kept: IntArray) -> Head:
        """Return the classifier of these classes."""
        key = tau, tuple(int(k) for k in kept)
        if key not in self._heads:
            sample = keep_classes(self.fit, kept)
            self._heads[key] = calibrated_head(sample, tau, self.seed) if self.calibrate else _plain(sample, tau)
        return self._heads[key]


def _plain(sample: Sample, tau: float) -> Head:
    classifier = fit_lipschitz_softmax(*sample, tau)
    return Head(classifier, HeldOut(classifier.logits(sample.features), sample.labels))


def calibrated_head(sample: Sample, tau: float, seed: int) -> Head:
    """Return the classifier of all rows, and what one that was fitted to three quarters of them does on the others."""
    rng = np.random.default_rng(seed)
    some = at_most(sample.labels, _MOST_ROWS, rng)
    first_rows, held_out = (some[rows] for rows in hold_out(sample.labels[some], rng))
    if len(held_out) == 0:
        return _plain(sample, tau)
    classifier, logits = fit_and_hold_out(*sample, tau, first_rows, held_out)
    # Classes of one sample cannot be held out: what the classifier does on them it has seen.
    alone = np.flatnonzero(np.bincount(sample.labels)[sample.labels] == 1)
    seen = classifier.logits(sample.features[alone])
    labels = np.concatenate([sample.labels[held_out], sample.labels[alone]])
    return Head(classifier, HeldOut(np.concatenate([logits, seen]), labels))


@dataclass(frozen=True, eq=False)
class Target:
    """A target task, standardised by its fitting part."""

    task: Task
    scaler: Scaler
    features: FloatArray
    labels: IntArray | None
    n_classes: int  # 0 if neither labels nor class names are known

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
