"""Array namespace helpers: kernels take arrays of any library that follows the array API standard."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "BoolArray", "Float", "FloatArray", "IntArray", "Namespace", "as_numpy", "namespace"]

Array = Any
"""An array of any library that follows the array API standard."""
Namespace = Any
"""The module that speaks the array API for an array (`numpy`, `torch` through array-api-compat, …)."""
Float = np.float32 | np.float64
FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]


def namespace(*arrays: Array) -> Namespace:
    """Return the array API namespace that `arrays` share."""
    import array_api_compat

    return array_api_compat.array_namespace(*arrays)


def as_numpy(array: Array) -> npt.NDArray[Any]:
    """Return `array` as a NumPy array, copying from a device or detaching from a graph where that is needed."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):  # a torch tensor, perhaps on a GPU, perhaps with a gradient
        array = array.detach().cpu()
    return np.asarray(array)
