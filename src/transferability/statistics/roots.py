r"""The rows behind a matrix of products, for where the products have lost digits.

Eigenvalues of :math:`X^\top X` are known to ε of the largest: where features are 10⁶ times farther from the origin, or
groups of them from each other, than they are wide, four digits of that width are left, and none at 10⁸. Singular values
of X are known to ε of the largest *singular value*, which leaves eight digits there. A QR factorisation in blocks of
rows gives them without a copy of the features, but in several times the time; so it is taken only where
`is_uneven` finds that it matters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import array_api_compat
import numpy as np

from transferability._array import Array, FloatArray, Namespace, as_numpy
from transferability.statistics._inputs import is_numpy, precision, to_float64

__all__ = ["TRUSTED", "Rows", "is_uneven", "positive_cutoff"]

TRUSTED = 1e-10
"""Eigenvalues above this share of the largest are right to better than 1e-5."""
_BLOCK_ELEMENTS = 1 << 20
_ROUNDINGS = 2
"""Of features that a network has computed, each: they are rounded more often than once."""
_EPSILON = float(np.finfo(np.float64).eps)


def positive_cutoff(values: FloatArray, size: int) -> float:
    """Return the eigenvalue below which rounding, not data, speaks: largest · size · 2⁻⁵², as for `pinv`."""
    return float(values.max(initial=0.0)) * size * _EPSILON


def is_uneven(values: FloatArray, n_zero: int = 0) -> bool:
    """Tell whether eigenvalues are lost in the rounding of the largest, other than `n_zero` that are zero anyway."""
    return int(np.count_nonzero(values < TRUSTED * values.max(initial=0.0))) > n_zero


@dataclass(frozen=True, eq=False)
class Rows:
    """Features X, (n_samples, n_features), of which a matrix of products was made.

    Attributes
    ----------
    xp : namespace
    array : array of shape (n_samples, n_features)
    mean : array of shape (n_features,), optional
        Taken from each row, before the products.
    dual : bool
        Whether the matrix is X Xᵀ, (n, n), and not Xᵀ X, (d, d).
    weight, ridge : float
        The (d, d) matrix is weight · Xᵀ X + ridge · I.
    """

    xp: Namespace
    array: Array
    mean: Array | None = None
    dual: bool = False
    weight: float = 1.0
    ridge: float = 0.0

    def decompose(self, scale: Array | None = None) -> tuple[FloatArray, Array]:
        """Return the eigenvalues of the matrix, ascending and on the host, and its eigenvectors as columns.

        Eigenvalues are zero where the rounding of the features to their precision, or of this, can make them.
        `scale`, (d,), is what columns are multiplied by.
        """
        xp = self.xp
        _, singular, right = xp.linalg.svd(self._triangle(scale), full_matrices=True)
        values = np.zeros(right.shape[0])
        values[: singular.shape[0]] = as_numpy(singular) ** 2
        largest = float(values.max(initial=0.0))
        values[values <= largest * (max(self.array.shape) * _EPSILON) ** 2] = 0.0
        first, last = np.count_nonzero(values >= TRUSTED * largest), np.count_nonzero(values)
        if first < last and not self.ridge:
            suspects = values[first:last]
            values[first:last] = np.where(
                suspects > self._roundings(right[first:last, :].T, suspects, scale), suspects, 0
            )
        # What is zero need not be last: of a feature that is large its rounding is too.
        order = np.argsort(values, kind="stable")
        return values[order], xp.take(right, xp.asarray(order, device=array_api_compat.device(right)), axis=0).T

    def squares(self) -> FloatArray:
        """Return the eigenvalues of the matrix, on the host, roundings included."""
        squares: FloatArray = as_numpy(self.xp.linalg.svdvals(self._triangle(None))) ** 2
        return squares

    def _roundings(self, vectors: Array, values: FloatArray, scale: Array | None) -> FloatArray:
        """Return the eigenvalues that the rounding of the features makes along singular vectors, (·, r) -> (r,).

        A rounding N with entries of size ε |x| moves a singular value by uᵀ N v, and makes one of √(n + d) times that.
        """
        xp, total = self.xp, 0.0
        for block in self._blocks():
            rows, raw = self._prepared(block, scale), block if scale is None else block * scale
            rows, raw = (rows.T, raw.T) if self.dual else (rows, raw)
            total = total + xp.sum((rows @ vectors) ** 2 * (raw**2 @ vectors**2), axis=0)
        epsilon = _ROUNDINGS * precision(xp, self.array)
        made: FloatArray = epsilon**2 * sum(self.array.shape) * as_numpy(total) / values
        return made

    def _triangle(self, scale: Array | None) -> Array:
        """Return R with RᵀR the matrix."""
        xp = self.xp
        triangle: Array = None
        for block in self._blocks():
            rows = self._prepared(block, scale)
            rows = rows.T if self.dual else rows
            triangle = _upper_triangle(xp, rows if triangle is None else xp.concat([triangle, rows], axis=0))
        if (self.weight, self.ridge) == (1.0, 0.0):
            return triangle
        identity = xp.eye(self.array.shape[1], dtype=xp.float64, device=array_api_compat.device(self.array))
        identity = identity * math.sqrt(self.ridge)
        rows = identity if scale is None else identity * scale
        return _upper_triangle(xp, xp.concat([triangle * math.sqrt(self.weight), rows], axis=0))

    @cached_property
    def _left_of_mean(self) -> Array:
        """Rounding of `mean`, (d,): alike in all rows, it would count as a direction. Zero where rows have another."""
        xp, total = self.xp, 0.0
        for block in self._blocks():
            total = total + xp.sum(block - self.mean, axis=0)
        left, size = total / self.array.shape[0], xp.abs(self.mean)
        return xp.where(xp.abs(left) <= 4 * self.array.shape[0] * _EPSILON * size, left, 0.0)

    def _blocks(self) -> Iterator[Array]:
        """Yield the features in blocks that are tall, so that little is spent on the triangle above them."""
        n, d = self.array.shape
        step = n if self.dual else max(2 * d, _BLOCK_ELEMENTS // d)
        for start in range(0, n, step):
            yield to_float64(self.xp, self.array[start : min(start + step, n), :])

    def _prepared(self, block: Array, scale: Array | None) -> Array:
        centred = block if self.mean is None else block - self.mean - self._left_of_mean
        return centred if scale is None else centred * scale


def _upper_triangle(xp: Namespace, matrix: Array) -> Array:
    return np.linalg.qr(matrix, mode="r") if is_numpy(xp) else xp.linalg.qr(matrix)[1]
