"""The leading directions of a covariance."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import eigsh

from transferability._array import FloatArray

__all__ = ["leading_factor"]


def leading_factor(covariance: FloatArray, rank: int) -> FloatArray:
    """Return F of shape (d, min(d, rank)) such that ``F Fᵀ`` is the best approximation of that rank.

    Parameters
    ----------
    covariance : array of shape (d, d)
        Symmetric, positive semi-definite.
    rank : int

    Notes
    -----
    Lanczos iterations, O(d² rank), from the same start every time; all eigenvectors where `rank` is most of them.

    Examples
    --------
    >>> import numpy as np
    >>> np.abs(leading_factor(np.diag([4.0, 1.0, 9.0]), 1).round(6)).tolist()
    [[0.0], [0.0], [3.0]]
    """
    d = len(covariance)
    if d > 2 * rank and covariance.any():
        values, vectors = eigsh(covariance, rank, v0=np.ones(d))
    else:
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = values[-rank:], vectors[:, -rank:]
    factor: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.where(np.abs(factor).max(axis=0) == factor.max(axis=0), factor, -factor)
