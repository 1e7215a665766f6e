r"""EMMS: how well a linear function of the features gives embeddings of the labels.

.. math:: \text{EMMS} = -\min_{W,\; t \in \Delta} \frac{1}{n D} \Big\| X W - \sum_k t_k Z_k \Big\|_F^2

Meng et al. [1]_: :math:`X` are the standardised features, :math:`Z_k`, (n, D), the standardised embeddings of each
sample's label by the k-th foundation model, and :math:`\Delta` the simplex. With :math:`P` the projection on the
centred features' columns, what is left after W is :math:`t^\top G t` with
:math:`G_{kl} = \langle Z_k, (I - P) Z_l \rangle / nD`: a quadratic problem in a few numbers, solved exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from transferability._array import Array, FloatArray, IntArray, Namespace, as_numpy
from transferability._validate import as_array, check_labels, check_magnitude, check_targets
from transferability.errors import LabelError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import SumOfSquares, as_features, one_hot, row_blocks, to_float64
from transferability.statistics.roots import Rows
from transferability.statistics.spectrum import eigen_projections, inverse_root_products

__all__ = ["SCORES", "EmmsResult", "emms"]

_EXACT = 1e-12  # share of the variance below which rounding, not the features, leaves something over


@dataclass(frozen=True)
class EmmsResult(ScoreResult):
    """EMMS.

    Attributes
    ----------
    weights : tuple of float
        t, of each embedding; they sum to 1.
    rank : int
        Rank of the centred features.
    """

    name: ClassVar[str] = "emms"
    lower_bound: ClassVar[float] = -1.0
    upper_bound: ClassVar[float] = 0.0
    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels", "label_embeddings"})
    needs_with_targets: ClassVar[frozenset[str] | None] = frozenset({"features", "targets"})

    weights: tuple[float, ...]
    rank: int


def emms(features: Any, labels: Any, label_embeddings: Any = None) -> EmmsResult:
    """Return EMMS of features for embeddings of the labels.

    Higher is better; between −1 and 0: the share of the embeddings' variance that no linear function of the features
    explains, negative.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of int of shape (n_samples,), or of float of shape (n_samples,) or (n_samples, n_outputs)
        With `label_embeddings`: classes 0..K−1, each with a sample. Without: targets, which are their own embedding.
    label_embeddings : array of shape (n_classes, n_dims) or (n_models, n_classes, n_dims), optional
        Embeddings of the class names, by one or several language models, of one width.

    Returns
    -------
    EmmsResult
        `value`, `weights`, `rank`, and a note where the score says nothing.

    Raises
    ------
    FeatureError, LabelError
        If an argument is not as said above, or the embeddings are the same for all samples.

    Notes
    -----
    Cost O(n d² + d³), memory O(d²); O(n² d + n³) for n ≤ d. For classes everything is read off class moments. Against
    the authors' code:

    1. The minimum over W and t together is exact. The code makes one step of an alternation and projects an
       unconstrained t on the simplex, without fitting W again.
    2. The code multiplies by D where the mean divides by it; the order of encoders is the same.

    References
    ----------
    .. [1] Meng et al. Foundation model is efficient multimodal multitask model selector. NeurIPS 2023.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [0.1, 0.0], [0.6, 0.2], [1.0, 1.0], [0.9, 0.0], [0.4, 0.7]])
    >>> round(float(emms(x, np.array([0, 0, 0, 1, 1, 1]), np.array([[1.0, 0.0], [0.0, 1.0]]))), 4)
    -0.4396
    """
    if label_embeddings is None:
        return _of_targets(features, labels)
    data = LabelledFeatures(features, check_labels(labels))  # class numbers: they count the rows of the embeddings
    return _of_classes(data, _as_embeddings(label_embeddings, np.arange(data.n_classes)))


def _of_classes(data: LabelledFeatures, embeddings: FloatArray) -> EmmsResult:
    """Compute from class moments; `embeddings` (M, K, D)."""
    counts = np.bincount(data.labels).astype(np.float64)
    centred = embeddings - np.einsum("k,mkd->md", counts / counts.sum(), embeddings)[:, None, :]
    deviations = np.sqrt(np.einsum("k,mkd->md", counts / counts.sum(), centred**2))[:, None, :]
    weighted = _standardised(centred, deviations) * np.sqrt(counts)[:, None]  # (M, K, D)
    if data.tall:
        roots, rank = inverse_root_products(
            data.xp, data.moments.scatter, data.moments.between(), data.centred_rows
        )  # (r, K)
    else:
        indicator = one_hot(data.xp, data.labels, data.n_classes, data.array)
        roots, rank = _dual_roots(data.xp, data.array, indicator)
        roots = roots / np.sqrt(counts)
    explained = np.einsum("rk,mkd->mrd", roots, weighted, optimize=True)
    return _result(weighted, explained, data.n_samples, rank)


def _of_targets(features: Any, targets: Any) -> EmmsResult:
    array, xp = as_features(features)
    checked = check_targets(targets, array.shape[0], "labels").reshape(array.shape[0], -1)
    centred = checked - checked.mean(axis=0)
    values = _standardised(centred, centred.std(axis=0))  # (n, D)
    on_device = xp.asarray(values, device=array_api_compat.device(array))
    if array.shape[0] <= array.shape[1]:
        roots, rank = _dual_roots(xp, array, on_device)
    else:
        mean = sum((xp.sum(block, axis=0) for _, block in row_blocks(xp, array)), start=0.0) / array.shape[0]
        scatter, cross = SumOfSquares(xp, mean), 0.0
        for start, block in row_blocks(xp, array):
            scatter.add(block - mean)
            cross = cross + (block - mean).T @ on_device[start : start + block.shape[0], :]
        roots, rank = inverse_root_products(xp, scatter.total(), cross, lambda: Rows(xp, array, mean))
    return _result(values[None], roots[None], array.shape[0], rank)


def _dual_roots(xp: Namespace, array: Array, vectors: Array) -> tuple[FloatArray, int]:
    """Return the coordinates of (n, m) vectors in the column space of the centred features, for n ≤ d, and its rank."""
    centred = to_float64(xp, array)
    mean = xp.mean(centred, axis=0)
    centred = centred - mean
    rows = Rows(xp, array, mean, dual=True)
    values, projections = eigen_projections(xp, centred @ centred.T, vectors, lambda: rows, n_zero=1)
    kept = values > 0
    return projections[kept], int(kept.sum())


def _standardised(centred: FloatArray, deviations: FloatArray) -> FloatArray:
    """Divide by the deviations; what is the same for all samples becomes zero."""
    if not (deviations > 0).any():
        message = "`labels` must have embeddings or targets that differ between samples; all are equal."
        raise LabelError(message)
    return np.asarray(np.where(deviations > 0, centred / np.where(deviations > 0, deviations, 1.0), 0.0))


def _result(targets: FloatArray, explained: FloatArray, n_samples: int, rank: int) -> EmmsResult:
    """Minimise over t; `targets` (M, ·, D) and their coordinates in the features' space, (M, r, D)."""
    flat, inside = (each.reshape(len(targets), each[0].size) for each in (targets, explained))
    gram = (flat @ flat.T - inside @ inside.T) / (n_samples * targets.shape[2])
    weights = _simplex_minimum(gram)
    value = -min(1.0, max(0.0, float(weights @ gram @ weights)))
    note = f"says nothing: with {n_samples} samples and {rank} independent features EMMS is 0 whatever the features."
    return EmmsResult(
        0.0 + value, weights=tuple(weights.tolist()), rank=rank, notes=() if rank < n_samples - 1 else (note,)
    )


