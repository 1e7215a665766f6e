"""The continuous bound of a masked model from an exact number of masks, with less variance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import Process

__all__ = ["counted_masks", "masks_linearly"]


def masks_linearly(process: Process) -> bool:
    """Return whether a share t is masked at time t in [0, 1], so that the net may be told the one for the other."""
    if process.n_steps is not None or not isinstance(process, Absorbing):
        return False
    return math.isclose(float(process.unmask_rate(torch.tensor(0.25))), 4.0)


def counted_masks(
    x_0: Tensor, t: Tensor, generator: torch.Generator | None = None, attention_mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Mask an exact number k of an example's N positions, of N t the next whole number: uniform where t is.

    The continuous bound of a masked model is the mean over orders of the autoregressive cost:

    .. math:: L_∞ = E_{k ∼ U\{1 … N\}} \frac{N}{k} E \sum_{masked} -\log p̃(x_0^i | x_t)

    The number of masks, most of the variance of `masked_bound_term`, is no longer left to chance (arXiv 2406.03736).

    Returns
    -------
    masked : bool tensor of shape (B, …)
    time : float64 tensor of shape (B,)
        k/N, for the denoiser.
    weight : tensor of shape (B, …)
        N/k at masked positions, else 0.
    """
    scores = torch.rand(x_0.shape, device=x_0.device, generator=generator).flatten(1)
    n = torch.full_like(t, scores.shape[1])
    if attention_mask is not None:
        scores, n = scores.masked_fill(~attention_mask.flatten(1), 2.0), attention_mask.flatten(1).sum(-1).to(t.dtype)
    k = (t * n).ceil().clamp(min=1)
    masked = (scores.argsort(-1).argsort(-1) < k[:, None]).reshape(x_0.shape)
    spread = (-1, *(1,) * (x_0.ndim - 1))
    return masked, k / n, masked * (n / k).float().reshape(spread)
