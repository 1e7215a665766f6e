"""From any picture to a model's tokens: its size, its colours, its levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from d3pm.data import quantise
from d3pm.errors import DataError

__all__ = ["PictureTokens"]


@dataclass(frozen=True)
class PictureTokens:
    """From a picture to the model's tokens; holds no model, so that other processes can do it."""

    shape: tuple[int, ...]
    n_tokens: int

    def __call__(self, item: Any) -> np.ndarray:
        """Return the tokens of a PIL picture or uint8 array, as the training data had them."""
        # 0 … 255 whatever the training data's range was: sixteenths of it for the digits
        return quantise(_to_picture(item, self.shape), self.n_tokens).astype(np.int64)


def _to_picture(item: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return uint8 (H, W) or (H, W, 3) of a PIL picture or an array, resized with antialiasing."""
    array = np.asarray(item)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        message = f"`items` must be PIL pictures or uint8 arrays (H, W) or (H, W, 3); got {array.dtype} {array.shape}."
        raise DataError(message)
    array = array[..., None] if array.ndim == 2 else array[..., :3]
    wanted = shape[2] if len(shape) == 3 else 1
    values = torch.tensor(array).permute(2, 0, 1)[None].float()  # (1, C, H, W)
    if wanted == 1 and values.shape[1] == 3:
        values = (values * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(
            1, keepdim=True
        )  # luma, as PIL's "L"
    if values.shape[-2:] != shape[:2]:
        values = F.interpolate(values, shape[:2], mode="bilinear", antialias=True, align_corners=False)
    values = values.expand(1, wanted, *shape[:2])[0].permute(1, 2, 0)
    return values.round().clamp(0, 255).byte().numpy().reshape(shape)
