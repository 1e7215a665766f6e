"""Linear probing: a softmax regression on frozen features, measured on rows that it did not see."""

from __future__ import annotations

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.datasets import split
from transferability.scores._softmax_regression import SoftmaxRegression, fit_softmax_regression
from transferability.validation.settings import Measured

__all__ = ["STRENGTHS", "probe"]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges that are tried: of the mean loss, on standardised features."""


def probe(
    features: FloatArray,
    labels: IntArray,
    test_features: FloatArray,
    test_labels: IntArray,
    *,
    validation_share: float = 0.2,
    seed: int = 0,
) -> Measured:
    """Return what a linear classifier of the features is worth on the test rows.

    The ridge with the smallest loss on a validation part is taken; the classifier is then fitted on all fitting rows.

    Parameters
    ----------
    features, labels : array (n, d), array of int (n,)
        To fit and to validate on.
    test_features, test_labels : array (m, d), array of int (m,)
        To measure on.
    validation_share : float, default=0.2
        Of each class.
    seed : int, default=0
        Of that split; the fit itself has no chance in it.

    Returns
    -------
    Measured
        Its `epochs` are the passes of the last fit.

    Notes
    -----
    Cost O(n d K) per pass, some thirty passes for each of the five ridges.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-6 * scale.max(), scale, 1.0)
    x, test = (np.asarray((each - mean) / scale, dtype=np.float64) for each in (features, test_features))
    train, validation = split(labels, validation_share, seed)

    def tried(ridge: float) -> tuple[float, float]:
        return _measure(fit_softmax_regression(x[train], labels[train], ridge), x[validation], labels[validation])

    tries = {ridge: tried(ridge) for ridge in STRENGTHS}
    best = min(tries, key=lambda ridge: tries[ridge][0])
    model = fit_softmax_regression(x, labels, best)
    loss, accuracy = _measure(model, test, test_labels)
    return Measured(accuracy, loss, tries[best][1], model.iterations)


def _measure(model: SoftmaxRegression, features: FloatArray, labels: IntArray) -> tuple[float, float]:
    """Return mean loss and accuracy."""
    logits = model.logits(features)
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(labels)), labels]
    losses = np.log(np.exp(logits).sum(axis=1)) - own
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())
