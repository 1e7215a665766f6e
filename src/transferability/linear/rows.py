"""Rows of features as descents take them: reduced to what they span, with the spectrum of their moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transferability._array import BoolArray, FloatArray, IntArray

__all__ = ["Array", "Rows", "Spectrum"]

_AXES = 64  # principal axes that are told apart; the others share their mean second moment
_ROWS_PER_AXIS = 16  # for a spectrum a few rows are enough
_LEAST_MOMENT = 1e-6  # of the largest: below is rounding
_POWER_ROUNDS = 3  # of the subspace iteration, on moments that fall off
_MOST_TO_REDUCE = 800  # rows; beyond, the decomposition costs more than it saves
_ROUNDING = 1e-13  # share of the largest squared singular value below which a direction is rounding
_SINGLE_PRECISION_FROM = 5_000_000  # multiplications of half a pass

Array = npt.NDArray[Any]  # float64 or float32


class Spectrum(NamedTuple):
    """Second moments of features along principal axes."""

    axes: Array | None  # (d, r), orthonormal; None where the features are given in their principal axes
    values: Array  # (r,)
    rest: float | None  # mean second moment across these axes; None where there is nothing across

    @classmethod
    def of(cls, features: Array) -> Spectrum:
        """Measure the largest 64 moments, by subspace iteration on a thousand rows: O(d) each."""
        n, d = features.shape
        some = features[:: -(-n // (_ROWS_PER_AXIS * _AXES))]
        scale = some.dtype.type(1 / np.sqrt(len(some)))
        if d <= 2 * _AXES:
            values, axes = np.linalg.eigh((some.T @ some) * scale**2)
            return cls(axes, np.maximum(values, _LEAST_MOMENT * values[-1]), None)
        some = some * scale
        trace = float(np.einsum("nd,nd->", some, some, dtype=np.float64))
        start = np.random.default_rng(0).normal(size=(d, _AXES + _AXES // 4)).astype(some.dtype)
        block = np.linalg.qr(start)[0]
        for _ in range(_POWER_ROUNDS):
            block = np.linalg.qr(some.T @ (some @ block))[0]
        along = some @ block
        values, turn = np.linalg.eigh(along.T @ along)
        values, axes = np.maximum(values[-_AXES:], 0.0), block @ turn[:, -_AXES:]
        rest = (trace - float(values.sum())) / (d - _AXES)
        return cls(axes, values, max(rest, _LEAST_MOMENT * float(values[-1])))

    def divide(self, slopes: Array, curvature: Array, strength: Array) -> Array:
        """Return ``slopes / (h_j s_i + strength_j)`` in the principal axes, (K, d) -> (K, d)."""
        h, q = curvature[:, None], strength[:, None]
        if self.axes is None:
            divided: Array = slopes / (h * self.values + q)
            return divided
        along: Array = slopes @ self.axes  # (K, r)
        if self.rest is None:
            along /= h * self.values + q
            return along @ self.axes.T
        across = 1 / (h * slopes.dtype.type(self.rest) + q)
        along *= 1 / (h * self.values + q) - across
        result: Array = across * slopes
        result += along @ self.axes.T
        return result


@dataclass(frozen=True, eq=False)
class Rows:
    """Features as the solvers want them: in principal coordinates where there are fewer rows than features.

    A classifier that is fitted to these rows, with a quadratic in its distance from another one, differs from that one
    in the space that the rows span only.
    """

    coordinates: Array  # (n, r)
    basis: FloatArray | None  # (d, r), orthonormal; None where r = d, and coordinates are the features
    spectrum: Spectrum

    @classmethod
    def of(cls, features: FloatArray) -> Rows:
        """Decompose features, (n, d): O(n² d) for n < d."""
        n, d = features.shape
        if n >= d or n > _MOST_TO_REDUCE:
            return cls(features, None, Spectrum.of(features))
        features = features.astype(np.float64, copy=False)
        squares, axes = np.linalg.eigh(features @ features.T)
        kept = squares > _ROUNDING * max(float(squares[-1]), np.finfo(np.float64).tiny)
        kept[-1] = True  # of features that are all zero one axis is left
        roots, axes = np.sqrt(np.maximum(squares[kept], 0.0)), axes[:, kept]
        basis = features.T @ (axes / np.where(roots > 0, roots, 1.0))
        return cls(axes * roots, basis, Spectrum(None, squares[kept] / n, None))

    def take(self, rows: IntArray | BoolArray) -> Rows:
        """Return these rows, in the coordinates of all."""
        return Rows(self.coordinates[rows], self.basis, self.spectrum)

    def working(self, n_classes: int, single_from: int | None = None) -> Rows:
        """Return the rows in the precision that passes are made in: float32 where they are large."""
        large = self.coordinates.size * n_classes > (single_from or _SINGLE_PRECISION_FROM)
        dtype = np.float32 if large else np.float64
        spectrum = Spectrum(
            None if self.spectrum.axes is None else self.spectrum.axes.astype(dtype, copy=False),
            self.spectrum.values.astype(dtype, copy=False),
            self.spectrum.rest,
        )
        return Rows(self.coordinates.astype(dtype, copy=False), self.basis, spectrum)

    def in_double(self) -> Rows:
        """Return the rows in float64."""
        return Rows(self.coordinates.astype(np.float64, copy=False), self.basis, self.spectrum)

    def reduce(self, weights: FloatArray) -> FloatArray:
        """Return weights of features as weights of coordinates, (K, d) -> (K, r)."""
        return weights if self.basis is None else weights @ self.basis

    def expand(self, reduced: Array, prior: FloatArray | None = None) -> FloatArray:
        """Return the weights of features that are `reduced` on these rows, and `prior` (or zero) across them."""
        weights: FloatArray = reduced.astype(np.float64)
        if self.basis is None:
            return weights
        if prior is None:
            return weights @ self.basis.T
        return prior + (weights - prior @ self.basis) @ self.basis.T
