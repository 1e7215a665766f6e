"""Linear probe: cross-validated accuracy of a softmax regression on the features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._validate import check_labels, check_positive
from transferability.errors import OptionError
from transferability.scores._result import IterativeResult
from transferability.scores._softmax_regression import fit_softmax_regression
from transferability.statistics._inputs import host_features

__all__ = ["LinearProbeResult", "linear_probe"]


@dataclass(frozen=True)
class LinearProbeResult(IterativeResult):
    """Cross-validated accuracy.

    Attributes
    ----------
    fold_accuracies : tuple of float
        Accuracy on each held-out part; `value` is the share of all samples.
    """

    name: ClassVar[str] = "linear_probe"
    lower_bound: ClassVar[float] = 0.0
    upper_bound: ClassVar[float] = 1.0

    fold_accuracies: tuple[float, ...]


def linear_probe(
    features: Any, labels: Any, *, n_folds: int = 5, strength: float = 1.0, seed: int = 0
) -> LinearProbeResult:
    """Return the cross-validated accuracy of a softmax regression on standardized features.

    Higher is better; between 0 and 1, a share of the samples.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite.
    labels : array of int of shape (n_samples,)
        Classes 0..K−1, each with a sample.
    n_folds : int, default=5
        Parts, drawn class by class; between 2 and n_samples.
    strength : float, default=1
        Ridge on the weights, per sample seen: half of it times their squared norm is added to the summed loss, as in
        scikit-learn's `LogisticRegression(C=1 / strength)`. Positive.
    seed : int, default=0
        Of the parts.

    Returns
    -------
    LinearProbeResult

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n d K) per pass, some 20 passes per fold; memory two copies of the features. Computed on the host. Mean and
    deviation for the standardization come from the training part; a feature without deviation stays as it is.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [0.1], [0.2], [0.3], [1.0], [1.1], [1.2], [1.3]])
    >>> float(linear_probe(x, np.repeat([0, 1], 4), n_folds=2))
    1.0
    """
    array = host_features(features)
    checked = check_labels(labels, len(array))
    strength = check_positive(strength, "strength")
    if isinstance(n_folds, bool) or not isinstance(n_folds, (int, np.integer)) or not 2 <= n_folds <= len(array):
        message = f"`n_folds` must be an integer from 2 to {len(array)}, the number of samples; got {n_folds!r}."
        raise OptionError(message)
    folds = _stratified_folds(checked, int(n_folds), np.random.default_rng(seed))
    accuracies, iterations, converged, right = [], 0, True, 0
    for fold in range(int(n_folds)):
        test = folds == fold
        correct, fit_converged, fit_iterations = _evaluate(array, checked, test, strength)
        accuracies.append(correct / int(test.sum()))
        right += correct
        iterations, converged = max(iterations, fit_iterations), converged and fit_converged
    return LinearProbeResult(
        right / len(array), converged=converged, iterations=iterations, fold_accuracies=tuple(accuracies)
    )


def _stratified_folds(labels: IntArray, n_folds: int, rng: np.random.Generator) -> IntArray:
    """Return the part of each sample: classes in turn, each in random order, dealt like cards."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds


def _evaluate(
    features: FloatArray, labels: IntArray, test: np.ndarray[tuple[int], np.dtype[np.bool_]], strength: float
) -> tuple[int, bool, int]:
    """Return how many held-out samples are classified right, and how the fit went."""
    train = features[~test]
    present, train_labels = np.unique(labels[~test], return_inverse=True)
    if len(present) == 1:
        return int((labels[test] == present[0]).sum()), True, 0
    # By groups of columns and without |x|: a temporary of the size of the features would be the peak of memory.
    columns = np.array_split(train, math.ceil(train.shape[1] / 64), axis=1)
    deviation = np.concatenate([part.std(axis=0, dtype=np.float64) for part in columns])
    largest = np.maximum(train.max(axis=0), -train.min(axis=0))
    # A deviation that is rounding of a constant must not blow up to unit size.
    scale = np.where(deviation > 1e-6 * largest, deviation, 1.0).astype(features.dtype)
    train /= scale  # `train` is a copy already; the mean is taken out by the fit
    fit = fit_softmax_regression(train, train_labels, strength / len(train), tolerance=1e-6)
    guessed = present[fit.logits(features[test] / scale).argmax(axis=1)]
    return int((guessed == labels[test]).sum()), fit.converged, fit.iterations
