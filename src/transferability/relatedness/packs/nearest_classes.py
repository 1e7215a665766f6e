r"""What is a task like? The reference class that each of its classes lies nearest to, under one encoder.

The distance of a row :math:`z` to the mean :math:`m_j` of a reference class is Mahalanobis,

.. math:: d_j^2(z) = (z - m_j)^\top \Sigma^{-1} (z - m_j), \qquad \Sigma = F F^\top + \operatorname{diag}(v),

with one within-class covariance for all: the mean of those of the packs, its sixteen largest directions and the
variances that these leave. Nothing is fitted to the target and no label is used to find the nearest class, so a class
that is told to be like another one is so in the features as the encoder gives them. Plain distances know the scale of
the encoder's features instead of that of the differences that matter (`benchmarks/packs.py --nearest`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from transferability._array import FloatArray
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.results.summary import NearestClass
from transferability.statistics.low_rank import leading_factor
from transferability.task import Task

__all__ = ["nearest_classes"]

_RANK = 16
_LEAST = 0.05  # of the variance of a feature that is never explained away


def nearest_classes(target: Task, packs: Sequence[ReferencePack]) -> tuple[NearestClass, ...]:
    """Return, for each class of a target, the reference class that most of its rows lie nearest to.

    Parameters
    ----------
    target : Task
        With labels, in features of the encoder that the packs were made with; not standardised.
    packs : sequence of ReferencePack
        One or more.

    Returns
    -------
    tuple of NearestClass
        One for each class of the target.

    Raises
    ------
    LabelError
        If the target has no labels.

    Notes
    -----
    Cost O(n d (K + 16)) for K reference classes in all.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.arange(80) % 2
    >>> x = np.random.default_rng(0).normal(size=(80, 4)) + 5 * y[:, None]
    >>> pack = ReferencePack.from_task(Task(x, y, name="levels", class_names=["low", "high"]), tau=1.0)
    >>> [(each.reference_class, each.share) for each in nearest_classes(Task(x + 0.1, y), [pack])]
    [('low', 1.0), ('high', 1.0)]
    """
    labels = target.require_labels()
    names = [
        (pack.name, name) for pack in packs for name in (pack.class_names or tuple(map(str, range(pack.n_classes))))
    ]
    means = np.concatenate([pack.statistics.means for pack in packs])
    nearest = _nearest(target.features.astype(np.float64), means, packs)
    found = []
    for k in range(target.n_classes):
        counts = np.bincount(nearest[labels == k], minlength=len(names))
        first, second = np.argsort(-counts, kind="stable")[:2]
        found.append(
            NearestClass(
                target_class=str(k) if target.class_names is None else target.class_names[k],
                reference=names[first][0],
                reference_class=names[first][1],
                share=float(counts[first] / counts.sum()),
                runner_up=": ".join(names[second]) if counts[second] else None,
            )
        )
    return tuple(found)


def _nearest(features: FloatArray, means: FloatArray, packs: Sequence[ReferencePack]) -> FloatArray:
    """Return the number of the nearest mean of each row."""
    covariance = np.mean([pack.statistics.pooled / len(pack) for pack in packs], axis=0)
    variances = np.diagonal(covariance).copy()
    scale = np.sqrt(np.where(variances > 0, variances, variances.max() or 1.0))
    factor = leading_factor(covariance / np.outer(scale, scale), _RANK)
    left = np.maximum(1.0 - np.einsum("dr,dr->d", factor, factor), _LEAST)
    x, m = features / scale, means / scale
    # (F Fᵀ + D)⁻¹ = D⁻¹ − D⁻¹ F (1 + Fᵀ D⁻¹ F)⁻¹ Fᵀ D⁻¹
    weighted = factor / left[:, None]
    core = cho_factor(np.eye(factor.shape[1]) + factor.T @ weighted)
    solved = m / left - (weighted @ cho_solve(core, weighted.T @ m.T)).T  # (K, d), Σ⁻¹ m
    half = 0.5 * np.einsum("kd,kd->k", m, solved)
    nearest: FloatArray = (half - x @ solved.T).argmin(axis=1)
    return nearest
