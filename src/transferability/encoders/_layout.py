"""Weights of convolutions with channels last in memory, which CPUs compute faster. Imports torch."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from transferability.encoders._tensor_parts import is_plain

__all__ = ["convolution_weights", "put_channels_last"]


def convolution_weights(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights (c_out, c_in, h, w) of 2-D convolutions whose memory no other parameter or buffer shares.

    A weight that shares memory with another would be parted from it. Weights that are computed, as by a
    parametrization, or have another rank are left out.
    """
    tensors = {id(each): each for each in chain(network.parameters(), network.buffers())}
    stored = [each for each in tensors.values() if not is_lazy(each) and is_plain(each)]
    sharing = Counter(each.untyped_storage().data_ptr() for each in stored)
    convolutions = (each for each in network.modules() if isinstance(each, nn.Conv2d))
    found = {id(weight): weight for each in convolutions if (weight := each._parameters.get("weight")) is not None}
    plain = {id(each) for each in stored if each.ndim == 4 and sharing[each.untyped_storage().data_ptr()] == 1}
    return [weight for key, weight in found.items() if key in plain]


def put_channels_last(network: nn.Module) -> None:
    """Lay these weights out so, for good; their values stay."""
    for weight in convolution_weights(network):
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
