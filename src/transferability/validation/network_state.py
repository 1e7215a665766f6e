"""Weights of a network at some moment of its training: copied, and put back. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from transferability.validation.head import Head

__all__ = ["State", "restored"]


class State(NamedTuple):
    """The weights of network and head after some epoch."""

    network: dict[str, Any]
    head: dict[str, Any]
    epoch: int

    @classmethod
    def of(cls, network: nn.Module, head: Head, epoch: int) -> State:
        """Return a copy of the weights as they are."""
        return cls(copy.deepcopy(network.state_dict()), copy.deepcopy(head.state_dict()), epoch)


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Put weights and modes back, at the end of the block, to what they are now, and leave no gradients."""
    before = copy.deepcopy(network.state_dict())
    modes = [(each, each.training) for each in network.modules()]
    buffers = {name: each.clone() for name, each in network.named_buffers() if name not in before}  # not persistent
    try:
        yield
    finally:
        network.load_state_dict(before)
        for name, each in network.named_buffers():
            if name in buffers:
                each.copy_(buffers[name])
        for module, training in modes:
            module.training = training
        network.zero_grad(set_to_none=True)
