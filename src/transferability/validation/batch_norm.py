"""Batch normalisation in fine-tuning: untouched statistics estimated, momentum fit for short runs. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["estimate_untouched", "norms_of", "short_memory"]

_MOMENTUM = 0.1


def norms_of(network: nn.Module) -> list[Any]:
    """Return the layers of batch normalisation."""
    kind = nn.modules.batchnorm._BatchNorm
    return [layer for layer in network.modules() if isinstance(layer, kind)]


def untouched(layer: Any) -> bool:
    """Tell whether a layer has the statistics that it was made with: mean 0 and variance 1, of no data."""
    return (
        layer.running_mean is not None
        and not layer.running_mean.any()
        and bool((layer.running_var == 1).all())
        and len(layer.running_mean) > 0
    )


@torch.no_grad()  # type: ignore[untyped-decorator]
def estimate_untouched(network: nn.Module, batches: Iterable[Any], compute: Callable[[Any], Any]) -> int:
    """Estimate the statistics of layers that never saw data, from a few batches; return how many layers these are.

    In evaluation a network of untouched layers passes on activations that shrink or grow from layer to layer: the
    features of a random EfficientNet are all but constant, and nothing that is chosen by them means anything.
    """
    layers = [layer for layer in norms_of(network) if untouched(layer)]
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    network.eval()
    try:
        for layer in layers:
            layer.train()
            layer.momentum = None  # the mean over the batches
            layer.reset_running_stats()
        for batch in batches:
            compute(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
    return len(layers)


@contextmanager
def short_memory(layers: Iterable[Any]) -> Iterator[None]:
    """Let statistics follow within tens of steps, for the time of the block.

    Some networks come with a momentum of .01, for runs of a hundred thousand steps. In a hundred their means would stay
    behind the weights, and the network be right in training and wrong in use.
    """
    before = [(layer, layer.momentum) for layer in layers]
    try:
        for layer, momentum in before:
            layer.momentum = max(momentum or 0.0, _MOMENTUM)
        yield
    finally:
        for layer, momentum in before:
            layer.momentum = momentum
