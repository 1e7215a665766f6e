"""Check features where they are: an array of another library stays on its device, everything else becomes NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np
import scipy.sparse
from scipy.linalg import blas

from transferability._array import Array, FloatArray, IntArray, Namespace, as_numpy
from transferability._validate import check_features, check_magnitude
from transferability.errors import FeatureError

__all__ = [
    "SumOfSquares",
    "add_to_diagonal",
    "as_features",
    "class_sums",
    "host_features",
    "is_numpy",
    "one_hot",
    "row_blocks",
    "to_float64",
]

_BLOCK_ELEMENTS = 1 << 20


def is_numpy(xp: Namespace) -> bool:
    """Whether `xp` is NumPy, for which LAPACK is available."""
    return bool(array_api_compat.is_numpy_namespace(xp))


def as_features(features: Any, argument: str = "features") -> tuple[Array, Namespace]:
    """Return a checked real floating array of shape (n_samples, n_features) and its namespace, without a copy.

    Arrays of libraries that follow the array API standard stay in their library and on their device; anything else
    becomes NumPy. Half precision becomes float32, integers float64.

    Raises
    ------
    FeatureError
        For another dtype or rank, no rows or columns, NaN or infinite values.
    """
    if isinstance(features, np.ndarray) or not array_api_compat.is_array_api_obj(features):
        checked = check_features(features, argument)
        _check_magnitude(numpy_namespace, checked, argument)
        return checked, numpy_namespace
    xp = array_api_compat.array_namespace(features)
    array = features.detach() if hasattr(features, "detach") else features  # torch: no graph behind a score
    if array.ndim != 2 or 0 in array.shape:
        # The NumPy check has the words for shapes; a stand-in of that shape is enough for it.
        check_features(np.broadcast_to(np.float32(0), tuple(array.shape)), argument)
    if xp.isdtype(array.dtype, ("integral", "bool")):
        array = xp.astype(array, xp.float64)
    elif not xp.isdtype(array.dtype, "real floating"):
        message = (
            f"`{argument}` must hold real floating numbers; got dtype {array.dtype}. Convert them to float32 first."
        )
        raise FeatureError(message)
    elif array.dtype not in (xp.float32, xp.float64):
        array = xp.astype(array, xp.float32)
    for start, block in row_blocks(xp, array):
        if not math.isfinite(float(xp.sum(block))):
            finite = xp.all(xp.isfinite(block), axis=1)
            if not bool(xp.all(finite)):
                row = start + int(xp.argmin(xp.astype(finite, xp.int64)))
                message = (
                    f"`{argument}` must be finite; row {row} holds NaN or infinity. "
                    "Drop such rows or repair the encoder that made them."
                )
                raise FeatureError(message)
    _check_magnitude(xp, array, argument)
    return array, xp


def host_features(features: Any, argument: str = "features") -> FloatArray:
    """Return checked features as NumPy, for the scores that iterate on the host."""
    checked: FloatArray = as_numpy(as_features(features, argument)[0])
    return checked


def _check_magnitude(xp: Namespace, array: Array, argument: str) -> None:
    check_magnitude(max(float(xp.max(array)), -float(xp.min(array))), argument, FeatureError)


def row_blocks(xp: Namespace, array: Array) -> Iterator[tuple[int, Array]]:
    """Yield (first row, block of rows as float64), so that no second copy of all features is ever made.

    A block has a million elements: 8 MB, small beside any features for which memory matters.
    """
    n = array.shape[0]
    rows = max(64, _BLOCK_ELEMENTS // array.shape[1])
    for start in range(0, n, rows):
        yield start, to_float64(xp, array[start : min(start + rows, n), ...])


def to_float64(xp: Namespace, array: Array) -> Array:
    """Return `array` in double precision, itself if it is so already."""
    return xp.astype(array, xp.float64, copy=False)


def one_hot(xp: Namespace, labels: IntArray, n_classes: int, like: Array) -> Array:
    """Return the (n, n_classes) float64 indicator of the labels on the device of `like`."""
    indicator = np.zeros((len(labels), n_classes))
    indicator[np.arange(len(labels)), labels] = 1.0
    return xp.asarray(indicator, device=array_api_compat.device(like))


def class_sums(xp: Namespace, block: Array, labels: IntArray, n_classes: int) -> Array:
    """Return the sum of the rows of each class, (n, d) -> (n_classes, d)."""
    if is_numpy(xp):  # one pass over the block; the dense product below would cost n_classes times the additions
        ones = np.ones(len(labels), dtype=block.dtype)
        indicator = scipy.sparse.csr_array((ones, (labels, np.arange(len(labels)))), shape=(n_classes, len(labels)))
        return indicator @ block
    return one_hot(xp, labels, n_classes, block).T @ block


class SumOfSquares:
    """Sum of XᵀX over blocks of rows X, in one (d, d) array and one triangle of the work where BLAS is available."""

    def __init__(self, xp: Namespace, like: Array) -> None:
        self._numpy = is_numpy(xp)
        size = like.shape[0]
        self._total = xp.zeros((size, size), dtype=xp.float64, device=array_api_compat.device(like))

    def add(self, block: Array) -> None:
        """Add one block of rows, (n, d), float64."""
        if self._numpy:
            # The transposes of C arrays are the Fortran arrays that BLAS takes, and adds to, without a copy.
            blas.dsyrk(1.0, block.T, beta=1.0, c=self._total.T, overwrite_c=1)
        else:
            self._total += block.T @ block

    def total(self) -> Array:
        """Return the (d, d) sum."""
        if self._numpy:
            for start in range(0, len(self._total), 512):  # mirror the triangle, in pieces that fit a cache
                stop = start + 512
                square = self._total[start:stop, start:stop]
                square[:] = np.tril(square) + np.tril(square, -1).T
                self._total[start:stop, stop:] = self._total[stop:, start:stop].T
        return self._total


def add_to_diagonal(xp: Namespace, matrix: Array, value: float) -> Array:
    """Return `matrix` + value · I; the content of `matrix` may be used up."""
    if is_numpy(xp):
        matrix[np.arange(len(matrix)), np.arange(len(matrix))] += value
        return matrix
    return matrix + value * xp.eye(matrix.shape[0], dtype=xp.float64, device=array_api_compat.device(matrix))
