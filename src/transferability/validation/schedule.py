"""Learning rates of fine-tuning: which are tried, and how they change from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

__all__ = ["walk", "warm_cosine"]

_MOST_EXTENSIONS = 3  # of the learning rates, in one direction


def walk(loss: Callable[[float], float], rates: Sequence[float]) -> float:
    """Return the rate of the smallest loss, of a sorted series that goes on where its end is the best so far."""
    losses = {rate: loss(rate) for rate in rates}

    def best_of() -> float:
        return min(losses, key=lambda rate: (losses[rate], rate))  # none of them finite: smaller ones may be

    for end, step in ((min, rates[0] / rates[1]), (max, rates[-1] / rates[-2])):
        for _ in range(_MOST_EXTENSIONS):
            best = best_of()
            if best != end(losses):
                break
            losses[best * step] = loss(best * step)
    return best_of()


def warm_cosine(warm: int, total: int) -> Callable[[int], float]:
    """Return the factor of the learning rate by step: a line up to 1 in `warm` steps, then a cosine to 0."""

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    return factor
