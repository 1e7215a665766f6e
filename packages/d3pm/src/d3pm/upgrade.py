"""Checkpoints of the first format as today's: the same model, read to be sampled, evaluated and encoded with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["FIRST_FORMAT", "upgraded_config", "upgraded_tensors"]

FIRST_FORMAT = "d3pm-checkpoint-1"


def upgraded_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe with the conventions that the model was trained with; no class was ever left out."""
    loss = dict(config["loss"])
    mode, first = loss.pop("mode"), loss.pop("first")
    masked = config["process"]["kind"] == "absorbing" and config["process"]["mask"] == "extra"
    if masked or loss["kind"] != "bound" or config["process"]["steps"] == 0:
        first = "eq4"  # masked models and continuous time were evaluated so, whatever the recipe said
    conventions = {"mode": mode, "first": first, "final": "draw"}
    return {**config, "loss": loss, "conventions": conventions, "train": {"class_dropout": 0.0, **config["train"]}}


def upgraded_tensors(tensors: dict[str, Tensor], net: str, n_classes: int) -> dict[str, Tensor]:
    """Return the weights in today's shapes, computing what they did, without the optimiser's state, which has others.

    The U-Net's last layer was a linear map, the middle of a 3 × 3 convolution; classes had no null class.
    """
    upgraded = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            continue
        if net == "unet" and key in ("model.out.weight", "ema.out.weight") and value.ndim == 2:
            value = F.pad(value[..., None, None], (1, 1, 1, 1))
        if key.endswith("backbone.time.classes.weight") and len(value) == n_classes:
            value = torch.cat([value, value.mean(0, keepdim=True)])
        upgraded[key] = value
    return upgraded
