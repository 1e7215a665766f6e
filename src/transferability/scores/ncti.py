r"""NCTI: how near the target's features are to neural collapse, in three terms.

.. math:: S_{\text{ncc}} = \frac1n \sum_i p(y_i \mid x_i), \qquad S_{\text{seli}} = \|Z\|_*, \qquad
          S_{\text{vc}} = \log \sum_c \|P_c\|_*

Wang et al. [1]_: in the leading principal components a linear discriminant gives posteriors :math:`p`, of which
:math:`P_c` holds the rows of class c, and discriminant coordinates :math:`Z`, centred; :math:`\|\cdot\|_*` is the sum
of the singular values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat.numpy as numpy_namespace
import numpy as np

from transferability._array import FloatArray, IntArray, as_numpy
from transferability.errors import OptionError
from transferability.scores._discriminant import own_entries, require_variation, row_softmax
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import ScoreResult
from transferability.statistics.moments import ClassMoments, class_moments, within_scatter

__all__ = ["SCORES", "NctiResult", "ncti", "ncti_over_encoders"]

_COMPONENTS, _SHRINKAGE_COMPONENTS = 64, 32
_TOLERANCE = 1e-4  # of singular values, as in scikit-learn's discriminant


@dataclass(frozen=True)
class NctiResult(ScoreResult):
    """NCTI.

    Attributes
    ----------
    nearest_centre : float
        S_ncc, the mean posterior of the right class; 0 … 1, higher is better.
    label_geometry : float
        S_seli, the nuclear norm of the centred discriminant coordinates; higher is better.
    variability : float
        S_vc, the logarithm of the summed nuclear norms of the posteriors of each class; lower is better.
    shrinkage : float
        Weight of the identity in the within-class covariance.
    """

    name: ClassVar[str] = "ncti"
    lower_bound: ClassVar[float] = -1.0
    upper_bound: ClassVar[float] = 2.0

    nearest_centre: float
    label_geometry: float
    variability: float
    shrinkage: float


def ncti(features: Any, labels: Any) -> NctiResult:
    """Return the three terms of NCTI, and a value of this one encoder.

    Higher is better; between −1 and 2. `value` is S_ncc + S_seli − S_vc with each term brought to 0 … 1 by ends that
    are the same for all encoders; `ncti_over_encoders` is the index of the paper, which rescales the terms over a list
    of encoders.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; principal components are computed on its
        device, the rest on the host.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.

    Returns
    -------
    NctiResult

    Raises
    ------
    FeatureError, LabelError
        If an argument is not as said above, or the features do not vary within the classes.

    Notes
    -----
    Cost O(n d² + d³ + n K min(n/K, K)), memory O(d² + n K). With n samples, K classes of n_c samples and m discriminant
    coordinates, S_seli becomes 1 − m √n / S_seli, cut at 0, and exp(S_vc) is measured in logarithms from
    Σ √(n_c / K) to Σ √(n_c min(n_c, K)), between which it lies. The authors' code differs in this:

    1. Where the shrinkage e⁻ˣ, x the variance of the first 32 components, is below 1e-10 it takes the discriminant of
       scikit-learn's `svd` solver, which in older versions divides the within-class scatter by n − K; here it is
       always divided by n.
    2. It fails with fewer than 64 samples or features; here as many components are taken as there are.
    3. Uninformative posteriors have a small nuclear norm, and so a good S_vc: a fault of the term, kept.

    References
    ----------
    .. [1] Wang et al. How far pre-trained models are from neural collapse on the target dataset informs their
       transferability. ICCV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [0.1, 0.0], [0.6, 0.2], [1.0, 1.0], [0.9, 0.0], [0.4, 0.7]])
    >>> result = ncti(x, np.array([0, 0, 0, 1, 1, 1]))
    >>> round(result.nearest_centre, 4), round(result.label_geometry, 4), round(result.variability, 4)
    (0.7478, 2.8308, 1.3001)
    """
    return _ncti(LabelledFeatures(features, labels))


def ncti_over_encoders(results: Sequence[NctiResult]) -> FloatArray:
    """Return NCTI of several encoders on one target, each term rescaled to 0 … 1 over these encoders, as in the paper.

    Higher is better; between −1 and 2. The value of an encoder depends on which others are in the list, and so may the
    order of two of them.

    Parameters
    ----------
    results : sequence of NctiResult
        Of one target.

    Returns
    -------
    array of shape (n_encoders,)

    Raises
    ------
    OptionError
        If something else than a result of `ncti` is among them.
    """
    if not all(isinstance(result, NctiResult) for result in results):
        message = "`results` must be results of `ncti`, one per encoder."
        raise OptionError(message)
    terms = np.array([(each.nearest_centre, each.label_geometry, -each.variability) for each in results])
    if not len(terms):
        return np.empty(0)
    spread = np.ptp(terms, axis=0)
    rescaled = (terms - terms.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    rescaled[:, 2] -= spread[2] > 0  # the term that is subtracted runs from −1 to 0
    return np.asarray(rescaled.sum(axis=1))


def _ncti(data: LabelledFeatures) -> NctiResult:
    n, n_classes = data.n_samples, data.n_classes
    data.principal.require_variation()
    points = as_numpy(data.principal.coordinates(_COMPONENTS))
    variance = float(data.principal.values[:_SHRINKAGE_COMPONENTS].sum()) / (n - 1)
    shrinkage = math.exp(-variance)
    shrinkage = shrinkage if shrinkage > 1e-10 else 0.0
    moments = class_moments(points, data.labels)
    within = within_scatter(moments, lambda: iter([(points, data.labels)]))
    whitening = _whitening(moments, within, shrinkage)  # (p, r)
    centres = (moments.class_means - moments.mean) @ whitening  # (K, r)
    scores = ((points - moments.mean) @ whitening) @ centres.T
    scores += np.log(moments.class_priors) - 0.5 * (centres**2).sum(axis=1)
    posteriors = row_softmax(numpy_namespace, scores)
    nearest_centre = float(own_entries(numpy_namespace, posteriors, data.labels).mean())
    geometry, n_coordinates = _label_geometry(moments, whitening, shrinkage)
    norm = sum(float(np.linalg.svd(posteriors[data.labels == c], compute_uv=False).sum()) for c in range(n_classes))
    value = nearest_centre + _unit_geometry(geometry, n_coordinates, n) - _unit_norm(norm, moments.counts)
    return NctiResult(
        min(max(value, NctiResult.lower_bound), NctiResult.upper_bound),  # rounding must not leave the range
        nearest_centre=nearest_centre,
        label_geometry=geometry,
        variability=math.log(norm),
        shrinkage=shrinkage,
    )


def _whitening(moments: ClassMoments, within: FloatArray, shrinkage: float) -> FloatArray:
    """Return T with Tᵀ Σ T = I for the shrunk within-class covariance Σ; directions without variance are left out."""
    require_variation(moments, within)
    within = within / moments.n_samples
    level = float(np.trace(within)) / len(within)
    covariance = (1 - shrinkage) * within + shrinkage * level * np.eye(len(within))
    scale = np.sqrt(np.diagonal(covariance))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    kept = values > _TOLERANCE**2
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None])


def _label_geometry(moments: ClassMoments, whitening: FloatArray, shrinkage: float) -> tuple[float, int]:
    """Return the nuclear norm of the centred discriminant coordinates, and how many of these there are."""
    columns = moments.between()
    between = columns @ columns.T / moments.n_samples
    shrunk = (1 - shrinkage) * between + shrinkage * float(np.trace(between)) / len(between) * np.eye(len(between))
    values, directions = np.linalg.eigh(whitening.T @ shrunk @ whitening)
    values, directions = values[::-1][: moments.n_classes - 1], directions[:, ::-1][:, : moments.n_classes - 1]
    turned = whitening @ directions[:, values > _TOLERANCE**2 * max(float(values[0]), 0.0)]  # (p, m)
    squares = np.linalg.eigvalsh(turned.T @ moments.scatter @ turned)
    return float(np.sqrt(np.maximum(squares, 0.0)).sum()), turned.shape[1]


def _unit_geometry(norm: float, n_coordinates: int, n_samples: int) -> float:
    """Bring S_seli to 0 … 1: without shrinkage and differences between classes each coordinate has a norm of √n."""
    return max(0.0, 1 - n_coordinates * math.sqrt(n_samples) / norm) if norm > 0 else 0.0


def _unit_norm(norm: float, counts: IntArray) -> float:
    """Bring exp(S_vc) to 0 … 1 by the least and the largest sum of nuclear norms that posteriors can have."""
    n_classes = len(counts)
    least = float(np.sqrt(counts / n_classes).sum())
    largest = float(np.sqrt(counts * np.minimum(counts, n_classes)).sum())
    return min(1.0, max(0.0, math.log(norm / least) / math.log(largest / least)))


def _from_inputs(inputs: ScoreInputs) -> NctiResult:
    return _ncti(inputs.labelled)


SCORES = (
    ScoreInfo(
        "ncti",
        NctiResult,
        description="nearness to neural collapse: nearest centres, label geometry, variability",
        range="−1 … 2",
        cost="O(n d² + d³)",
        limitations="its shrinkage depends on the scale of the features",
        function=_from_inputs,
        invariant_to=frozenset({"shift", "rotation"}),
    ),
)
