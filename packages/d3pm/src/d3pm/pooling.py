"""From the positions of a hidden layer to one row of features."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from d3pm.errors import OptionError, check_choice

__all__ = ["Pool", "check_noise", "pooled"]

Pool = Literal["mean", "max", "grid"]


def pooled(hidden: Tensor, attention_mask: Tensor | None, pool: Pool, *, last: bool) -> Tensor:
    """Return (n, features) of a layer's output: (n, width, H, W), (n, width, N), or (n, N, width) where `last`."""
    if pool == "grid":
        return F.adaptive_avg_pool2d(hidden, 2).flatten(1)
    if last:
        hidden = hidden.transpose(1, 2)  # (n, width, N)
    if attention_mask is not None:
        real = attention_mask[:, None]
        if pool == "max":
            return hidden.masked_fill(~real, -torch.inf).amax(-1)
        return torch.where(real, hidden, 0.0).sum(-1) / real.sum(-1)
    flat = hidden.flatten(2)
    return flat.amax(-1) if pool == "max" else flat.mean(-1)


def check_noise(t: float, n_draws: int, pool: str, modality: str) -> tuple[float, int, Any]:
    """Return the noise, the draws and the pooling of features, checked."""
    if not 0 <= t < 1 or n_draws < 1:
        message = f"`t` must be in [0, 1), a share of T, and `n_draws` at least 1; got {t} and {n_draws}."
        raise OptionError(message)
    check_choice(pool, ("mean", "max", "grid") if modality == "image" else ("mean", "max"), "pool")
    return float(t), int(n_draws), pool
