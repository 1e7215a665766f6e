"""The autoregressive model as a diffusion process: masks come deterministically, from the last token to the first [§4].

At time t of T = N the last t tokens are masked. A reverse step reveals one token given those before it, L_T vanishes,
and the bound is −Σ_i log p̃(x_i | x_1 … x_{i−1}): the loss of an autoregressive model, and its exact likelihood.
"""

from __future__ import annotations

import torch
from torch import Tensor

from d3pm.errors import OptionError, TokenError
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import FLOOR, Time
from d3pm.schedules import inverse_betas

__all__ = ["Autoregressive"]


class Autoregressive(Absorbing):
    """Mask the last t of N tokens at time t: T = N steps, one token each.

    The one process here whose transition depends on the position. Tokens have shape (B, N), shorter texts padded at
    their end: the padding is masked first. It is sampled by `d3pm.sampling.sample` alone: other samplers reveal tokens
    in an order that the net was never trained on.

    Parameters
    ----------
    n_states : int
        K, the mask included.
    length : int
        N, which is T.
    mask : int, optional
        State m; K − 1 by default.
    """

    kind = "autoregressive"
    masks_alike = False

    def __init__(self, n_states: int, length: int, mask: int | None = None) -> None:
        super().__init__(n_states, inverse_betas(length), mask)

    def _masked(self, t: Tensor) -> Tensor:
        """Return where masks are at time t, shaped like t but for its last axis, the positions."""
        positions = torch.arange(self.final_time, device=t.device)
        return positions >= self.final_time - t

    def _weights(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s, t = torch.broadcast_tensors(s, t)
        jumps = self._masked(t) & ~self._masked(s)
        keep = torch.where(jumps, FLOOR, 0.0).double()
        return keep, torch.where(jumps, 0.0, FLOOR).double(), torch.full_like(keep, FLOOR)

    def corrupt(self, x_0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x_t; of fewer than N tokens as of the first of N: what comes after them is masked before them."""
        n = x_0.shape[-1]
        if n > self.final_time:
            message = f"`x_0` must hold at most {self.final_time} tokens, one for each step of the process; got {n}."
            raise TokenError(message)
        whole = torch.nn.functional.pad(x_0, (0, int(self.final_time) - n))
        return super().corrupt(whole, t, generator)[..., :n]

    def unmask_probability(self, s: Tensor, t: Tensor) -> Tensor:
        """Return one for the tokens that come between t and s, else zero."""
        return (self._masked(t) & ~self._masked(s)).double()

    def unmasked_share(self, t: Tensor) -> Tensor:
        """Raise: each position has a share of its own."""
        message = "`process` must mask all positions alike; an autoregressive one masks from the right. Use sample()."
        raise OptionError(message)

    def time_of_ratio(self, ratio: Tensor) -> Tensor:
        """Return the share of masked tokens itself."""
        return ratio.float()

    def prior_kl(self) -> Tensor:
        """Return zero for each clean state: at T all is masked."""
        return torch.zeros(self.n_states, dtype=torch.float64)

    def between(self, s: Time, t: Time) -> Tensor:
        """Raise: each position has a matrix of its own."""
        message = "`process` must be the same at all positions to have one matrix; an autoregressive one is not."
        raise OptionError(message)
