"""Checks of what a process is given: states, logits and times, and what it is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d3pm.errors import OptionError, TokenError
from d3pm.processes.logspace import check_numbers

__all__ = [
    "check_betas",
    "check_law",
    "check_logits",
    "check_mask",
    "check_states",
    "check_time",
    "check_tokens",
]


def check_tokens(x: Any, n_states: int, argument: str = "x_0") -> Tensor:
    """Return x as int64 states from 0 to K − 1, else raise `TokenError`."""
    tokens = torch.as_tensor(x)
    if tokens.dtype.is_floating_point or tokens.dtype in (torch.bool, torch.complex64, torch.complex128):
        message = f"`{argument}` must hold integer states; got dtype {tokens.dtype}. Quantise: x.round().long()."
        raise TokenError(message)
    if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= n_states):
        message = (
            f"`{argument}` must hold states from 0 to {n_states - 1}; got values from {int(tokens.min())} to "
            f"{int(tokens.max())}. Make n_states larger, or map the tokens into range."
        )
        raise TokenError(message)
    return tokens.long()


def check_logits(logits: Any, n_states: int, argument: str = "x0_logits") -> Tensor:
    """Return logits as a floating tensor over K states, else raise `TokenError`."""
    values = torch.as_tensor(logits)
    if not values.dtype.is_floating_point or values.shape[-1:] != (n_states,):
        message = (
            f"`{argument}` must be floating with {n_states} states on its last axis; "
            f"got {values.dtype} of shape {tuple(values.shape)}."
        )
        raise TokenError(message)
    check_numbers(values, argument)
    return values


def check_time(t: int | float | Tensor, n_steps: int | None, *, zero: bool = False) -> Tensor:
    """Return a time of the chain, 1 … T or in (0, 1] without T, else raise `OptionError`; `zero` allows 0 as well."""
    time = torch.as_tensor(t)
    if n_steps is None:
        time = time.double()
        good, wanted = (time >= 0 if zero else time > 0) & (time <= 1), "in (0, 1] (continuous time)"
    else:
        if time.dtype.is_floating_point and bool((time != time.round()).any()):
            message = f"`t` must be a whole number of steps from 1 to {n_steps}; got {t}."
            raise OptionError(message)
        time = time.long()
        good, wanted = (time >= (0 if zero else 1)) & (time <= n_steps), f"from 1 to T = {n_steps}"
    if not bool(good.all()):
        message = f"`t` must be {wanted}; got {t if not isinstance(t, Tensor) else t.tolist()}."
        raise OptionError(message)
    return time


def check_states(n_states: int) -> int:
    """Return K ≥ 2."""
    if isinstance(n_states, bool) or not isinstance(n_states, int) or n_states < 2:
        message = f"`n_states` must be a whole number of states, at least 2; got {n_states!r}."
        raise OptionError(message)
    return n_states


def check_mask(mask: int | None, n_states: int) -> int:
    """Return the mask's state, K − 1 by default."""
    if mask is None:
        return n_states - 1
    if isinstance(mask, bool) or not isinstance(mask, int) or not 0 <= mask < n_states:
        message = f"`mask` must be a state from 0 to {n_states - 1}; got {mask!r}. One more symbol needs n_states + 1."
        raise OptionError(message)
    return int(mask)


def check_law(values: Any, n_states: int, argument: str) -> Tensor:
    """Return probabilities of K states, float64, else raise `OptionError`."""
    law = torch.as_tensor(values, dtype=torch.float64).cpu()
    if law.shape != (n_states,) or not bool((law >= 0).all()) or not abs(float(law.sum()) - 1) <= 1e-6:
        got = f"shape {tuple(law.shape)}" if law.shape != (n_states,) else f"{law.tolist()[:8]}"
        message = f"`{argument}` must be probabilities of shape ({n_states},), which sum to 1; got {got}."
        raise OptionError(message)
    return law


def check_betas(betas: Any, argument: str = "betas") -> Tensor:
    """Return probabilities of shape (T,), float64, below 1 but for the last: what is lost stays lost."""
    values = torch.as_tensor(betas, dtype=torch.float64).cpu()
    if values.ndim != 1 or not len(values) or not bool(((values >= 0) & (values <= 1)).all()):
        message = (
            f"`{argument}` must be probabilities of shape (T,); got shape {tuple(values.shape)}. See d3pm.schedules."
        )
        raise OptionError(message)
    if bool((values[:-1] == 1).any()):
        message = (
            f"`{argument}` must be below 1 before the last step; step {int(values.argmax()) + 1} forgets everything."
        )
        raise OptionError(message)
    return values
