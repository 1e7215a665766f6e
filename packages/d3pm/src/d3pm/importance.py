"""Times drawn where the loss is large, so that its mean is known from fewer of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["TimeImportance"]

_BINS = 128
_MEMORY = 0.98  # what a bin's history keeps when an example falls into it
_FIRST = 5  # examples that every bin has seen before any is preferred
_EVEN = 0.1  # share of the draws that is spread evenly: no example counts more than ten times


class TimeImportance:
    r"""Draw t from bins of [0, T] with p ∝ √E[L_t²], and weigh the loss by 1/p: the same mean, with less variance.

    Importance sampling of Nichol and Dhariwal (2021, arXiv 2102.09672, §3.3), with bins in place of single steps.

    Parameters
    ----------
    n_steps : int or None
        T; None in continuous time.
    gather : callable, optional
        Brings the examples of all processes together, so that they share one history.

    Attributes
    ----------
    sums, counts : tensors of shape (bins,), float64
        Of squared losses, and of the examples in them; both fade.
    """

    def __init__(self, n_steps: int | None, gather: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        n_bins = min(n_steps or _BINS, _BINS)
        self.sums, self.counts = torch.zeros(2, n_bins, dtype=torch.float64)
        self._gather = gather

    def to(self, device: torch.device | str) -> TimeImportance:
        """Move the history to a device, in place; return self."""
        self.sums, self.counts = self.sums.to(device), self.counts.to(device)
        return self

    @property
    def probabilities(self) -> Tensor:
        """Return the probability of each bin, (bins,): even until all are known."""
        size = (self.sums / self.counts.clamp(min=1e-9)).sqrt()
        known = (self.counts > (1 - _MEMORY ** (_FIRST - 0.5)) / (1 - _MEMORY)).all() & (size.sum() > 0)
        even = torch.full_like(size, 1 / len(size))
        return torch.where(known, (1 - _EVEN) * size / size.sum().clamp(min=1e-300) + _EVEN * even, even)

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Turn numbers u (B,), uniform in [0, 1), into shares of T of this law; return them and their weights."""
        p = self.probabilities
        until = p.cumsum(-1)
        which = torch.searchsorted(until, u, right=True).clamp(max=len(p) - 1)
        inside = ((u - until[which] + p[which]) / p[which]).clamp(0, 1 - 1e-9)
        return (which + inside) / len(p), 1 / (len(p) * p[which])

    def update(self, shares: Tensor, losses: Tensor) -> None:
        """Learn from the losses (B,) of examples at these shares of T, without their weights."""
        shares, losses = self._gather(shares), self._gather(losses.detach().double())
        which = (shares * len(self.sums)).long().clamp(max=len(self.sums) - 1)
        good = losses.isfinite()
        losses = torch.where(good, losses, 0.0)
        new = torch.zeros_like(self.counts).index_add_(0, which, good.double())
        fade = _MEMORY**new
        self.counts = fade * self.counts + (1 - fade) / (1 - _MEMORY)
        squares = torch.zeros_like(self.sums).index_add_(0, which, losses.square()) / new.clamp(min=1)
        self.sums = fade * self.sums + (1 - fade) / (1 - _MEMORY) * squares
