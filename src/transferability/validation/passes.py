"""How a network computes features in training: the number format and the layout that it is fastest in. By torch.

Both are tried first, on a few rows: a network that fails in one computes without it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from transferability.encoders import TrainableEncoder
from transferability.validation.convolutions import fast_convolutions
from transferability.validation.precision import computes_mixed, mixed_precision, trains

__all__ = ["Passes"]


class Passes:
    """Passes of an encoder's network on a device.

    Parameters
    ----------
    encoder : TrainableEncoder
    device : torch.device
    sample : callable
        Returns a batch of a few rows, to try on.
    """

    def __init__(self, encoder: TrainableEncoder, device: torch.device, sample: Callable[[], Any]) -> None:
        self._encoder, self._device, self._sample = encoder, device, sample

    def features(self, batch: Any, *, mixed: bool) -> Tensor:
        """Return the features of a batch in float32, of products in mixed precision where asked and where it works."""
        with mixed_precision(self._device) if mixed and self._mixed else nullcontext():
            return self._encoder.differentiable(batch).float()

    def layout(self) -> AbstractContextManager[None]:
        """Return a context in which convolutions are laid out for speed, where the network takes what they give."""
        return fast_convolutions(self._encoder.module, self._device) if self._fast else nullcontext()

    @cached_property
    def _fast(self) -> bool:
        network = self._encoder.module
        if self._device.type != "cpu" or not any(isinstance(each, nn.Conv2d) for each in network.modules()):
            return False
        sample = self._sample()  # before the network is changed: reading may send the encoder to other processes
        with fast_convolutions(network, self._device):
            return trains(self._encoder, sample, nullcontext(), self._device)

    @cached_property
    def _mixed(self) -> bool:
        return computes_mixed(self._encoder, self._sample(), self._device)
