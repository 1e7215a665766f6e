"""Array namespace helpers: kernels take arrays of any library that follows the array API standard."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transferability.errors import FeatureError

__all__ = [
    "Array",
    "BoolArray",
    "Float",
    "FloatArray",
    "IntArray",
    "Namespace",
    "as_numpy",
    "is_sparse",
    "namespace",
    "refuse_masked",
]

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
    refuse_masked(array, "an array")
    if is_sparse(array):
        message = f"an array must be dense; got a sparse {type(array).__name__} of shape {array.shape}. "
        raise FeatureError(message + "Write x.toarray().")
    if hasattr(array, "detach"):  # a torch tensor, perhaps on a GPU, perhaps with a gradient
        array = array.detach().cpu()
    elif not isinstance(array, np.ndarray) and hasattr(array, "__array_namespace__"):
        array = _on_host(array)
    return np.asarray(array)  # an ndarray as it is; numpy.matrix, whose rows are matrices, becomes one


def _on_host(array: Array) -> Array:
    """Return an array that NumPy can read, from whatever device it is on."""
    import array_api_compat

    if array_api_compat.is_cupy_array(array):
        return array.get()
    devices = array_api_compat.array_namespace(array).__array_namespace_info__().devices()
    host = next((device for device in devices if "cpu" in str(device).lower()), None)
    return array if host is None or array.device == host else array.to_device(host)


def is_sparse(value: Any) -> bool:
    """Tell whether this is a sparse matrix or array of SciPy, of which NumPy makes an array of one object."""
    return hasattr(value, "toarray") and hasattr(value, "nnz") and hasattr(value, "shape")


def refuse_masked(array: Any, argument: str) -> None:
    """Raise `FeatureError` for an array with masked entries: NumPy would read what lies under the mask."""
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        count = int(np.ma.getmaskarray(array).sum())
        message = f"{argument} must not be masked; got a masked array with {count} masked entries. "
        message += "Drop these rows, or fill them: array.filled(value)."
        raise FeatureError(message)
