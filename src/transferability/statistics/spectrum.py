"""What a symmetric positive semi-definite matrix does to a few vectors, without more work than that takes.

With NumPy arrays LAPACK is called below the level of `eigh`: reduction to tridiagonal form, eigenvectors of the
tridiagonal matrix, both applied to the vectors. The eigenvectors of the matrix itself, a third of the work and a
(d, d) array, are never formed. Elsewhere (a GPU, say) the array library's own `eigh` is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from transferability._array import Array, FloatArray, Namespace, as_numpy
from transferability.statistics._inputs import is_numpy
from transferability.statistics.roots import TRUSTED, Rows, is_uneven, positive_cutoff

__all__ = ["eigen_projections", "inverse_root_products", "inverse_trace"]

MakeRows = Callable[[], Rows]


def eigen_projections(
    xp: Namespace,
    matrix: Array,
    vectors: Array,
    rows: MakeRows | None = None,
    *,
    scale: Array | None = None,
    n_zero: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Return the eigenvalues of `matrix` and the coordinates of `vectors` in its eigenvectors, both as NumPy.

    Parameters
    ----------
    xp : namespace
    matrix : array of shape (d, d)
        Symmetric positive semi-definite, float64. Its content is used up.
    vectors : array of shape (d, m)
    rows : function, optional
        Makes the `Rows` that the matrix was made of, for where it has lost digits.
    scale : array of shape (n_features,), optional
        What the columns of the rows were multiplied by.
    n_zero : int, default=0
        How many eigenvalues are zero whatever the features.

    Returns
    -------
    values : (d,) ascending
        Zero where they are rounding.
    projections : (d, m), row i belonging to eigenvalue i
    """
    if is_numpy(xp) and len(matrix) >= 8:
        values, projections = _tridiagonal_projections(matrix, vectors)
    else:
        values, basis = xp.linalg.eigh(matrix)
        values, projections = as_numpy(values), as_numpy(basis.T @ vectors)  # small from here on: host
    if rows is not None and is_uneven(values, n_zero):
        values, basis = rows().decompose(scale)
        return values, as_numpy(basis.T @ vectors)
    return np.where(values > positive_cutoff(values, len(values)), values, 0.0), projections


def inverse_trace(xp: Namespace, matrix: Array, vectors: Array, rows: MakeRows | None = None) -> tuple[float, int]:
    r"""Return :math:`\operatorname{tr}(V^\top M^+ V)` and the rank of M; rows of zeros and ill scales do no harm.

    Parameters
    ----------
    xp : namespace
    matrix : array of shape (d, d)
        M, symmetric positive semi-definite, float64. Kept as it is.
    vectors : array of shape (d, m)
        V, in the range of M.
    rows : function, optional
        Makes the `Rows` that M was made of, for where it has lost digits.
    """
    whitened, rank = inverse_root_products(xp, matrix, vectors, rows)
    return float(np.vdot(whitened, whitened)), rank


def inverse_root_products(
    xp: Namespace, matrix: Array, vectors: Array, rows: MakeRows | None = None
) -> tuple[FloatArray, int]:
    r"""Return U, (r, m) on the host, with :math:`U^\top U = V^\top M^+ V`, and the rank of M.

    Parameters as those of `inverse_trace`.
    """
    diagonal = xp.linalg.diagonal(matrix)
    positive = diagonal > 0
    # With a diagonal of ones the rank does not depend on the units of the features; one that is constant has no part.
    scale = xp.where(positive, 1 / xp.sqrt(xp.where(positive, diagonal, 1.0)), 0.0)
    scaled_vectors = vectors * scale[:, None]
    scaled = _scaled(matrix, scale)
    if is_numpy(xp) and bool(positive.all()):
        norm: Any = lapack.dlange  # SciPy's type stubs know no arguments of it
        size = norm("1", scaled.T)
        factor, info = lapack.dpotrf(scaled.T, lower=0, clean=0, overwrite_a=1)  # .T: symmetric, in LAPACK's order
        if info == 0 and lapack.dpocon(factor, size)[0] > TRUSTED:  # the inverse is good to 1e-6
            whitened = scipy.linalg.solve_triangular(factor, scaled_vectors, trans="T", check_finite=False)
            return whitened, len(matrix)
        scaled = _scaled(matrix, scale)
    n_zero = matrix.shape[0] - int(xp.sum(xp.astype(positive, xp.int64)))
    values, projections = eigen_projections(xp, scaled, scaled_vectors, rows, scale=scale, n_zero=n_zero)
    kept = values > 0
    return projections[kept] / np.sqrt(values[kept, None]), int(kept.sum())


def _scaled(matrix: Array, scale: Array) -> Array:
    scaled = matrix * scale[:, None]
    scaled *= scale[None, :]
    return scaled


def _tridiagonal_projections(matrix: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    size = len(matrix)
    lwork, _ = lapack.dsytrd_lwork(size, lower=1)
    # M = Q T Qᵀ. The transpose of a symmetric C array is the Fortran array that LAPACK overwrites without a copy.
    reflectors, diagonal, off_diagonal, tau, _ = lapack.dsytrd(matrix.T, lower=1, lwork=int(lwork), overwrite_a=1)
    turned = np.array(vectors, dtype=np.float64, order="F")
    # Q leaves the first coordinate alone and acts on the others as the reflectors of a QR factorisation do.
    below: Any = reflectors[1:, : size - 1]
    turned[1:], _, _ = lapack.dormqr("L", "T", below, tau, turned[1:], 64 * max(1, turned.shape[1]))
    values, basis = scipy.linalg.eigh_tridiagonal(diagonal, off_diagonal, check_finite=False)
    return values, basis.T @ turned
