r"""Ridge regression of the labels on all layers of an encoder: its leave-one-out coefficient of determination.

.. math:: K = \frac1L \sum_{l=1}^{L} \frac1{d_l} Z_l Z_l^\top, \qquad
          Q^2 = 1 - \min_\lambda \frac{\sum_i \lVert y_i - \hat y_{-i}(\lambda) \rVert^2}
                                      {\sum_i \lVert y_i - \bar y_{-i} \rVert^2}

:math:`Z_l` are the features of layer l, standardised (n × d_l), :math:`y_i` the one-hot label, :math:`\hat y_{-i}` what
kernel ridge regression with an intercept says of sample i when it is left out, :math:`\bar y_{-i}` the class shares
without it. With the eigenvectors U and values μ of the centred kernel, :math:`s = \mu / (\mu + \lambda)` and
:math:`h_i = 1/n + \sum_j U_{ij}^2 s_j`, the error without a sample is the fitted one over 1 − h_i: no refitting.

Fine-tuning changes every layer, so what any layer knows can be used. That features of all layers come close to
fine-tuning is shown by Head2Toe [1]_; a sum of layer kernels is the tangent kernel of the network if the gradients that
reach a layer were the same for all samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._class_numbers import class_codes
from transferability._validate import check_positive
from transferability.errors import FeatureError, OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import constant_columns, host_features

__all__ = ["SCORES", "RidgeAllLayersResult", "ridge_all_layers"]

_GRID = np.logspace(-4, 3, 29)  # of λ, in units of the mean eigenvalue
_LEVERAGE = 1e-9  # 1 − h of a sample that alone decides its prediction


@dataclass(frozen=True)
class RidgeAllLayersResult(ScoreResult):
    """Leave-one-out fit of a ridge regression on all layers.

    Attributes
    ----------
    accuracy : float
        Leave-one-out accuracy of the largest output, at the same λ.
    ridge : float
        λ, in units of the mean eigenvalue of the centred kernel.
    n_layers : int
        Layers that are not constant.
    """

    name: ClassVar[str] = "ridge_all_layers"
    upper_bound: ClassVar[float] = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"layers", "labels"})

    accuracy: float
    ridge: float
    n_layers: int


def ridge_all_layers(
    layers: Sequence[Any], labels: Any, *, max_samples: int = 4000, seed: int = 0
) -> RidgeAllLayersResult:
    """Return the leave-one-out coefficient of determination of a ridge regression of the labels on all layers.

    Higher is better; at most 1, and 0 for layers that say no more than the class shares. Invariant to the scale and the
    shift of every feature, to the order of layers and to how often a layer's features are repeated within it.

    Parameters
    ----------
    layers : sequence of arrays of shape (n_samples, d_l)
        What each layer of one encoder gives for the same samples, averaged over positions. Real, finite.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.
    max_samples : int, default=4000
        More samples are represented by that many, drawn without replacement.
    seed : int, default=0
        For that draw.

    Returns
    -------
    RidgeAllLayersResult

    Raises
    ------
    FeatureError
        If there is no layer, layers differ in their number of samples, or all are constant.
    LabelError, OptionError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n² Σ d_l + n³), memory O(n²) and one layer; of an encoder it needs one forward pass. Head2Toe [1]_ selects
    single features by a group lasso and trains a head on them; here every layer weighs the same and nothing is chosen
    but λ, so that the number can be compared between encoders of any depth and width.

    References
    ----------
    .. [1] Evci, Dumoulin, Larochelle, Mozer. Head2Toe: utilizing intermediate representations for better transfer
       learning. ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> first = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]])
    >>> second = np.array([[1.0], [0.0], [1.0], [0.0], [1.0], [0.0]])
    >>> result = ridge_all_layers([first, second], np.array([0, 0, 0, 1, 1, 1]))
    >>> round(float(result), 3), result.accuracy
    (0.945, 1.0)
    """
    if int(check_positive(max_samples, "max_samples")) != max_samples:
        message = f"`max_samples` must be a positive integer; got {max_samples!r}."
        raise OptionError(message)
    if not len(layers):
        message = "`layers` must hold one array or more; got none."
        raise FeatureError(message)
    classes = class_codes(labels, len(host_features(layers[0], "layers[0]")))
    rows = np.arange(len(classes))
    notes: tuple[str, ...] = ()
    if len(classes) > max_samples:
        rows = np.sort(np.random.default_rng(seed).choice(len(classes), int(max_samples), replace=False))
        notes = (f"computed on {len(rows):,} of {len(classes):,} samples.",)
    kernel, n_layers = _kernel(layers, rows, len(classes))
    value, accuracy, ridge = _leave_one_out(kernel, classes[rows])
    return RidgeAllLayersResult(value, accuracy=accuracy, ridge=ridge, n_layers=n_layers, notes=notes)


def _kernel(layers: Sequence[Any], rows: IntArray, n_samples: int) -> tuple[FloatArray, int]:
    """Return the mean of the layers' kernels, (n, n), and how many layers are not constant."""
    total, n_layers = np.zeros((len(rows), len(rows))), 0
    for number, layer in enumerate(layers):
        features = host_features(layer, f"layers[{number}]")
        if len(features) != n_samples:
            message = f"`layers[{number}]` must have a row for each of the {n_samples} labels; got {len(features)}."
            raise FeatureError(message)
        centred = features[rows].astype(np.float64)
        centred -= centred.mean(axis=0)
        spread = centred.std(axis=0)
        varies = ~constant_columns(features[rows], spread)
        if varies.any():
            standard = centred[:, varies] / spread[varies]
            total += standard @ standard.T / varies.sum()
            n_layers += 1
    if not n_layers:
        message = "`layers` must not all be constant. Look at the encoder: it gives the same for every sample."
        raise FeatureError(message)
    return total / n_layers, n_layers


def _leave_one_out(kernel: FloatArray, classes: IntArray) -> tuple[float, float, float]:
    """Return Q², accuracy and λ in units of the mean eigenvalue, at the λ of the smallest leave-one-out error."""
    n = len(classes)
    targets = np.eye(int(classes.max()) + 1)[classes]  # (n, K)
    centred = targets - targets.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel)  # the kernel is centred, as the features are
    values = np.maximum(values, 0.0)
    projected, squares = vectors.T @ centred, vectors**2
    alone = float((centred**2).sum()) * (n / (n - 1)) ** 2
    best = (np.inf, 0.0, 0.0)
    for ridge in _GRID:
        shrunk = values / (values + ridge * values.mean())
        residuals = centred - vectors @ (shrunk[:, None] * projected)
        residuals /= np.maximum(1 - 1 / n - squares @ shrunk, _LEVERAGE)[:, None]
        error = float((residuals**2).sum())
        if error < best[0]:
            right = (targets - residuals).argmax(axis=1) == classes
            best = (error, float(right.mean()), float(ridge))
    return 1 - best[0] / alone, best[1], best[2]


def _from_inputs(inputs: ScoreInputs) -> RidgeAllLayersResult:
    return ridge_all_layers(inputs.layers or (), inputs.checked_labels, seed=inputs.seed)


SCORES = (
    ScoreInfo(
        "ridge_all_layers",
        RidgeAllLayersResult,
        description="leave-one-out share of the labels' variance that a ridge regression on all layers explains",
        range="≤ 1",
        cost="O(n² Σd + n³) for n ≤ 4,000 samples",
        limitations="encoders that show no hidden layers",
        function=_from_inputs,
        on_device=False,
    ),
)
