"""Copies between memory and a GPU that do not wait for what it computes. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from transferability.encoders._torch import to_device, to_numpy
from transferability.encoders.base import Outputs

__all__ = ["Computing", "Scaling", "Transfer"]


class Scaling(NamedTuple):
    """What a network makes of pixels from 0 to 255 before its first layer: (pixel / 255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what the network takes, (n, c, h, w) float32, of pixels (n, h, w, c) uint8.

        The same operations in the same order as the libraries' own, so that on a CPU every bit is the same.
        """
        mean, std = (torch.tensor(each, dtype=torch.float32).view(-1, 1, 1).to(pixels.device) for each in self)
        values = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return values.div_(255).sub_(mean).div_(std)


class Transfer:
    """Takes batches to a device and results from it.

    To a GPU they go through pinned memory on a stream of their own, while it computes the batch before.

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)

    def start(self, batch: Sequence[npt.NDArray[Any]] | torch.Tensor) -> tuple[torch.Tensor, Computing]:
        """Return a batch on the device, and what will hold its results."""
        if self._device.type != "cuda":
            return to_device(batch, self._device), Computing()
        pinned = to_device(batch, torch.device("cpu")).pin_memory()
        with torch.cuda.stream(self._stream):
            moved = pinned.to(self._device, non_blocking=True)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        moved.record_stream(current)  # else its memory may be given away while the network still reads it
        begun = torch.cuda.Event(enable_timing=True)
        begun.record(current)
        return moved, Computing(pinned, begun)


class Computing:
    """A batch that a network has been given: `Running` of `transferability.encoders.base`.

    Parameters
    ----------
    sent : torch.Tensor, optional
        Pinned memory that is copied from, on a GPU: not to be used for something else before.
    begun : torch.cuda.Event, optional
        When the GPU began with it.
    """

    def __init__(self, sent: torch.Tensor | None = None, begun: torch.cuda.Event | None = None) -> None:
        self._sent, self._begun, self._ended = sent, begun, begun
        self._outputs: dict[str, torch.Tensor] = {}

    def returns(self, rows: Mapping[str, torch.Tensor]) -> Computing:
        """Take the outputs, and have them copied when they are computed."""
        if self._begun is None:
            self._outputs = dict(rows)
            return self
        for name, values in rows.items():
            self._outputs[name] = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
            self._outputs[name].copy_(values, non_blocking=True)
        self._ended = torch.cuda.Event(enable_timing=True)
        self._ended.record()
        return self

    @property
    def finished(self) -> bool:
        """Whether the results are there: on a CPU always."""
        return self._ended is None or self._ended.query()

    @property
    def seconds(self) -> float | None:
        """How long the GPU computed, once there are results; None on a CPU, where whoever asks has waited for it."""
        return None if self._begun is None or self._ended is None else self._begun.elapsed_time(self._ended) / 1000

    def result(self) -> Outputs:
        """Return the outputs; waits for them."""
        if self._ended is None:
            return {name: to_numpy(values) for name, values in self._outputs.items()}
        self._ended.synchronize()
        self._sent = None
        return {name: np.asarray(values.numpy()) for name, values in self._outputs.items()}
