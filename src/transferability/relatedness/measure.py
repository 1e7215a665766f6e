"""The bound and the transferred classifier of a solution, measured on one part of the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transferability._array import BoolArray, FloatArray, IntArray
from transferability.relatedness.certificate import AccuracyTerms, Certificate, transformed_losses
from transferability.relatedness.maps.affine_map import AffineMap
from transferability.relatedness.solvers.solution import SampleSolution
from transferability.relatedness.tasks.problem import keep_classes
from transferability.relatedness.tasks.sample import Sample
from transferability.transport.coupling import MAX_POINTS

__all__ = ["Measurement", "measure", "pool"]

_SMALL_BLOCK = 100


class Measurement(NamedTuple):
    """What is known on one part of the target."""

    certificate: Certificate
    losses: FloatArray | None  # (n,), of h'; None without labels
    correct: BoolArray | None  # (n,), whether h' is right
    accuracy_terms: AccuracyTerms | None
    correct_without_map: BoolArray | None = None  # (n,), whether h' is right on the features as they are


def measure(
    solution: SampleSolution,
    reference: Sample,
    features: FloatArray,
    truth: IntArray | None,
    guesses: IntArray | None,
    *,
    seed: int,
    quick: bool = False,
) -> Measurement:
    """Measure a solution.

    Parameters
    ----------
    solution : SampleSolution
    reference : Sample
        Standardised, all classes.
    features : array of shape (n, d)
        Of the target, standardised.
    truth : array of int of shape (n,), or None
        Labels of the target.
    guesses : array of int of shape (n,), or None
        What replaces the truth where that is unknown; by default what ``h'`` predicts.
    seed : int
    quick : bool, default=False
        Small blocks, and the bound alone: for a bound that is information only.
    """
    reference = keep_classes(reference, solution.kept)
    if not solution.cost.in_logits:  # distances say nothing of what a product in float32 does to logits
        reference = Sample(reference.features.astype(np.float64, copy=False), reference.labels)
        features = features.astype(np.float64, copy=False)
    logits = solution.cost.logit_map(solution.feature_map).apply(features)
    losses, predictions = transformed_losses(logits, truth, solution.transform, solution.priors)
    labels = truth if truth is not None else predictions if guesses is None else guesses
    target = Sample(features, labels)
    block = _SMALL_BLOCK if quick else MAX_POINTS
    certificate = solution.certify(reference, target, seed, max_points=block)
    if quick:
        return Measurement(certificate, None, None, None)
    if truth is None:
        return Measurement(certificate, None, None, None)
    correct = predictions == truth
    terms = _accuracy_terms(solution, reference, truth, correct)
    return Measurement(certificate, losses, correct, terms, _correct_without_map(solution, features, truth))


def _correct_without_map(solution: SampleSolution, features: FloatArray, truth: IntArray) -> BoolArray | None:
    """Return what the reference alone gets right: its classifier and the classes, but no map that was fitted."""
    d_reference, d_target = solution.feature_map.shape
    if d_reference != d_target:  # there are no features as they are
        return None
    logits = solution.cost.logit_map(AffineMap.identity(d_reference, d_target)).apply(features)
    right: BoolArray = transformed_losses(logits, None, solution.transform, solution.priors)[1] == truth
    return right


def _accuracy_terms(solution: SampleSolution, reference: Sample, truth: IntArray, correct: BoolArray) -> AccuracyTerms:
    shares, n_targets = solution.transform.shares, len(solution.transform.shares)
    logits = solution.cost.classifier.logits(reference.features)
    told = transformed_losses(logits, None, solution.transform, solution.priors)[1]  # target class of reference points
    counts = np.bincount(reference.labels, minlength=shares.shape[1])
    mass = shares[:, reference.labels] / np.maximum(counts, 1)[reference.labels]  # (K_T, n_R), rows sum to 1
    hit = logits.argmax(axis=1) == reference.labels  # (n_R,)
    kept = told[None, :] == np.arange(n_targets)[:, None]  # (K_T, n_R)
    right, after = (mass * hit).sum(axis=1), (mass * kept).sum(axis=1)
    confused = (mass * (hit.astype(np.float64) - kept)).sum(axis=1)  # right - after, and zero where no class is shared
    members = np.bincount(truth, minlength=n_targets)
    accuracy = np.bincount(truth[correct], minlength=n_targets) / np.maximum(members, 1)
    priors = members / len(truth)
    return AccuracyTerms(priors * (1 - right), priors * confused, priors * (after - accuracy))


def pool(parts: Sequence[tuple[IntArray, Measurement]]) -> Measurement:
    """Return what folds have measured together, over all of their rows.

    Each fold's bound holds on its own rows, so the mean weighted by their numbers bounds the mean loss of the fold
    classifiers.

    Parameters
    ----------
    parts : sequence of (rows, measurement)
        Together every row once.
    """
    n = sum(len(rows) for rows, _ in parts)
    weights = [len(rows) / n for rows, _ in parts]

    def mean(arrays: Sequence[FloatArray]) -> FloatArray:
        total: FloatArray = np.sum([w * each for w, each in zip(weights, arrays, strict=True)], axis=0)
        return total

    def scatter(arrays: Sequence[FloatArray | BoolArray | None]) -> FloatArray | None:
        known = [each for each in arrays if each is not None]
        if len(known) < len(parts):
            return None
        values: FloatArray = np.empty(n, dtype=known[0].dtype)
        for (rows, _), each in zip(parts, known, strict=True):
            values[rows] = each
        return values

    measured = [each for _, each in parts]
    certificates = [each.certificate for each in measured]
    accuracies = [each.accuracy_terms for each in measured if each.accuracy_terms is not None]
    return Measurement(
        certificate=Certificate(
            reference_loss=mean([each.reference_loss for each in certificates]),
            label_mismatch=mean([each.label_mismatch for each in certificates]),
            distribution_mismatch=mean([each.distribution_mismatch for each in certificates]),
            priors=mean([each.priors for each in certificates]),
            exact=all(each.exact for each in certificates),
            per_point=scatter([each.per_point for each in certificates]),
        ),
        losses=scatter([each.losses for each in measured]),
        correct=scatter([each.correct for each in measured]),  # type: ignore[arg-type]  # bools stay bools
        correct_without_map=scatter([each.correct_without_map for each in measured]),  # type: ignore[arg-type]
        accuracy_terms=AccuracyTerms(*(mean(columns) for columns in zip(*accuracies, strict=True)))
        if len(accuracies) == len(parts)
        else None,
    )
