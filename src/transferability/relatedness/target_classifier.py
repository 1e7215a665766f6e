"""h_T: a linear classifier trained on the target itself, what the transferred classifiers are compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from transferability.relatedness.certificate import losses_of
from transferability.relatedness.classifier.constrained import Start
from transferability.relatedness.classifier.lipschitz import fit_rows
from transferability.relatedness.relate_samples import PreparedTarget
from transferability.relatedness.results.result import Relatedness

__all__ = ["with_target_classifier"]


def with_target_classifier(results: Sequence[Relatedness], target: PreparedTarget) -> list[Relatedness]:
    """Return the results of all references with one h_T, trained once.

    A transferred classifier need not be τ-Lipschitz in the target's space. h_T comes from a class that holds those of
    all references: its constant is the largest of theirs. Where there are folds, or no labels, there is none.
    """
    part = target.parts[0]
    if target.evaluated_on == "folds" or target.whole.labels is None or part.truth is None:
        return list(results)
    constants = [max(result.reference_classifier.certified_tau, result.transform.lipschitz) for result in results]
    tau = max(*constants, 1e-9) if len(constants) > 1 else max(constants[0], 1e-9)
    widest = results[int(np.argmax(constants))]
    sample = target.whole.sample
    classifier, _ = fit_rows(sample.rows, sample.labels, tau, start=_transferred(widest))
    logits = classifier.logits(part.features)
    loss = float(losses_of(logits, part.truth).mean())
    accuracy = float((logits.argmax(axis=1) == part.truth).mean())
    return [
        dataclasses.replace(
            result, transferability=loss, transferability_accuracy=accuracy, target_classifier=classifier
        )
        for result in results
    ]


def _transferred(result: Relatedness) -> Start | None:
    """Return the transferred classifier as a start, where each target class is made of a reference class of its own."""
    transform = result.transform
    chosen = transform.B.argmax(axis=1)
    if len(np.unique(chosen)) < len(chosen) or (result.class_map < 0).any():
        return None
    logits = transform.feature_map.then(transform.weights[chosen], transform.intercept[chosen])
    return Start(logits.matrix - logits.matrix.mean(axis=0), logits.offset - logits.offset.mean(), None)
