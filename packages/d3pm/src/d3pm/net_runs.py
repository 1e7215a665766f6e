"""How often a sampler runs the net, where that is not what `n_steps` says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from d3pm.errors import StepsWarning
from d3pm.times import Watcher

__all__ = ["RunCounter", "say_capped", "say_first_hitting", "say_merged"]


class RunCounter:
    """A sampler that counts the runs of the net in each of its calls, by what it shows to `watch`.

    Parameters
    ----------
    sampler : callable
        Calls `watch` before every run of the net, and once with the samples.
    """

    def __init__(self, sampler: Callable[..., Tensor]) -> None:
        self.sampler, self.most = sampler, 0

    def __call__(self, *args: Any, watch: Watcher | None = None, **options: Any) -> Tensor:
        """Return the samples; `most` is the largest number of runs so far."""
        seen = 0

        def count(t: float, x: Tensor) -> None:
            nonlocal seen
            seen += 1
            if watch is not None:
                watch(t, x)

        x = self.sampler(*args, watch=count, **options)
        self.most = max(self.most, seen - 1)
        return x


def say_capped(n_steps: int | None, most: int, where: str) -> None:
    """Warn that confidence-ordered unmasking ran the net less often than asked: there are no more tokens."""
    if n_steps is not None and 0 < most < n_steps:
        tokens, runs = ("1 token", "once") if most == 1 else (f"{most} tokens", f"{most} times, once per token")
        message = f"`n_steps` = {n_steps} is more than the {tokens} to fill in of {where}: the net runs {runs}."
        warnings.warn(message, StepsWarning, stacklevel=3)


def say_merged(n_steps: int | None, taken: int) -> None:
    """Warn that a cosine grid in discrete time has fewer steps than asked: some times are rounded to the same."""
    if n_steps is not None and taken < n_steps:
        message = (
            f"`n_steps` = {n_steps} is more than a cosine grid has different times of T for: the number of steps is "
            f"{taken}."
        )
        warnings.warn(message, StepsWarning, stacklevel=4)


def say_first_hitting(n_steps: int, fill: Tensor, block: int, last: bool, total: int | None) -> None:
    """Warn that first-hitting has times of its own.

    Parameters
    ----------
    n_steps : int
    fill : bool tensor of shape (B, …)
        What is to be filled in.
    block : int
        Tokens of a block; 0 without blocks.
    last : bool
        Whether the last step is a run of its own (conventions first = "direct").
    total : int or None
        T; None in continuous time.
    """
    blocks = fill.split(block, -1) if block else [fill]
    n_tokens = max((int(part.flatten(1).sum(-1).max()) for part in blocks if len(fill)), default=0)
    if not n_tokens:
        return
    # In discrete time examples of a batch share the last step alone: where one needs it, it is a run of all.
    most = n_tokens + (last or (total is not None and len(fill) > 1))
    most = most if total is None else min(most, total)
    where = "a block" if len(blocks) > 1 else "a sample" if len(fill) == 1 else "a batch"
    times = "once" if most == 1 else f"{most} times"
    message = (
        f"`n_steps` = {n_steps} says nothing to first-hitting: the net runs when tokens are revealed, at most {times} "
        f"for {where}."
    )
    warnings.warn(message, StepsWarning, stacklevel=3)
