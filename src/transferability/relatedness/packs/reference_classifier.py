"""A classifier of a pack, what it loses, and what it says of rows that it has not seen.

These rows are all of a reference that a bound on samples of the target needs: the costs in logits look at a reference
through its classifier and nothing else. K numbers for each of a few rows of each class replace the samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.certificate import losses_of
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax
from transferability.relatedness.tasks.problem import calibrated_head
from transferability.relatedness.tasks.sample import HeldOut, Sample

__all__ = ["ReferenceClassifier", "fit_head", "joined"]

_MOST_LOGITS = 2_000_000  # of each classifier, rows times classes
_SEED = 0


class ReferenceClassifier(NamedTuple):
    """A classifier of a pack and what it does on rows it has not seen."""

    classifier: SoftmaxClassifier
    tau: float  # asked for
    losses: FloatArray  # (n_classes,), mean loss of each class, on the test part where there was one
    held_out: HeldOut | None = None  # logits of rows of every class; None in a pack of statistics alone


ReferenceHead = ReferenceClassifier
"""The name before version 0.2, which pickles hold."""


def fit_head(fit: Sample, test: Sample | None, tau: float, rows: int) -> ReferenceClassifier:
    """Fit a classifier and try it on other rows.

    Parameters
    ----------
    fit, test : Sample
        Standardised. Without a test part the losses are those of the fitting part, and the rows that the classifier
        is tried on are held out of it (`problem.calibrated_head`).
    tau : float
    rows : int
        Of each class, whose logits are kept at most; 0 keeps none.
    """
    held_out: HeldOut | None = None
    if test is None:
        if rows:
            trained = calibrated_head(fit, tau, _SEED)
            classifier, held_out = trained.classifier, trained.held_out
        else:
            classifier = fit_lipschitz_softmax(*fit, tau)
        seen = HeldOut(classifier.logits(fit.features), fit.labels)
    else:
        classifier = fit_lipschitz_softmax(*fit, tau)
        held_out = seen = HeldOut(classifier.logits(test.features), test.labels)
    losses = np.bincount(seen.labels, weights=losses_of(*seen)) / np.bincount(seen.labels)
    if held_out is None or not rows:
        return ReferenceClassifier(classifier, tau, losses)
    chosen = _of_each_class(held_out.labels, min(rows, max(1, _MOST_LOGITS // len(losses) ** 2)))
    logits = held_out.logits[chosen].astype(np.float32).astype(np.float64)  # as the file keeps them
    return ReferenceClassifier(classifier, tau, losses, HeldOut(logits, held_out.labels[chosen]))


def joined(one: HeldOut | None, other: HeldOut | None) -> HeldOut | None:
    """Return the rows of both; None where one has none."""
    if one is None or other is None:
        return None
    return HeldOut(np.concatenate([one.logits, other.logits]), np.concatenate([one.labels, other.labels]))


def _of_each_class(labels: IntArray, n: int) -> IntArray:
    """Draw at most `n` rows of each class."""
    order = np.random.default_rng(_SEED).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen: IntArray = np.sort(order[rank < n])
    return chosen
