"""How fast weights move, and the average of the way that they took."""

from __future__ import annotations

import math

import torch
from torch import nn

from d3pm.config import TrainConfig
from d3pm.errors import check_choice

__all__ = ["Average", "learning_rate"]


class Average:
    """An exponential moving average of the weights, with a short memory at first: min(decay, (1 + n)/(10 + n))."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {key: value.detach().clone() for key, value in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the weights after a step."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        state = model.state_dict()
        torch._foreach_lerp_(list(self.values.values()), [state[key].detach() for key in self.values], weight)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then constant, cosine to zero, or 1/√step."""
    check_choice(config.decay, ("constant", "cosine", "inverse_sqrt"), "decay")
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.decay == "cosine":
        done = (step - config.warmup) / max(1, config.steps - config.warmup)
        return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    if config.decay == "inverse_sqrt":
        return config.lr * math.sqrt(max(1, config.warmup) / (step + 1))
    return config.lr
