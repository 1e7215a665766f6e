"""Where a training run computes: one process with one device, or several through accelerate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from d3pm.device import choose_device
from d3pm.errors import require_extra

__all__ = ["Alone", "Several", "choose_runtime", "tensor_float"]


@contextmanager
def tensor_float(on: bool) -> Iterator[None]:
    """Let a GPU multiply float32 matrices as TensorFloat-32 inside, with 11 bits of each number.

    In training in bfloat16, whose logits have 8 bits: the products with tables of Q̄_t are several times as fast, and
    their rounding is an eighth of that of the logits.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if on else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_runtime(device: str | None, distributed: bool) -> Any:
    """Return the runtime asked for."""
    return Several() if distributed else Alone(choose_device(device))


@dataclass
class Alone:
    """One process, one device. `Several` takes its place where there are more."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return both as they are."""
        return model, optimizer

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients."""
        loss.backward()

    def mean(self, value: Tensor) -> float:
        """Return the mean over processes."""
        return float(value)

    def gather(self, values: Tensor) -> Tensor:
        """Return the values of all processes."""
        return values

    def wait(self) -> None:
        """Wait for no one."""


class Several:
    """Data-parallel training through accelerate: start with `accelerate launch -m d3pm train …`."""

    def __init__(self) -> None:
        accelerate = require_extra("accelerate", "distributed", "training on several devices")
        self._accelerator = accelerate.Accelerator()
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return both so that gradients are averaged over processes."""
        prepared: tuple[nn.Module, torch.optim.Optimizer] = self._accelerator.prepare(model, optimizer)
        return prepared

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients, averaged over processes."""
        self._accelerator.backward(loss)

    def mean(self, value: Tensor) -> float:
        """Return the mean over processes."""
        return float(self._accelerator.reduce(value, reduction="mean"))

    def gather(self, values: Tensor) -> Tensor:
        """Return the values of all processes."""
        gathered: Tensor = self._accelerator.gather(values)
        return gathered

    def wait(self) -> None:
        """Wait for the other processes."""
        self._accelerator.wait_for_everyone()
