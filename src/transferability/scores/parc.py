r"""PARC: do samples that differ in their features differ in their labels?

.. math:: \text{PARC} = \operatorname{spearman}_{i < j}\big(1 - r(x_i, x_j),\; 1 - r(e_{y_i}, e_{y_j})\big)

Bolya, Mittapalli and Hoffman [1]_: :math:`r` is Pearson's correlation of two samples over the standardised leading
principal components, or over the entries of their one-hot labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat
import numpy as np
import numpy.typing as npt

from transferability._array import Array, FloatArray, IntArray, as_numpy
from transferability.errors import FeatureError, LabelError, OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._principal import PrincipalAxes
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import as_features

__all__ = ["SCORES", "ParcResult", "parc"]

_COMPONENTS = 32
_MAX_SAMPLES = 2000
_SAME = 1e-12
"""Correlations that differ by no more are one: equal labels give them in different roundings."""


@dataclass(frozen=True)
class ParcResult(ScoreResult):
    """PARC.

    Attributes
    ----------
    n_compared : int
        Samples whose pairs were compared.
    n_dimensions : int
        Principal components kept.
    """

    name: ClassVar[str] = "parc"
    lower_bound: ClassVar[float] = -1.0
    upper_bound: ClassVar[float] = 1.0
    needs_with_targets: ClassVar[frozenset[str] | None] = frozenset({"features", "several_labels"})

    n_compared: int
    n_dimensions: int


def parc(
    features: Any, labels: Any, *, n_components: int = _COMPONENTS, max_samples: int = _MAX_SAMPLES, seed: int = 0
) -> ParcResult:
    """Return PARC of features for labels.

    Higher is better; between −1 and 1, a rank correlation. The authors' code gives it times 100.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; products are formed on its device, ranks on
        the host.
    labels : array of shape (n_samples,) or (n_samples, n_labels)
        Classes: integers, whole floats, booleans or strings; or, for several labels per sample, a 0/1 indicator.
    n_components : int, default=32
        Principal components to correlate over; fewer where the features have no more.
    max_samples : int, default=2000
        Of a larger sample that many are compared, drawn without replacement.
    seed : int, default=0
        Of that draw.

    Returns
    -------
    ParcResult

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above, the features have fewer than two directions, or all labels are alike.

    Notes
    -----
    Cost O(n d² + d³ + m² log m) for m samples compared, memory O(d² + m²). Against the authors' code:

    1. A correlation over principal components depends on their signs, which principal components do not have. Here the
       coordinate that is largest in size is positive in each component, as in scikit-learn when the code was written;
       in newer versions the largest loading is, and the code's value depends on a rotation of the features.
    2. Components are exact, and those without variance are left out.
    3. Of several labels, samples with none or all of them have no correlation (nan there); they are left out.

    References
    ----------
    .. [1] Bolya, Mittapalli, Hoffman. Scalable diverse model selection for accessible transfer learning. NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0, 0.2], [0.1, 0.9, 0.0], [1.0, 0.1, 0.3], [0.9, 0.0, 0.1]])
    >>> round(float(parc(x, np.array([0, 0, 1, 1]))), 4)
    0.207
    """
    for name, value in (("n_components", n_components), ("max_samples", max_samples)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 2:
            message = f"`{name}` must be an integer from 2; got {value!r}."
            raise OptionError(message)
    indicator = as_numpy(labels)
    if indicator.ndim != 2:
        return _of_classes(LabelledFeatures(features, labels), int(n_components), int(max_samples), seed)
    return _of_several_labels(features, indicator, int(n_components), int(max_samples), seed)


def _of_classes(data: LabelledFeatures, n_components: int, max_samples: int, seed: int) -> ParcResult:
    rows, notes = _drawn(np.arange(data.n_samples), max_samples, seed)
    labels = data.labels[rows]
    different = (labels[:, None] != labels)[np.triu_indices(len(rows), 1)]
    if not different.any() or different.all():
        message = "`labels` must have pairs of samples of one class and of two; in the samples compared there are none."
        raise LabelError(message)
    return _parc(data.principal, rows, different.astype(np.float64), n_components, notes)


def _of_several_labels(
    features: Any, indicator: npt.NDArray[Any], n_components: int, max_samples: int, seed: int
) -> ParcResult:
    array, xp = as_features(features)
    if indicator.dtype.kind not in "iubf" or len(indicator) != array.shape[0] or not np.isin(indicator, (0, 1)).all():
        message = (
            f"`labels` of two dimensions must be a 0/1 indicator, one row for each of the {array.shape[0]} rows of the "
            f"features; got {indicator.dtype} of shape {indicator.shape} with other entries or rows."
        )
        raise LabelError(message)
    indicator = indicator.astype(np.float64)
    telling = np.flatnonzero(indicator.any(axis=1) & ~indicator.all(axis=1))
    rows, notes = _drawn(telling, max_samples, seed)
    if len(telling) < len(indicator):
        notes += (f"{len(indicator) - len(telling):,} samples with none or all of the labels were left out.",)
    dissimilarities = _dissimilarities(indicator[rows]) if len(rows) > 2 else np.zeros(1)
    if np.ptp(dissimilarities) == 0:
        message = "`labels` must differ between some pairs of samples, and agree between others."
        raise LabelError(message)
    return _parc(PrincipalAxes.of(xp, array), rows, _ranks(dissimilarities), n_components, notes)


def _drawn(rows: IntArray, max_samples: int, seed: int) -> tuple[IntArray, tuple[str, ...]]:
    if len(rows) <= max_samples:
        return rows, ()
    chosen = np.sort(np.random.default_rng(seed).choice(rows, max_samples, replace=False))
    return chosen, (f"{max_samples:,} of the {len(rows):,} samples were compared.",)


def _parc(
    axes: PrincipalAxes, rows: IntArray, label_ranks: FloatArray, n_components: int, notes: tuple[str, ...]
) -> ParcResult:
    """Correlate the ranks of the dissimilarities with those of the labels, or with any two values for these."""
    if len(axes.values) < 2:
        message = "`features` must vary in two directions or more: PARC correlates samples over their components."
        raise FeatureError(message)
    points = axes.coordinates(n_components)
    xp = array_api_compat.array_namespace(points)
    points = points / xp.std(points, axis=0)
    chosen = xp.take(points, xp.asarray(rows, device=array_api_compat.device(points)), axis=0)
    ranks = _ranks(_dissimilarities(chosen))
    with np.errstate(invalid="ignore"):
        value = float(np.corrcoef(ranks, label_ranks)[0, 1])
    value = min(1.0, max(-1.0, value)) if np.isfinite(value) else 0.0  # all pairs alike: nothing is told
    return ParcResult(value, n_compared=len(rows), n_dimensions=int(points.shape[1]), notes=notes)


def _dissimilarities(points: Array) -> FloatArray:
    """Return 1 − r of all pairs of rows, (m, p) -> (m (m − 1) / 2,) on the host."""
    xp = array_api_compat.array_namespace(points)
    centred = points - xp.mean(points, axis=1, keepdims=True)
    norms = xp.sqrt(xp.sum(centred**2, axis=1, keepdims=True))
    unit = centred / xp.where(norms > 0, norms, 1.0)
    return np.asarray(1 - as_numpy(unit @ unit.T)[np.triu_indices(points.shape[0], 1)])


def _ranks(values: FloatArray) -> FloatArray:
    """Return the ranks from 1; values that are equal but for rounding share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > _SAME]))
    sizes = np.diff(np.append(starts, len(ordered)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + 0.5 * (sizes + 1), sizes)
    return ranks


def _from_inputs(inputs: ScoreInputs) -> ParcResult:
    if inputs.labels is None:
        return parc(inputs.features, inputs.targets, seed=inputs.seed)
    return _of_classes(inputs.labelled, _COMPONENTS, _MAX_SAMPLES, inputs.seed)


SCORES = (
    ScoreInfo(
        "parc",
        ParcResult,
        description="rank correlation of differences in features with differences in labels",
        range="−1 … 1",
        cost="O(n d² + d³ + m² log m) for m ≤ 2,000 samples",
        limitations="K or n small: few values of the label differences",
        function=_from_inputs,
        invariant_to=frozenset({"shift", "scale", "rotation"}),
    ),
)
