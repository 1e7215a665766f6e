"""Light augmentation of a batch of pictures, on its device: a shift and a zoom, each by up to a tenth. Imports torch.

No flips and no rotations: digits, letters and signs must not be flipped, and what is right for one data set is wrong
for the next. A tenth is less than the variation of where a photographed thing lies in its frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["shift_and_zoom"]

_MOST = 0.1


def shift_and_zoom(batch: Tensor) -> Tensor:
    """Return pictures (n, c, h, w) or (n, h, w, c), each shifted and zoomed at random; what is no picture as it is.

    Borders are continued. Random numbers are torch's, of the CPU, so that a seed gives the same on every device.
    """
    if batch.ndim != 4 or not batch.is_floating_point():
        return batch
    last = batch.shape[-1] in (1, 3) and batch.shape[1] not in (1, 3)
    pictures = batch.movedim(-1, 1) if last else batch
    n = len(pictures)
    zoom = 1 + _MOST * (2 * torch.rand(n) - 1)
    shift = 2 * _MOST * (2 * torch.rand(n, 2) - 1)  # the grid is two long
    transform = torch.zeros(n, 2, 3)
    transform[:, 0, 0] = transform[:, 1, 1] = zoom
    transform[:, :, 2] = shift
    grid = nn.functional.affine_grid(transform.to(batch), list(pictures.shape), align_corners=False)
    moved = nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return moved.movedim(1, -1).contiguous() if last else moved