def _simplex_minimum(gram: FloatArray) -> FloatArray:
    """Return t ≥ 0 with sum 1 that minimises tᵀ G t.

    By its optimality conditions it is proportional to the minimum of tᵀ G t / 2 − Σ t over t ≥ 0: non-negative least
    squares with a root of G.
    """
    from scipy.optimize import nnls

    size = len(gram)
    values, vectors = np.linalg.eigh(gram)
    if values[-1] <= _EXACT:
        return np.full(size, 1.0 / size)
    root = np.sqrt(np.maximum(values, _EXACT * values[-1]))[:, None] * vectors.T
    weights, _ = nnls(root, np.linalg.solve(root.T, np.ones(size)))
    return np.asarray(weights / weights.sum())


def _as_embeddings(embeddings: Any, present: IntArray) -> FloatArray:
    """Return embeddings as (M, K, D) float64, of the classes that are present."""
    array = as_array(as_numpy(embeddings), "label_embeddings", LabelError)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.dtype.kind not in "fiu" or 0 in array.shape or array.shape[1] <= int(present.max()):
        message = (
            "`label_embeddings` must be numbers of shape (n_classes, n_dims) or (n_models, n_classes, n_dims), with a "
            f"row for each of {int(present.max()) + 1} classes; got {array.dtype} of shape {array.shape}."
        )
        raise LabelError(message)
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        message = "`label_embeddings` must be finite; some hold NaN or infinity. Embed these class names again."
        raise LabelError(message)
    check_magnitude(np.abs(array).max(axis=(0, 1)), "label_embeddings", LabelError)
    return np.asarray(array[:, present])


def _from_inputs(inputs: ScoreInputs) -> EmmsResult:
    if inputs.labels is None:
        return _of_targets(inputs.features, inputs.targets)
    return _of_classes(inputs.labelled, _as_embeddings(inputs.label_embeddings, inputs.present_classes))


SCORES = (
    ScoreInfo(
        "emms",
        EmmsResult,
        description="share of the variance of label embeddings that the features do not explain, negative",
        range="−1 … 0",
        cost="O(n d² + d³)",
        limitations="n ≤ d: it is 0 whatever the features; it needs embeddings of the class names, or targets",
        function=_from_inputs,
        invariant_to=frozenset({"shift", "scale", "rotation"}),
    ),
)
