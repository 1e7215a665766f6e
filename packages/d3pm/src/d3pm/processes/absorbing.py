"""Absorbing: tokens turn into a mask and stay. Of all processes the one whose closed form says most [A.2.2]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d3pm.errors import OptionError
from d3pm.processes.base import FLOOR, log_positive
from d3pm.processes.checks import check_mask
from d3pm.processes.closed import Clocked

__all__ = ["Absorbing"]


class Absorbing(Clocked):
    """Turn into the mask and stay: Q_t = (1 − β_t) I + β_t 1 e_mᵀ [A.2.2].

    Parameters
    ----------
    n_states : int
        K, the mask included.
    betas : tensor of shape (T,) or ContinuousSchedule
        Probability of masking in each step; `inverse_betas` is the paper's choice.
    mask : int, optional
        State m; K − 1 by default, one symbol after the vocabulary. The paper's images use K // 2, a value of the data.

    Examples
    --------
    >>> Absorbing(3, [0.5]).transition(1).tolist()
    [[0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    """

    kind = "absorbing"
    scatters = False
    masks_alike = True  # at every position with the same probability, independently

    def __init__(self, n_states: int, betas: Any, mask: int | None = None) -> None:
        super().__init__(n_states, betas)
        self.mask = check_mask(mask, self.n_states)

    def _weights(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, jump = self._jump(s, t)
        return keep, jump, torch.full_like(keep, FLOOR)

    def _log_rates(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        return super()._log_rates(x, t, dtype).masked_fill((x != self.mask)[..., None], FLOOR)

    def log_score(self, x_t: Tensor, logits: Tensor, t: Tensor) -> Tensor:
        """Return log r^θ, (..., K): at a mask ᾱ/(1 − ᾱ) times what the net says, which for an exact net is p̃."""
        exponent = self._clock.exponent(t)
        scale = (-exponent - log_positive(-torch.expm1(-exponent))).to(logits.dtype)
        here = torch.nn.functional.one_hot(x_t, self.n_states).bool()
        return torch.where(here, 0.0, logits + scale[..., None])

    def _log_reverse_of_score(self, x_t: Tensor, log_score: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Return what `Process` documents; a token that is not masked stays, and x_0 is no mask."""
        law = super()._log_reverse_of_score(x_t, log_score, s, t)
        at_mask = torch.arange(self.n_states, device=x_t.device) == self.mask
        law = torch.where(at_mask & (s == 0)[..., None] & (x_t == self.mask)[..., None], FLOOR, law)
        stay = torch.full_like(law, FLOOR).scatter_(-1, x_t[..., None], 0.0)
        return torch.where((x_t == self.mask)[..., None], law, stay)

    def unmask_probability(self, s: Tensor, t: Tensor) -> Tensor:
        """Return the probability that a token masked at t was not yet masked at s: (ᾱ_s − ᾱ_t)/(1 − ᾱ_t)."""
        kept_s, kept_t = (-self._clock.exponent(s)).exp(), (-self._clock.exponent(t)).exp()
        masked_t = -torch.expm1(-self._clock.exponent(t))
        # Zero where nothing is masked yet (β_1 = 0): 0/0 would spoil the gradient of positions that it does not weigh.
        return torch.where(masked_t > 0, (kept_s - kept_t) / masked_t.clamp(min=1e-300), 0.0)

    def unmask_rate(self, t: Tensor) -> Tensor:
        """Return the limit of `unmask_probability` per unit of time as s → t: −ᾱ'_t/(1 − ᾱ_t)."""
        rate, exponent = self._clock.rate(t), self._clock.exponent(t)
        if rate is None:
            message = "`process` must be in continuous time to have a rate; it has discrete steps."
            raise OptionError(message)
        return rate * (-exponent).exp() / -torch.expm1(-exponent)

    def unmasked_share(self, t: Tensor) -> Tensor:
        """Return ᾱ_t, the probability that a token is not masked at t."""
        return (-self._clock.exponent(t)).exp()

    def time_of_ratio(self, ratio: Tensor) -> Tensor:
        """Return t/T, float32, at which the process has masked that share of its tokens."""
        return self._clock.times(-torch.log1p(-ratio))

    @property
    def stationary(self) -> Tensor:
        """Return the mask, and the uniform law for what has not been masked by T: nothing where ᾱ_T = 0."""
        kept = -self.final_exponent
        law = torch.full((self.n_states,), float(kept.exp()) / (self.n_states - 1), dtype=torch.float64)
        law[self.mask] = -torch.expm1(kept)
        return law
