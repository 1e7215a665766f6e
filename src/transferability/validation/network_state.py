"""A network left as it was: weights, buffers and modes put back after a block. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["restored"]


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
