"""The seeds of a step's random numbers: noise, and dropout apart from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["dropout_seed", "seeded", "step_seed"]


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of the noise of a step: of its times, its x_t and the classes that are left out."""
    return (seed * 1_000_003 + step) * 1024 + rank


def dropout_seed(seed: int) -> int:
    """Return the seed of what the net draws in the step of this seed.

    With the seed itself the net would draw the numbers that x_t is drawn with, and drop units where it is masked.
    """
    return int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators inside, and leave them as they were."""
    devices = [device.index or 0] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
