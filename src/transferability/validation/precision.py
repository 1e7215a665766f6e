"""The number format that fine-tuning multiplies in: bfloat16 where the processor has instructions for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["computes_mixed", "has_bfloat16", "mixed_precision"]

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # of x86; ARM has not been measured, and keeps float32


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 faster than float32: a GPU since Ampere, a CPU that says so.

    A CPU without these instructions computes bfloat16 too, but slower; torch before 2.10 does not say what it has.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(each, False) for each in _INSTRUCTIONS)


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which torch multiplies in bfloat16 where that is safe and faster; weights stay in float32."""
    if has_bfloat16(device):
        autocast: AbstractContextManager[Any] = torch.autocast(device.type, torch.bfloat16)
        return autocast
    return nullcontext()


def computes_mixed(compute: Callable[[Any], Tensor], batch: Any, device: torch.device) -> bool:
    """Return whether a network computes in mixed precision.

    One with an operation between a product and its own float32 values, such as `torch.scatter`, may not. What is wrong
    in float32 too is not judged here.
    """
    try:
        with torch.no_grad(), mixed_precision(device):
            compute(batch)
    except RuntimeError:
        return False
    return True
