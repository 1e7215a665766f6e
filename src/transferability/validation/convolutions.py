"""Convolutions as a CPU trains them fastest: laid out otherwise, depthwise ones in float32. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from transferability.encoders._layout import convolution_weights, put_channels_last

__all__ = ["fast_convolutions"]


@contextmanager
def fast_convolutions(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Train, in the block, with weights whose channels come last, and with depthwise convolutions in float32.

    oneDNN is faster at convolutions of channels that come last, and what follows a convolution keeps its layout.
    Depthwise ones have few products: the gradients of those with wide kernels or strides can take several times as long
    in bfloat16 as in float32. `benchmarks/channels_last.py` has what both gain. On other devices nothing is changed.
    At the end weights lie in the memory that they came in; what the network keeps of their `.data` meanwhile is stale.
    """
    if device.type != "cpu":
        yield
        return
    before = [(weight, weight.data) for weight in convolution_weights(network)]
    depthwise = [each for each in network.modules() if isinstance(each, nn.Conv2d) and _can_widen(each)]
    try:
        put_channels_last(network)
        for each in depthwise:
            each.forward = MethodType(_computed_as_weights, each)  # bound: a deep copy has its own
        yield
    finally:
        for each in depthwise:
            each.__dict__.pop("forward", None)
        for weight, values in before:
            weight.data = values.copy_(weight.data)


def _can_widen(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution is depthwise, of real weights, and computes as its class says."""
    weight = getattr(convolution, "weight", None)
    depthwise = convolution.groups == convolution.in_channels > 1
    real = isinstance(weight, Tensor) and weight.is_floating_point()
    return depthwise and real and "forward" not in vars(convolution)


def _computed_as_weights(convolution: nn.Conv2d, values: Tensor, *others: Any) -> Tensor:
    """Compute in the number format of the weights, and return that of the values."""
    own = convolution.weight.dtype
    with torch.autocast(values.device.type, enabled=False):
        found = type(convolution).forward(convolution, values.to(own), *others)
    return found.to(values.dtype) if found.dtype == own else found
