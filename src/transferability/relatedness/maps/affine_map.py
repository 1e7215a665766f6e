r"""Affine maps of features: a matrix, or the identity plus a product of two narrow ones.

The map that a fit finds differs from the identity only where the reference classifier looks, in K − 1 directions. Kept
as factors it is d / (2 K − 2) times smaller than as a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from transferability._array import FloatArray

__all__ = ["AffineMap", "FactoredMap"]


@dataclass(frozen=True, eq=False)
class AffineMap:
    """``z ↦ matrix z + offset``."""

    matrix: FloatArray  # (d_out, d_in)
    offset: FloatArray  # (d_out,)

    @classmethod
    def identity(cls, d_out: int, d_in: int) -> AffineMap:
        """Return the identity, or its truncation where the dimensions differ."""
        return FactoredMap(np.zeros((d_out, 0)), np.zeros((0, d_in)), np.zeros(d_out))

    @classmethod
    def truncated(cls, matrix: FloatArray, offset: FloatArray, d_in: int) -> AffineMap:
        """Return ``matrix z + offset`` after `identity` from `d_in` dimensions."""
        return AffineMap(_truncated(matrix, d_in), offset)

    @property
    def shape(self) -> tuple[int, int]:
        """Dimensions that it leads to, and from."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def apply(self, features: FloatArray) -> FloatArray:
        """Return the mapped features, shape (n, d_out), in float64; of float32 features by a product in float32."""
        mapped = np.asarray(features @ self.matrix.T.astype(features.dtype, copy=False), dtype=np.float64)
        mapped += self.offset
        return mapped

    def then(self, matrix: FloatArray, offset: FloatArray) -> AffineMap:
        """Return this map followed by ``matrix z + offset``."""
        return AffineMap(matrix @ self.matrix, matrix @ self.offset + offset)

    def corrected(self, left: FloatArray, right: FloatArray, offset: FloatArray) -> AffineMap:
        """Return the map with ``left right`` added to its matrix, and `offset` to its offset."""
        return AffineMap(self.matrix + left @ right, self.offset + offset)

    def inverse(self) -> AffineMap:
        """Return the (pseudo-)inverse map."""
        inverse = np.linalg.pinv(self.matrix)
        return AffineMap(inverse, -inverse @ self.offset)


@dataclass(frozen=True, eq=False, init=False)
class FactoredMap(AffineMap):
    """``z ↦ (1 + left right) z + offset``, with the identity truncated or filled up where dimensions differ."""

    left: FloatArray  # (d_out, r)
    right: FloatArray  # (r, d_in)

    def __init__(self, left: FloatArray, right: FloatArray, offset: FloatArray) -> None:
        for name, value in (("left", left), ("right", right), ("offset", offset)):
            object.__setattr__(self, name, value)

    @cached_property  # type: ignore[misc]  # made where somebody asks for it
    def matrix(self) -> FloatArray:
        """The whole matrix, (d_out, d_in)."""
        product: FloatArray = self.left @ self.right
        common = np.arange(min(product.shape))
        product[common, common] += 1.0
        return product

    @property
    def shape(self) -> tuple[int, int]:
        """Dimensions that it leads to, and from."""
        return self.left.shape[0], self.right.shape[1]

    def apply(self, features: FloatArray) -> FloatArray:
        """Return the mapped features, shape (n, d_out), in float64; of float32 features by products in float32."""
        left, right = (factor.astype(features.dtype, copy=False) for factor in (self.left, self.right))
        mapped: FloatArray = ((features @ right.T) @ left.T).astype(np.float64, copy=False)
        common = min(self.shape)
        mapped[:, :common] += features[:, :common]
        mapped += self.offset
        return mapped

    def then(self, matrix: FloatArray, offset: FloatArray) -> AffineMap:
        """Return this map followed by ``matrix z + offset``."""
        product = _truncated(matrix, self.shape[1]) + (matrix @ self.left) @ self.right
        return AffineMap(product, matrix @ self.offset + offset)

    def corrected(self, left: FloatArray, right: FloatArray, offset: FloatArray) -> AffineMap:
        """Return the map with ``left right`` added to its matrix, and `offset` to its offset."""
        both = np.concatenate([self.left, left], axis=1), np.concatenate([self.right, right])
        return FactoredMap(*both, self.offset + offset)


def _truncated(matrix: FloatArray, d_in: int) -> FloatArray:
    """Return a matrix times the truncated identity from `d_in` dimensions."""
    common = min(matrix.shape[1], d_in)
    wide = np.zeros((len(matrix), d_in))
    wide[:, :common] = matrix[:, :common]
    return wide
