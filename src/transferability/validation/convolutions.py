"""Convolutions as a CPU trains them fastest: laid out otherwise, depthwise ones in float32. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fast_convolutions"]


@contextmanager
def fast_convolutions(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Train, in the block, with weights whose channels come last, and with depthwise convolutions in float32.

    oneDNN computes convolutions of channels that come last in half the time or less, and what follows a convolution
    keeps its layout. Depthwise ones have few products: in bfloat16 their gradients take two to six times as long as in
    float32. `benchmarks/finetune.py` has what it gains. On other devices nothing is changed.
    """
    if device.type != "cpu":
        yield
        return
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    weights = {id(found): found for each in convolutions if (found := each._parameters.get("weight")) is not None}
    before = {key: weight.data for key, weight in weights.items()}
    depthwise = [each for each in convolutions if each.groups == each.in_channels > 1]
    own = {each: each.__dict__["forward"] for each in depthwise if "forward" in each.__dict__}
    try:
        for weight in weights.values():
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        for each in depthwise:
            each.forward = _of_weights(each.forward, each.weight.dtype)
        yield
    finally:
        for each in depthwise:
            del each.forward
            if each in own:
                each.forward = own[each]
        for key, weight in weights.items():
            weight.data = before[key].copy_(weight.data)


def _of_weights(forward: Callable[..., Tensor], weights: torch.dtype) -> Callable[..., Tensor]:
    """Return a pass that computes in the number format of its weights, and gives that of its values."""

    def compute(values: Tensor, *others: Any) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            return forward(values.to(weights), *others).to(values.dtype)

    return compute
