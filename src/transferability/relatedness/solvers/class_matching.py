"""From the option `matching` to the reference class of each target class, and how sure that is."""

from __future__ import annotations

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.errors import OptionError
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.costs.base import GroundCost
from transferability.relatedness.labels.certainty import settle_near_ties
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import (
    ClassPoints,
    MatchCertainty,
    assign_classes,
    gradient_matching,
    random_matching,
)
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.solvers.pseudo_labels import likely_classes
from transferability.relatedness.tasks.problem import Reference, Target
from transferability.relatedness.tasks.sample import Sample

__all__ = ["given_classes", "identity_classes", "match_by_samples", "match_unlabelled", "named_classes"]


def match_by_samples(
    matching: str | IntArray | FloatArray,
    cost: GroundCost,
    reference: Reference,
    target: Target,
    rng: np.random.Generator,
) -> tuple[LabelTransform, MatchCertainty | None]:
    """Return the label transformation that `matching` asks for; "assignment" and "gradient" compare samples."""
    assert target.labels is not None
    n_targets, n_references = int(target.labels.max()) + 1, cost.classifier.n_classes
    if not isinstance(matching, str) or matching in ("identity", "random"):
        return named_classes(matching, n_targets, n_references, rng), None
    sample = Sample(target.features, target.labels)
    start = AffineMap.identity(reference.fit.features.shape[1], sample.features.shape[1])
    left, right = cost.places(reference.fit, sample, start)
    reference_points = ClassPoints(left, reference.fit.labels, n_references, rng)
    target_points = ClassPoints(right, sample.labels, n_targets, rng)
    losses = cost.losses_at(left, reference.fit)
    per_class = np.bincount(reference.fit.labels, weights=losses) / np.bincount(reference.fit.labels)
    costs = cost.pair_costs(reference_points, target_points, per_class)
    if matching == "gradient":
        return gradient_matching(costs, reference_points.priors, target_points.priors, rng), None
    chosen = assign_classes(costs, target_points.priors)
    if not cost.in_logits:  # how much distances vary with the sample, nobody has measured
        return LabelTransform.from_class_map(chosen, n_references), None
    names = (reference.task.class_names, target.task.class_names)
    chosen, certainty = settle_near_ties(costs.values, chosen, target_points.priors, right, sample.labels, names)
    return LabelTransform.from_class_map(chosen, n_references), certainty


def match_unlabelled(
    matching: str | IntArray | FloatArray,
    classifier: SoftmaxClassifier,
    reference: Reference,
    target: Target,
    rng: np.random.Generator,
) -> IntArray:
    """Return the reference class for each target class when the target has no labels to compare by."""
    n_references = classifier.n_classes
    n_targets = target.n_classes or n_references
    start = AffineMap.identity(reference.fit.features.shape[1], target.features.shape[1])
    likely = likely_classes(classifier, start.apply(target.features), n_targets)  # also refuses too many classes
    if isinstance(matching, str) and matching not in ("identity", "random"):
        return likely
    return named_classes(matching, n_targets, n_references, rng).class_map


def named_classes(
    matching: str | IntArray | FloatArray, n_targets: int, n_references: int, rng: np.random.Generator
) -> LabelTransform:
    """Return the transformation that compares nothing: classes given, of the same number, or drawn."""
    if not isinstance(matching, str):
        if matching.ndim == 2:
            return given_shares(np.asarray(matching, dtype=np.float64), n_targets, n_references)
        return LabelTransform.from_class_map(given_classes(matching, n_targets, n_references), n_references)
    if matching == "identity":
        return LabelTransform.from_class_map(identity_classes(n_targets, n_references), n_references)
    return LabelTransform.from_class_map(random_matching(n_targets, n_references, rng), n_references)


def given_shares(shares: FloatArray, n_targets: int, n_references: int) -> LabelTransform:
    """Return the user's own shares: row i says what target class i is made of."""
    if shares.shape != (n_targets, n_references):
        message = (
            f"`matching` must give a share of each of the {n_references} reference classes for each of the {n_targets} "
            f"target classes; got shape {shares.shape}."
        )
        raise OptionError(message)
    return LabelTransform(shares / shares.sum(axis=1, keepdims=True))


def given_classes(class_map: IntArray | FloatArray, n_targets: int, n_references: int) -> IntArray:
    """Return the user's own choice, checked."""
    if class_map.shape != (n_targets,) or class_map.min() < 0 or class_map.max() >= n_references:
        message = (
            f"`matching` must give one reference class from 0 to {n_references - 1} for each of the {n_targets} target "
            f"classes; got {class_map.tolist()}."
        )
        raise OptionError(message)
    return class_map.astype(np.int64)


def identity_classes(n_targets: int, n_references: int) -> IntArray:
    """Return the class of the same number for each target class."""
    if n_targets > n_references:
        message = (
            f"`matching='identity'` needs a reference class for every target class; got {n_references} for "
            f"{n_targets}. Use matching='assignment', which shares classes."
        )
        raise OptionError(message)
    return np.arange(n_targets)
