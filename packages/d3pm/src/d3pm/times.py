"""The times that a sampler visits, and how processes take a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from d3pm.errors import OptionError, check_choice
from d3pm.likelihood import time_grid
from d3pm.processes.base import Process

__all__ = ["Grid", "Watcher", "sampling_times", "time_tensor"]

Grid = Literal["even", "cosine"]
Watcher = Callable[[float, Tensor], None]
MOST = 1_000_000  # steps in continuous time: a slip of the pen is told at once


def sampling_times(process: Process, n_steps: int | None = None, grid: Grid = "even") -> list[float]:
    """Return the times visited, from T (or 1.0) down to 0, ends included.

    Parameters
    ----------
    n_steps : int, optional
        T by default, 100 in continuous time. If it does not divide T, steps differ by at most one.
    grid : {"even", "cosine"}, default="even"
        "cosine" takes small steps near noise, large ones near data, t = cos(π/2 · (1 − i/n)): for masked pictures with
        few steps much better than an even grid (MD4, arXiv 2406.04329).

    Examples
    --------
    >>> from d3pm import Uniform, cosine_betas
    >>> sampling_times(Uniform(4, cosine_betas(10)), 4)
    [10, 8, 5, 2, 0]
    """
    check_choice(grid, ("even", "cosine"), "grid")
    n = n_steps or process.n_steps or 100
    most = process.n_steps or MOST
    if not 1 <= n <= most:
        limit = f"T = {most}" if process.n_steps else f"{most:,} in continuous time"
        message = f"`n_steps` must be from 1 to {limit}; got {n}."
        raise OptionError(message)
    shares = [1 - i / n for i in range(n + 1)]
    if grid == "cosine":
        shares = [math.sin(math.pi / 2 * share) if share < 1 else 1.0 for share in shares]
    if process.n_steps is None:
        return shares
    if grid == "even" and process.n_steps % n == 0:
        return [*time_grid(process.n_steps, process.n_steps // n), 0]
    times = [round(share * process.n_steps) for share in shares]
    return list(dict.fromkeys(times))  # a cosine grid may visit a step twice


def time_tensor(process: Process, t: float, device: torch.device | str) -> Tensor:
    """Return a time as processes take it."""
    dtype = torch.float64 if process.n_steps is None else torch.int64
    return torch.tensor(t, dtype=dtype, device=device)
