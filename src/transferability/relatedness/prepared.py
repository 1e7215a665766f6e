"""What `TaskRelatedness` works with between checking and result: prepared tasks and the solution for one τ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.feature_map import AffineMap
from transferability.relatedness.geometry import Geometry, Sample
from transferability.relatedness.label_transform import LabelTransform
from transferability.relatedness.standardize import Scaler
from transferability.relatedness.transform import Transform
from transferability.task import Task

__all__ = ["PreparedTasks", "Solution", "full_transform", "keep_classes"]

_NEVER = 1e4  # nats below all others


class PreparedTasks(NamedTuple):
    """Both fitting tasks, standardised."""

    reference: Sample
    target: Sample  # labels are meaningless where `target_labels` is None
    target_labels: IntArray | None
    n_target_classes: int
    reference_scaler: Scaler
    target_scaler: Scaler

    @classmethod
    def prepare(cls, reference: Task, target: Task, standardize: bool) -> PreparedTasks:
        """Standardise both fitting tasks."""
        fit = Scaler.fit if standardize else lambda features: Scaler.identity(features.shape[1])
        scalers = fit(reference.features), fit(target.features)
        labels = target.labels
        return cls(
            Sample(scalers[0].apply(reference.features), reference.require_labels()),
            Sample(scalers[1].apply(target.features), np.zeros(0, dtype=np.int64) if labels is None else labels),
            labels,
            target.n_classes,
            *scalers,
        )

    def reference_part(self, test: Task | None) -> Sample:
        """Return the standardised test part, or the fitting part where there is none."""
        if test is None:
            return self.reference
        return Sample(self.reference_scaler.apply(test.features), test.require_labels())

    def target_part(self, test: Task | None, fit_labels: IntArray) -> tuple[FloatArray, IntArray | None]:
        """Return features and labels (None if unknown) of the test part, or of the fitting part without one."""
        if test is None:
            return self.target.features, fit_labels
        return self.target_scaler.apply(test.features), test.labels


class Solution(NamedTuple):
    """Classes and map for one τ."""

    kept: IntArray  # the reference classes in use; geometry and transform know these and number them anew
    geometry: Geometry
    transform: LabelTransform
    feature_map: AffineMap  # target to reference
    push: AffineMap | None  # reference to target, where that was learned by itself
    labels: IntArray  # of the fitting target, true or guessed
    tau: float
    ridge: float
    history: tuple[float, ...]
    criterion: float  # what τ is chosen by


def keep_classes(reference: Sample, kept: IntArray) -> Sample:
    """Return the samples of the classes in use, numbered anew."""
    rows = np.isin(reference.labels, kept)
    if rows.all() and len(kept) == int(kept[-1]) + 1:
        return reference
    return Sample(reference.features[rows], np.searchsorted(kept, reference.labels[rows]))


def full_transform(
    solution: Solution, priors: FloatArray, n_references: int, scalers: tuple[Scaler, Scaler]
) -> Transform:
    """Return the transformation in the reference's own class numbers.

    A class without use gets the weights of one in use, which leaves every Lipschitz constant as it is, and an intercept
    so low that its probability is zero; its column of B says nothing (uniform), its part of D is zero.
    """
    classifier, labels, kept = solution.geometry.classifier, solution.transform, solution.kept
    B = np.full((len(priors), n_references), 1.0 / len(priors))
    D = np.zeros(n_references)
    weights = np.tile(classifier.weights[0], (n_references, 1))
    intercept = np.full(n_references, classifier.intercept.min() - _NEVER)
    B[:, kept], D[kept] = labels.B(priors), labels.D(priors)
    weights[kept], intercept[kept] = classifier.weights, classifier.intercept
    return Transform(
        map=solution.feature_map.matrix,
        offset=solution.feature_map.offset,
        B=B,
        D=D,
        weights=weights,
        intercept=intercept,
        reference_scaler=scalers[0],
        target_scaler=scalers[1],
    )
