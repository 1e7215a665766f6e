"""The number format that fine-tuning multiplies in: bfloat16 where the processor has instructions for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from transferability.encoders import Encoder, TrainableEncoder
from transferability.encoders._torch import pick_device
from transferability.errors import passes_through
from transferability.validation.network_state import restored
from transferability.validation.settings import FineTuning

__all__ = ["computes_mixed", "has_bfloat16", "mixed_precision", "number_format", "trains"]

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


def computes_mixed(encoder: TrainableEncoder, batch: Any, device: torch.device) -> bool:
    """Return whether a network trains in mixed precision: whether a pass forward and backward gives finite numbers.

    One with an operation between a product and its own float32 values, such as `torch.scatter`, may not. What is wrong
    in float32 too is not judged here. Nothing is tried where the device has no bfloat16.
    """
    return has_bfloat16(device) and trains(encoder, batch, mixed_precision(device), device)


def trains(encoder: TrainableEncoder, batch: Any, how: AbstractContextManager[Any], device: torch.device) -> bool:
    """Return whether a pass of training in a context gives finite numbers, and one of evaluation ends too."""
    devices = [device] if device.type == "cuda" else []
    try:
        with restored(encoder.module), torch.random.fork_rng(devices=devices), torch.enable_grad():
            encoder.module.train()
            with how:
                features = encoder.differentiable(batch).float()
            features.square().mean().backward()
            encoder.module.eval()
            with how, torch.no_grad():
                encoder.differentiable(batch)
    except Exception as error:
        if passes_through(error):
            raise
        return False
    return bool(features.isfinite().all())


def number_format(encoder: Encoder, settings: FineTuning) -> str:
    """Return the number format that an encoder is fine-tuned in here, as far as settings and processor decide it."""
    network = getattr(encoder, "module", None)
    weights = network.parameters() if isinstance(network, nn.Module) else iter(())
    first = next(weights, None)
    device = pick_device(None) if first is None else first.device
    return "bfloat16" if settings.mixed_precision and has_bfloat16(device) else "float32"
