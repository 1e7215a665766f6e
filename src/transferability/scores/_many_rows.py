r"""The softmax regression of `_logistic` for many rows: one part of them, and no rotation.

For many rows the rotation to principal coordinates costs more than all that follows. `Descent` knows the largest
principal axes only, from a thousand rows, and needs half the passes of L-BFGS. A class that is missing from a part
keeps a chance: each class has one more row, of zeros, and these count as one row together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from transferability._array import BoolArray, FloatArray, IntArray
from transferability.linear.descent import Descent, Quadratic, cross_entropy
from transferability.linear.rows import Spectrum

__all__ = ["LinearClassifier", "ManyRows", "losses_and_classes"]

_MOST_STEPS = 200


class LinearClassifier(NamedTuple):
    """What a regression ends with, and the next one begins at."""

    weights: FloatArray  # (K, d)
    intercepts: FloatArray  # (K,)
    passes: int
    converged: bool

    def logits(self, features: FloatArray) -> FloatArray:
        """Return the logits of rows, (m, d) -> (m, K)."""
        found: FloatArray = features @ self.weights.T.astype(features.dtype) + self.intercepts.astype(features.dtype)
        return found


class ManyRows:
    """Rows to fit softmax regressions to, in float32.

    Parameters
    ----------
    features : (n, d)
        Standardised.
    labels : (n,)
    n_classes : int
        K; classes may be missing.
    """

    def __init__(self, features: FloatArray, labels: IntArray, n_classes: int) -> None:
        self._features = np.zeros((len(features) + n_classes, features.shape[1]), dtype=np.float32)
        self._features[: len(features)] = features
        self._labels = np.concatenate([labels, np.arange(n_classes)])
        self._n_classes = n_classes
        self._spectrum = Spectrum.of(self._features[: len(features)])

    @property
    def features(self) -> FloatArray:
        """The features, (n, d) float32."""
        return self._features[: -self._n_classes]

    def fit(
        self, ridge: float, *, tolerance: float, rows: BoolArray | None = None, start: LinearClassifier | None = None
    ) -> LinearClassifier:
        """Fit to these rows, or to all, until a step is expected to gain less than `tolerance` of the objective."""
        K = self._n_classes
        used = np.concatenate([np.ones(len(self.features), bool) if rows is None else rows, np.ones(K, bool)])
        features, labels = self._features if rows is None else self._features[used], self._labels[used]
        weight = np.ones(len(labels))
        weight[-K:] = 1 / K
        weight /= weight.sum()
        if start is None:
            priors = np.log(np.bincount(labels, weights=weight, minlength=K))
            start = LinearClassifier(np.zeros((K, features.shape[1])), priors - priors.mean(), 0, True)
        descent = Descent(
            features, cross_entropy(labels, weight, np.float32), self._spectrum, start.weights, start.intercepts
        )
        quadratic, converged = Quadratic(np.full(K, ridge, dtype=np.float32)), False
        while not converged and descent.passes < _MOST_STEPS:
            gained = descent.move(descent.direction(quadratic, descent.remembered(quadratic)), quadratic)
            enough = tolerance * (descent.look.loss + quadratic.value(descent.weights))
            converged = gained <= enough and (gained > 0 or not descent.forget())
        return LinearClassifier(
            descent.weights.astype(np.float64), descent.point[:, -1].astype(np.float64), descent.passes, converged
        )


def losses_and_classes(logits: FloatArray, labels: IntArray) -> tuple[FloatArray, IntArray]:
    """Return the cross-entropy of each row, (m,) float64, and its class."""
    logits = logits.astype(np.float64)
    own = logits[np.arange(len(labels)), labels]
    return logsumexp(logits, axis=1) - own, logits.argmax(axis=1)
