"""Products with tables of log Q̄ and the divergence made of them, with hand-written gradients.

A matrix product is fast and underflows for a net that is certain; what underflows is summed in log space, and is rare.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

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
        return _pulled_back(gradient.clone(), *ctx.saved_tensors), None


class Divergence(torch.autograd.Function):
    """KL(q ‖ p_θ) for q ∝ exp(log_q) and p_θ ∝ c ⊙ m, where c is a column of Q_{s:t} and m = p̃ Q̄_s, with its gradient.

    The gradient with respect to log m is p_θ − q. Where m underflows and that matters, which takes a net that is
    certain and wrong, log m is summed in log space: K terms for each such state of a position, and they are few.
    """

    @staticmethod
    def forward(ctx: Any, log_p: Tensor, log_cumulative: Tensor, log_q: Tensor, log_c: Tensor) -> Tensor:
        """Take (n, D, K) each, log_cumulative (n, K, K); return (n, D)."""
        p, cumulative = log_p.exp(), log_cumulative.exp()
        m = torch.bmm(p, cumulative)
        q = log_q.softmax(-1)  # on a CPU torch takes exp() of large negative numbers three times as slowly
        small = m < _CLEAR_OF_UNDERFLOW
        log_model = m.clamp_(min=_CLEAR_OF_UNDERFLOW).log().add_(log_c)  # not normalised
        wrong = (small & (q > 0)).any(-1) | (log_model.amax(-1) < _NEGLIGIBLE)  # (n, D)
        lost = (small & wrong[..., None]).nonzero()  # (lost, 3)
        for some in lost.split(_LOST_AT_ONCE):
            where = tuple(some.T)
            log_model[where] = _paths(log_p, log_cumulative, some).logsumexp(-1) + log_c[where]
        divergence = torch.linalg.vecdot(q, log_q.log_softmax(-1).sub_(log_model.log_softmax(-1)))
        ctx.save_for_backward(p, m, cumulative, log_model.softmax(-1).sub_(q), lost, log_p, log_cumulative)
        return divergence

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return p ⊙ ((p_θ − q) / m Q̄ᵀ), scaled."""
        p, m, cumulative, excess, lost, log_p, log_cumulative = ctx.saved_tensors
        return (
            _pulled_back(excess * gradient[..., None], p, m, cumulative, lost, log_p, log_cumulative),
            None,
            None,
            None,
        )


def _pulled_back(
    gradient: Tensor, p: Tensor, moved: Tensor, q: Tensor, lost: Tensor, log_p: Tensor, log_q: Tensor
) -> Tensor:
    """Turn a gradient with respect to log(p Q), overwritten, into one with respect to log p."""
    found = gradient[tuple(lost.T)]
    gradient[tuple(lost.T)] = 0.0
    result = torch.bmm(gradient.div_(moved), q.mT).mul_(p)
    for some, scale in zip(lost.split(_LOST_AT_ONCE), found.split(_LOST_AT_ONCE), strict=True):
        shares = _paths(log_p, log_q, some).softmax(-1).mul_(scale[:, None])
        result.index_put_((some[:, 0], some[:, 1]), shares, accumulate=True)
    return result


def _paths(log_p: Tensor, log_cumulative: Tensor, lost: Tensor) -> Tensor:
    """Return log p(i) + log Q[i, j] for all i, one row for each lost (example, position, j): (lost, K)."""
    example, position, state = lost.T
    return log_p[example, position] + log_cumulative[example, :, state]
