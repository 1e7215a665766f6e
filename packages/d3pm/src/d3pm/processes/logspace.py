"""Log-probabilities and draws: an impossible event has log-probability FLOOR, finite so that sums and gradients are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from d3pm.errors import TokenError

__all__ = [
    "FLOOR",
    "IMPOSSIBLE",
    "check_numbers",
    "draw",
    "invert",
    "invert_rows",
    "log_positive",
    "put",
    "take",
    "take_each",
]

FLOOR = -1e30
IMPOSSIBLE = -1e29  # anything below is a sum in which FLOOR took part


def draw(log_p: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one state per position from (possibly unnormalised) log-probabilities (..., K).

    Inversion of the distribution function, summed in float64, with one 53-bit uniform per position. Gumbel noise in
    float32, the usual way, cuts off the tail and so lowers the temperature (arXiv 2409.02908).
    """
    check_numbers(log_p, "logits")
    p = (log_p - log_p.amax(-1, keepdim=True)).exp()
    u = torch.rand(p.shape[:-1], dtype=torch.float64, device=p.device, generator=generator)
    return invert(p.cumsum(-1, dtype=torch.float64), u)


def invert(cumulative: Tensor, u: Tensor) -> Tensor:
    """Return the first state whose cumulative weight exceeds u times the total: never one of weight zero."""
    cumulative = cumulative.contiguous()  # torch warns of a copy otherwise
    target = (u * cumulative[..., -1])[..., None]
    if cumulative.ndim == 1:
        return torch.searchsorted(cumulative, target.contiguous(), right=True)[..., 0]
    return torch.searchsorted(cumulative, target, right=True)[..., 0]


def invert_rows(cumulative: Tensor, row: Tensor, u: Tensor) -> Tensor:
    """Return `invert(cumulative[row], u)` for cumulative (n, K), row and u (...), by bisection: no (..., K) is made."""
    n_states = cumulative.shape[-1]
    flat, start = cumulative.reshape(-1), row * n_states
    target = u * flat[start + n_states - 1]
    low, high = torch.zeros_like(row), torch.full_like(row, n_states - 1)  # the last state's weight exceeds all targets
    for _ in range((n_states - 1).bit_length()):
        middle = (low + high) // 2
        beyond = flat[start + middle] > target
        low, high = torch.where(beyond, low, middle + 1), torch.where(beyond, middle, high)
    return low


def check_numbers(logits: Tensor, argument: str) -> None:
    """Raise `TokenError` where logits are NaN or +inf, or leave no state possible: nothing can be drawn from them."""
    good = logits.amax(-1).isfinite()  # NaN if any is
    if not bool(good.all()):
        message = (
            f"`{argument}` must be numbers, one of them finite at every position; got NaN or infinite ones at "
            f"{int((~good).sum())} of {good.numel()} positions. Look at the net's weights and at its input."
        )
        raise TokenError(message)


def log_positive(p: Tensor) -> Tensor:
    """Return log p, with FLOOR where p is zero (or negative through rounding)."""
    return torch.where(p > 0, p, 1.0).log().masked_fill(p <= 0, FLOOR)


def take(values: Tensor, index: Tensor) -> Tensor:
    """Return values[..., index]: of values (..., K) one entry per position.

    In a compiled function it is a masked sum, which joins the sums beside it, and its gradient whatever follows: a
    gather's gradient is a scatter, which fills (..., K) by itself.
    """
    if torch.compiler.is_compiling():
        return torch.where(_at(values, index), values, 0.0).sum(-1)
    return values.gather(-1, index[..., None])[..., 0]


def take_each(values: Tensor, *indices: Tensor) -> Sequence[Tensor]:
    """Return `take(values, index)` for each index: otherwise in one gather, since the gradient of each is K wide."""
    if torch.compiler.is_compiling():
        return [take(values, index) for index in indices]
    return values.gather(-1, torch.stack(indices, -1)).unbind(-1)


def put(values: Tensor, index: Tensor, entries: Tensor | float) -> Tensor:
    """Return values (..., K) with other entries (...) at the index; the values themselves may be overwritten."""
    if not isinstance(entries, Tensor):
        entries = torch.full_like(values[..., 0], entries)
    if torch.compiler.is_compiling():
        return torch.where(_at(values, index), entries[..., None], values)
    return values.scatter_(-1, index[..., None], entries.expand_as(index)[..., None])


def _at(values: Tensor, index: Tensor) -> Tensor:
    return torch.arange(values.shape[-1], device=values.device) == index[..., None]
