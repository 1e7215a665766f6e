"""From the option `matching` to the reference classes that stand for the target's."""

from __future__ import annotations

import numpy as np

from transferability._array import IntArray
from transferability.errors import OptionError
from transferability.relatedness.feature_map import AffineMap
from transferability.relatedness.geometry import Geometry, Sample
from transferability.relatedness.label_transform import LabelTransform
from transferability.relatedness.lipschitz import SoftmaxClassifier
from transferability.relatedness.matching import ClassPoints, gradient_matching, match_classes, random_matching
from transferability.relatedness.prepared import PreparedTasks
from transferability.relatedness.pseudo_labels import likely_classes

__all__ = ["choose_classes", "choose_classes_unlabelled", "given_classes", "identity_classes"]


def choose_classes(
    matching: str | IntArray, geometry: Geometry, tasks: PreparedTasks, labels: IntArray, rng: np.random.Generator
) -> LabelTransform:
    """Return the label transformation that `matching` asks for; "assignment" and "gradient" compare samples."""
    n_targets, n_references = int(labels.max()) + 1, geometry.classifier.n_classes
    if not isinstance(matching, str):
        return LabelTransform.from_class_map(given_classes(matching, n_targets, n_references), n_references)
    if matching == "identity":
        return LabelTransform.from_class_map(identity_classes(n_targets, n_references), n_references)
    if matching == "random":
        return LabelTransform.from_class_map(random_matching(n_targets, n_references, rng), n_references)
    target = Sample(tasks.target.features, labels)
    start = AffineMap.identity(tasks.reference.features.shape[1], target.features.shape[1])
    left, right = geometry.places(tasks.reference, target, start)
    reference_points = ClassPoints(left, tasks.reference.labels, n_references, rng)
    target_points = ClassPoints(right, labels, n_targets, rng)
    losses = geometry.losses(tasks.reference)
    per_class = np.bincount(tasks.reference.labels, weights=losses) / np.bincount(tasks.reference.labels)
    if matching == "gradient":
        return gradient_matching(reference_points, target_points, per_class, geometry.cost_tau, rng)
    class_map = match_classes(reference_points, target_points, per_class, geometry.cost_tau)
    return LabelTransform.from_class_map(class_map, n_references)


def choose_classes_unlabelled(
    matching: str | IntArray, classifier: SoftmaxClassifier, tasks: PreparedTasks, rng: np.random.Generator
) -> IntArray:
    """Return the reference class for each target class when the target has no labels to compare by."""
    n_references = classifier.n_classes
    n_targets = tasks.n_target_classes or n_references
    features = tasks.target.features
    start = AffineMap.identity(tasks.reference.features.shape[1], features.shape[1])
    likely = likely_classes(classifier, start.apply(features), n_targets)  # also refuses too many classes
    if not isinstance(matching, str):
        return given_classes(matching, n_targets, n_references)
    if matching == "identity":
        return identity_classes(n_targets, n_references)
    return random_matching(n_targets, n_references, rng) if matching == "random" else likely


def given_classes(class_map: IntArray, n_targets: int, n_references: int) -> IntArray:
    """Return the user's own choice, checked."""
    if len(class_map) != n_targets or class_map.min() < 0 or class_map.max() >= n_references:
        message = (
            f"`matching` must give one reference class from 0 to {n_references - 1} for each of the {n_targets} target "
            f"classes; got {class_map.tolist()}."
        )
        raise OptionError(message)
    return class_map


def identity_classes(n_targets: int, n_references: int) -> IntArray:
    """Return the class of the same number for each target class."""
    if n_targets > n_references:
        message = (
            f"`matching='identity'` needs a reference class for every target class; got {n_references} for "
            f"{n_targets}. Use matching='assignment', which shares classes."
        )
        raise OptionError(message)
    return np.arange(n_targets)
