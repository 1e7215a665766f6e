"""From any picture to a model's tokens: its size, its colours, its levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from d3pm.data import quantise
from d3pm.errors import DataError, require_extra
from d3pm.picture_values import is_picture, picture_values, shown

__all__ = ["PictureTokens"]


@dataclass(frozen=True)
class PictureTokens:
    """From a picture to the model's tokens; holds no model, so that other processes can do it."""

    shape: tuple[int, ...]
    n_tokens: int

    def __call__(self, item: Any) -> np.ndarray:
        """Return the tokens of a PIL picture or uint8 array, as training on a folder of such pictures makes them."""
        # 0 … 255 whatever the training data's range was: sixteenths of it for the digits
        return quantise(_to_picture(item, self.shape), self.n_tokens).astype(np.int64)


def _to_picture(item: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return uint8 of a model's shape, (H, W) or (H, W, C), of a PIL picture or an array.

    An array of that height, width and number of channels is taken as it is.
    """
    wanted = shape[2] if len(shape) == 3 else 1
    array = None if is_picture(item) else _checked(np.asarray(item), wanted)
    if array is not None and array.shape[:2] == tuple(shape[:2]) and array.size == np.prod(shape):
        return array.reshape(shape)
    if wanted not in (1, 3):
        found = f"a picture of mode {item.mode}" if array is None else f"an array {array.shape}"
        message = f"`items` must be uint8 arrays {tuple(shape)} for this model of {wanted} channels; got {found}."
        raise DataError(message)
    if array is not None:
        image = require_extra("PIL.Image", "data", "scaling pictures and changing their colours")
        item = image.fromarray(array.squeeze(-1) if array.ndim == 3 and array.shape[-1] == 1 else array)
    picture = shown(item, f"one of mode {item.mode}, {item.height} × {item.width},", "items")
    return picture_values(picture, "L" if wanted == 1 else "RGB", (shape[1], shape[0])).reshape(shape)


def _checked(array: np.ndarray, n_channels: int) -> np.ndarray:
    """Return an array that is a picture: grey, RGB or RGBA, or of the model's channels."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4, n_channels) or not array.size:
        message = f"`items` must be PIL pictures or uint8 arrays (H, W) or (H, W, 3); got {array.dtype} {array.shape}."
        raise DataError(message)
    return array
