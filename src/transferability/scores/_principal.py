"""Principal axes of centred features: as many as a score asks for, from one reduction of the scatter that all share.

For n > d the (d, d) scatter is brought to tridiagonal form, which gives all eigenvalues; eigenvectors are made for the
leading ones that are asked for. For n ≤ d the (n, n) matrix of inner products takes its place.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import array_api_compat
import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from transferability._array import Array, FloatArray, Namespace, as_numpy
from transferability.errors import FeatureError
from transferability.statistics._inputs import SumOfSquares, is_numpy, row_blocks, to_float64
from transferability.statistics.roots import Rows, is_uneven, positive_cutoff

__all__ = ["PrincipalAxes"]

_LEADING = 64
"""Axes that a score may ask for: the others count by the sum of their eigenvalues, which has all its digits."""


class PrincipalAxes:
    """Principal axes of the rows of `array` about their mean.

    Parameters
    ----------
    xp : namespace
    array : array of shape (n_samples, n_features)
    mean, scatter : arrays of shape (n_features,) and (n_features, n_features), optional
        Of these rows; needed for n > d, left out for n ≤ d.
    """

    def __init__(self, xp: Namespace, array: Array, mean: Array = None, scatter: Array = None) -> None:
        self._xp, self._array, self._mean = xp, array, mean
        self._dual = scatter is None
        if self._dual:
            centred = to_float64(xp, array)
            self._mean = xp.mean(centred, axis=0)
            centred = centred - self._mean
            scatter = centred @ centred.T
        self._matrix = scatter

    @classmethod
    def of(cls, xp: Namespace, array: Array) -> PrincipalAxes:
        """Return the axes of an array whose moments are not known."""
        if array.shape[0] <= array.shape[1]:
            return cls(xp, array)
        mean = sum((xp.sum(block, axis=0) for _, block in row_blocks(xp, array)), start=0.0) / array.shape[0]
        scatter = SumOfSquares(xp, mean)
        for _, block in row_blocks(xp, array):
            scatter.add(block - mean)
        return cls(xp, array, mean, scatter.total())

    @cached_property
    def values(self) -> FloatArray:
        """All eigenvalues of the scatter that are not rounding, largest first, on the host."""
        if self._exact is not None:
            values: FloatArray = self._exact[0][::-1]
            return values[values > 0]
        values = self._rounded[::-1]
        return values[values > positive_cutoff(values, len(values))]

    @cached_property
    def _rounded(self) -> FloatArray:
        """All eigenvalues of the matrix, ascending."""
        if not self._by_lapack:
            return as_numpy(self._decomposed[0])
        _, _, _, diagonal, off_diagonal = self._reduced
        values: FloatArray = scipy.linalg.eigh_tridiagonal(
            diagonal, off_diagonal, eigvals_only=True, check_finite=False
        )
        return values

    @cached_property
    def _exact(self) -> tuple[FloatArray, Array] | None:
        """Eigenvalues and vectors from the rows, where a leading one is lost in the rounding of the first."""
        constant = int(self._xp.count_nonzero(self._xp.linalg.diagonal(self._matrix) == 0))
        leading = self._rounded[::-1][: min(_LEADING, len(self._rounded) - constant - self._dual)]
        if not is_uneven(leading):
            return None
        return Rows(self._xp, self._array, self._mean, dual=self._dual).decompose()

    def require_variation(self) -> None:
        """Raise `FeatureError` if all samples are equal."""
        if not len(self.values):
            message = "`features` must vary; all samples are equal."
            raise FeatureError(message)

    def coordinates(self, count: int) -> Array:
        """Return the samples in the leading `count` axes, or in all there are, (n, p), in float64 on the device.

        The sign of each axis is such that the coordinate that is largest in size is positive: it depends neither on
        the order of the rows nor on a rotation of the features.
        """
        count = min(count, len(self.values))
        xp, vectors = self._xp, self._leading(count)  # (d, p), or (n, p) in the dual
        if self._dual:
            roots = xp.asarray(np.sqrt(self.values[:count]), device=array_api_compat.device(self._array))
            coordinates = vectors * roots
        else:
            blocks = [(block - self._mean) @ vectors for _, block in row_blocks(xp, self._array)]
            coordinates = xp.concat(blocks, axis=0)
        positive = xp.max(coordinates, axis=0) >= -xp.min(coordinates, axis=0)
        return xp.where(positive, coordinates, -coordinates)

    @property
    def _by_lapack(self) -> bool:
        return is_numpy(self._xp) and len(self._matrix) >= 8

    @cached_property
    def _reduced(self) -> tuple[Any, ...]:
        """Reflectors of Q and their factors, workspace, and T of the scatter Q T Qᵀ."""
        size = len(self._matrix)
        lwork, _ = lapack.dsytrd_lwork(size, lower=1)
        reflectors, diagonal, off_diagonal, tau, _ = lapack.dsytrd(self._matrix.T, lower=1, lwork=int(lwork))
        return reflectors, tau, size, diagonal, off_diagonal

    @cached_property
    def _decomposed(self) -> tuple[Array, Array]:
        values, vectors = self._xp.linalg.eigh(self._matrix)
        return values, vectors

    def _leading(self, count: int) -> Array:
        """Return the leading eigenvectors as columns, largest first."""
        if self._exact is not None or not self._by_lapack:
            vectors = self._decomposed[1] if self._exact is None else self._exact[1]
            return self._xp.flip(vectors[:, vectors.shape[1] - count :], axis=1)
        reflectors, tau, size, diagonal, off_diagonal = self._reduced
        _, basis = scipy.linalg.eigh_tridiagonal(
            diagonal, off_diagonal, select="i", select_range=(size - count, size - 1), check_finite=False
        )
        turned = np.asfortranarray(basis[:, ::-1])
        below: Any = reflectors[1:, : size - 1]
        turned[1:], _, _ = lapack.dormqr("L", "N", below, tau, turned[1:], 64 * max(1, count))
        return turned
