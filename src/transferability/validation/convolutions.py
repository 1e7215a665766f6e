"""Convolutions as a CPU trains them fastest: laid out otherwise, depthwise ones in float32. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["fast_convolutions"]


@contextmanager
def fast_convolutions(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Train, in the block, with weights whose channels come last, and with depthwise convolutions in float32.

    oneDNN is faster at convolutions of channels that come last, and what follows a convolution keeps its layout.
    Depthwise ones have few products: the gradients of those with wide kernels or strides can take several times as long
    in bfloat16 as in float32. `benchmarks/channels_last.py` has what both gain. On other devices nothing is changed.
    """
    if device.type != "cpu":
        yield
        return
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    stored = (each._parameters.get("weight") for each in convolutions)  # None where a weight is computed
    weights = {id(each): each for each in stored if each is not None and not is_lazy(each)}
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
            each.__dict__.pop("forward", None)
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
