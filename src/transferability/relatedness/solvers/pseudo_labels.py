r"""Targets without labels: guess, map, guess again.

Algorithm 1 (lines 5–8) labels target points by :math:`\arg\max_y (B h_R(\bar A z + \bar b))_y` in every step. Left to
itself this collapses: a class that starts with too many points attracts more. So the guess leans halfway towards the
reference's priors: a bias per class, half of the one with which the mean prediction would equal them. The map follows
by strongly ridged least squares, which moves the cloud of points as a whole. It is kept: a map fitted to the loss cost
would make the guesses look certain, right or wrong.

No certificate can hold for labels that nobody knows: the bound is then a statement on the guesses.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray
from transferability.errors import TaskError
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.costs.alternating import settle_map
from transferability.relatedness.costs.euclidean import EuclideanCost
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.tasks.sample import Sample

__all__ = ["GUESS_RIDGE", "guess_labels", "likely_classes"]

_ROUNDS = 10
GUESS_RIDGE = 1.0
_SHARPNESS = 5.0  # of the logits, in units of their spread, when predictions are averaged
_LEAN = 0.5


def likely_classes(classifier: SoftmaxClassifier, features: FloatArray, n_targets: int) -> IntArray:
    """Return the `n_targets` reference classes that the classifier predicts most, in their own order."""
    if n_targets > classifier.n_classes:
        message = (
            f"a target without labels must not have more classes than the reference; got {n_targets} for "
            f"{classifier.n_classes}. Use a reference with more classes, or label a part of the target."
        )
        raise TaskError(message)
    logits = classifier.logits(features)
    mass = np.exp(logits - logsumexp(logits, axis=1, keepdims=True)).mean(axis=0)
    return np.sort(np.argsort(-mass, kind="stable")[:n_targets])


def guess_labels(
    classifier: SoftmaxClassifier,
    reference: Sample,
    features: FloatArray,
    class_map: IntArray,
    rng: np.random.Generator,
) -> tuple[IntArray, AffineMap]:
    """Guess the labels of target features, shape (n,), and the map to the reference that goes with them.

    Parameters
    ----------
    classifier : SoftmaxClassifier
        Of the reference.
    reference : Sample
    features : array of shape (n, d)
        Of the target, standardised.
    class_map : array of int of shape (K_T,)
        The reference class of each target class; one-to-one.
    rng : numpy Generator
    """
    cost = EuclideanCost(classifier, classifier.certified_tau or 1.0)
    transform = LabelTransform.from_class_map(class_map, classifier.n_classes)
    priors = np.bincount(reference.labels, minlength=classifier.n_classes)[class_map].astype(np.float64)
    priors /= priors.sum()
    feature_map = AffineMap.identity(reference.features.shape[1], features.shape[1])
    labels = _lean(classifier.logits(feature_map.apply(features))[:, class_map], priors)
    for _ in range(_ROUNDS):
        feature_map = settle_map(cost, reference, Sample(features, labels), transform, feature_map, GUESS_RIDGE, rng)
        before, labels = labels, _lean(classifier.logits(feature_map.apply(features))[:, class_map], priors)
        if np.array_equal(before, labels):
            break
    return labels, feature_map


def _lean(logits: FloatArray, priors: FloatArray) -> IntArray:
    """Predict with half of the bias that makes the mean prediction equal the priors."""
    spread = float(np.std(logits - logits.mean(axis=1, keepdims=True))) or 1.0
    sharp = logits * (_SHARPNESS / spread)
    bias = np.zeros(len(priors))
    for _ in range(100):
        shifted = sharp + bias
        mean = np.exp(shifted - logsumexp(shifted, axis=1, keepdims=True)).mean(axis=0)
        step = np.log(priors) - np.log(np.maximum(mean, 1e-300))
        bias += step
        if np.abs(step).max() < 1e-3:
            break
    labels: IntArray = (sharp + _LEAN * bias).argmax(axis=1)
    return labels
