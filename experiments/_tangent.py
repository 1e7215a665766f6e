"""The empirical tangent kernel of a pre-trained network on rows of a target, one pass forward and backward per row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["TangentKernels", "shrink", "tangent_kernels"]

_COORDINATES = 1024  # of each weight tensor, drawn without replacement: their products estimate those of the whole


class TangentKernels(NamedTuple):
    """Kernels of rows, each (groups, n, n): one per fifth of the network's depth."""

    features: np.ndarray  # (n, d): the last layer
    raw: np.ndarray  # products of gradients
    scaled: np.ndarray  # each weight tensor's kernel divided by its trace, as steps of Adam have one size


def shrink(batch: np.ndarray, factor: float, channels_last: bool) -> np.ndarray:
    """Return prepared pictures (n, c, h, w) or (n, h, w, c) at a fraction of their size."""
    if factor == 1:
        return batch
    values = torch.from_numpy(batch)
    values = values.movedim(-1, 1) if channels_last else values
    size = [round(length * factor / 16) * 16 if length % 14 else round(length * factor / 14) * 14
            for length in values.shape[2:]]  # fmt: skip
    values = nn.functional.interpolate(values, size=size, mode="area")
    return (values.movedim(1, -1) if channels_last else values).contiguous().numpy()


def tangent_kernels(encoder: Any, batch: Sequence[np.ndarray], n_groups: int = 5, seed: int = 0) -> TangentKernels:
    """Return the kernels of one random output of the standardised features (Mohamadi et al., 2023).

    The network is in evaluation mode. Cost: a pass forward and backward per row, and one forward to standardise.
    """
    network: nn.Module = encoder.module.eval()
    with torch.no_grad():
        features = torch.cat([encoder.differentiable(np.stack([row])) for row in batch])
    rng = torch.Generator().manual_seed(seed)
    deviation = features.std(0)
    deviation = deviation.clamp(min=0.3 * float(deviation.square().mean().sqrt()) + 1e-30)
    direction = torch.randn(features.shape[1], generator=rng) / deviation / features.shape[1] ** 0.5
    weights = [each for each in network.parameters() if each.requires_grad]
    chosen = [torch.randperm(each.numel(), generator=rng)[:_COORDINATES] for each in weights]
    rows: list[list[Tensor]] = [[] for _ in weights]
    for row in batch:
        output = encoder.differentiable(np.stack([row])) @ direction
        gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True)
        for kept, places, weight, gradient in zip(rows, chosen, weights, gradients, strict=True):
            flat = torch.zeros(len(places)) if gradient is None else gradient.reshape(-1)[places]
            kept.append(flat * (weight.numel() / len(places)) ** 0.5)
    n = len(batch)
    raw, scaled = np.zeros((n_groups, n, n)), np.zeros((n_groups, n, n))
    for number, kept in enumerate(rows):
        gradients = torch.stack(kept).double()
        kernel = (gradients @ gradients.T).numpy()
        group = number * n_groups // len(rows)
        raw[group] += kernel
        if np.trace(kernel) > 0:
            scaled[group] += kernel / np.trace(kernel)
    return TangentKernels(features.numpy(), raw, scaled)
