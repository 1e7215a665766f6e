"""Linear probe: cross-validated accuracy of a softmax regression on the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from transferability._class_numbers import class_codes
from transferability._validate import check_positive
from transferability.errors import OptionError
from transferability.scores._folds import stratified_folds
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import IterativeResult
from transferability.scores.probing import cross_fitted_probe
from transferability.statistics._inputs import host_features

__all__ = ["SCORES", "LinearProbeResult", "linear_probe"]


@dataclass(frozen=True)
class LinearProbeResult(IterativeResult):
    """Cross-validated accuracy.

    Attributes
    ----------
    loss : float
        Mean cross-entropy of the held-out samples, in nats.
    fold_accuracies : tuple of float
        Accuracy on each held-out part; `value` is the share of all samples.
    regularisation : tuple of float
        Ridge of each fold.
    """

    name: ClassVar[str] = "linear_probe"
    lower_bound: ClassVar[float] = 0.0
    upper_bound: ClassVar[float] = 1.0

    loss: float
    fold_accuracies: tuple[float, ...]
    regularisation: tuple[float, ...]


def linear_probe(
    features: Any, labels: Any, *, n_folds: int = 5, strength: float | None = None, seed: int = 0
) -> LinearProbeResult:
    """Return the cross-validated accuracy of a softmax regression on standardized features.

    Higher is better; between 0 and 1, a share of the samples.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.
    n_folds : int, default=5
        Parts, drawn class by class; between 2 and n_samples.
    strength : float, optional
        Ridge on the weights, per sample seen: half of it times their squared norm is added to the summed loss, as in
        scikit-learn's `LogisticRegression(C=1 / strength)`. Positive. Default: chosen for each part by the losses of
        the others.
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
    See `transferability.scores.probing`. Cost O(n d min(n, d)) per fold, and O(n min(n, d) K) per pass, some 15 passes
    per fold and ridge. Computed on the host. Means and deviations come from the training part.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [0.1], [0.2], [0.3], [1.0], [1.1], [1.2], [1.3]])
    >>> float(linear_probe(x, np.repeat([0, 1], 4), n_folds=2))
    1.0
    """
    array = host_features(features)
    checked = class_codes(labels, len(array))
    strength = None if strength is None else check_positive(strength, "strength")
    if isinstance(n_folds, bool) or not isinstance(n_folds, (int, np.integer)) or not 2 <= n_folds <= len(array):
        message = f"`n_folds` must be an integer from 2 to {len(array)}, the number of samples; got {n_folds!r}."
        raise OptionError(message)
    fold_of = stratified_folds(checked, int(n_folds), np.random.default_rng(seed))
    folds = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(int(n_folds))]
    ridge = None if strength is None else strength / (len(array) * (1 - 1 / int(n_folds)))
    found = cross_fitted_probe(array, checked, folds, ridge=ridge)
    return LinearProbeResult(
        found.accuracy,
        converged=found.converged,
        iterations=found.iterations,
        loss=found.loss,
        fold_accuracies=tuple(float(found.correct[test].mean()) for _, test in folds),
        regularisation=found.regularisation,
    )


def _from_inputs(inputs: ScoreInputs) -> LinearProbeResult:
    return linear_probe(inputs.features, inputs.checked_labels, seed=inputs.seed)


SCORES = (
    ScoreInfo(
        "linear_probe",
        LinearProbeResult,
        description="five-fold accuracy of a softmax regression",
        range="0 … 1",
        cost="O(n d min(n, d)) per fold, O(n min(n, d) K) per pass",
        limitations="none known",
        function=_from_inputs,
        on_device=False,
        invariant_to=frozenset({"scale"}),
        drawn=True,
    ),
)
