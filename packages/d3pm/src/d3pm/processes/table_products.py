"""Products with tables of log Q̄ and the divergence made of them, with hand-written gradients.

A matrix product is fast and underflows for a net that is certain; what underflows is summed in log space, and is rare.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d3pm.fusion import fusible

__all__ = ["Divergence", "LogProduct"]

_CLEAR_OF_UNDERFLOW = 1e-30
_NEGLIGIBLE = -39.0  # log of what 1e-30 is e^-30 of: beside more than that, all that underflows counts for nothing
_LOST_AT_ONCE = 100_000


class LogProduct(torch.autograd.Function):
    """log(exp(log_p) exp(log_Q)) as a matrix product, and where that underflows as a sum in log space."""

    @staticmethod
    def forward(ctx: Any, log_p: Tensor, log_q: Tensor) -> Tensor:
        """Take log_p (n, D, K) and log_q (n, K, K); return (n, D, K)."""
        p, q = log_p.exp(), log_q.exp()
        moved = torch.bmm(p, q)
        least = 1e8 * torch.finfo(moved.dtype).tiny
        lost = (moved < least).nonzero()  # (lost, 3)
        log_moved = moved.clamp_(min=least).log()
        for some in lost.split(_LOST_AT_ONCE):
            log_moved[tuple(some.T)] = _paths(log_p, log_q, some).logsumexp(-1)
        ctx.save_for_backward(p, moved, q, lost, log_p, log_q)
        return log_moved

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return p ⊙ ((gradient / moved) Qᵀ)."""
        p, moved, q, lost, log_p, log_q = ctx.saved_tensors
        where = tuple(lost.T)
        slope = gradient / moved
        slope[where] = 0.0
        result = torch.bmm(slope, q.mT).mul_(p)
        return _add_paths(result, gradient[where], lost, log_p, log_q), None


class Divergence(torch.autograd.Function):
    """KL(q ‖ p_θ) for q ∝ a row of Q̄_s ⊙ c and p_θ ∝ m ⊙ c: c a column of Q_{s:t}, m = p̃ Q̄_s. With its gradient.

    The gradient with respect to log m is p_θ − q. Where m underflows and that matters, which takes a net that is
    certain and wrong, log m is summed in log space: K terms for each such state of a position, and they are few.
    """

    @staticmethod
    def forward(
        ctx: Any, log_p: Tensor, log_cumulative: Tensor, log_columns: Tensor, x_0: Tensor, x_t: Tensor
    ) -> Tensor:
        """Take log_p (n, D, K), log Q̄_s and log Q_{s:t}ᵀ (n, K, K), x_0 and x_t (n, D); return (n, D)."""
        p, cumulative = log_p.exp(), log_cumulative.exp()
        m = torch.bmm(p, cumulative)
        tables = (log_cumulative, log_columns)
        divergence, slope, wrong = fusible(_divergence)(m, *tables, x_0, x_t)
        rows = wrong.nonzero()  # (rows, 2)
        lost, excess = rows.new_zeros(0, 3), m.new_zeros(0)
        if len(rows):
            lost, excess = _put_right(divergence, slope, m, rows, log_p, *tables, x_0, x_t)
        ctx.save_for_backward(p, slope, cumulative, lost, excess, log_p, log_cumulative)
        ctx.scaled = fusible(_scaled)  # the backward pass comes when `fusing` has ended
        return divergence

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return p ⊙ ((p_θ − q) / m Q̄ᵀ), scaled."""
        p, slope, cumulative, lost, excess, log_p, log_cumulative = ctx.saved_tensors
        result = ctx.scaled(torch.bmm(slope, cumulative.mT), p, gradient)
        scale = excess * gradient[lost[:, 0], lost[:, 1]]
        return _add_paths(result, scale, lost, log_p, log_cumulative), None, None, None, None


def _scaled(slope: Tensor, p: Tensor, gradient: Tensor) -> Tensor:
    """Return slope ⊙ p ⊙ gradient; the slope may be overwritten."""
    return slope.mul_(p).mul_(gradient[..., None])


def _divergence(
    m: Tensor, log_cumulative: Tensor, log_columns: Tensor, x_0: Tensor, x_t: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return KL(q ‖ p_θ) (n, D), (p_θ − q)/m (n, D, K), and where m underflows so that both are wrong (n, D)."""
    example = torch.arange(len(m), device=m.device)[:, None]
    log_c = log_columns[example, x_t]
    log_q = log_cumulative[example, x_0] + log_c
    q = log_q.softmax(-1)  # on a CPU torch takes exp() of large negative numbers three times as slowly
    kept = m.clamp(min=_CLEAR_OF_UNDERFLOW)
    log_model = kept.log().add_(log_c)  # not normalised
    small = m < _CLEAR_OF_UNDERFLOW
    wrong = (small & (q > 0)).any(-1) | (log_model.amax(-1) < _NEGLIGIBLE)
    divergence = (q * log_q.log_softmax(-1).sub_(log_model.log_softmax(-1))).sum(-1)
    return divergence, log_model.softmax(-1).sub_(q).div_(kept), wrong


def _put_right(
    divergence: Tensor,
    slope: Tensor,
    m: Tensor,
    rows: Tensor,
    log_p: Tensor,
    log_cumulative: Tensor,
    log_columns: Tensor,
    x_0: Tensor,
    x_t: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sum in log space where m underflowed in these rows, in place; return where (lost, 3), and p_θ − q there."""
    example, position = where = tuple(rows.T)
    log_c = log_columns[example, x_t[where]]  # (rows, K)
    log_q = (log_cumulative[example, x_0[where]] + log_c).log_softmax(-1)
    m = m[where]
    row, state = (m < _CLEAR_OF_UNDERFLOW).nonzero().T
    lost = torch.stack([example[row], position[row], state], -1)
    log_m = m.clamp(min=_CLEAR_OF_UNDERFLOW).log()
    parts = [_paths(log_p, log_cumulative, some).logsumexp(-1) for some in lost.split(_LOST_AT_ONCE)]
    log_m[row, state] = torch.cat(parts) if parts else log_m[row, state]
    log_model = (log_m + log_c).log_softmax(-1)
    divergence[where] = (log_q.exp() * (log_q - log_model)).sum(-1)
    excess = log_model.exp() - log_q.exp()
    right = excess / m.clamp(min=_CLEAR_OF_UNDERFLOW)
    right[row, state] = 0.0
    slope[where] = right
    return lost, excess[row, state]


def _add_paths(result: Tensor, scale: Tensor, lost: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """Add the gradient with respect to log p of scale · log(p Q) where that was summed in log space, in place."""
    for some, factor in zip(lost.split(_LOST_AT_ONCE), scale.split(_LOST_AT_ONCE), strict=True):
        shares = _paths(log_p, log_q, some).softmax(-1).mul_(factor[:, None])
        result.index_put_((some[:, 0], some[:, 1]), shares, accumulate=True)
    return result


def _paths(log_p: Tensor, log_cumulative: Tensor, lost: Tensor) -> Tensor:
    """Return log p(i) + log Q[i, j] for all i, one row for each lost (example, position, j): (lost, K)."""
    example, position, state = lost.T
    return log_p[example, position] + log_cumulative[example, :, state]
