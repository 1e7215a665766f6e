"""What a sampler is given: a masked model or another, tokens to keep, and how long texts are."""

from __future__ import annotations

import torch
from torch import Tensor

from d3pm.conventions import Conventions
from d3pm.errors import OptionError
from d3pm.losses import Denoiser
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import Process

__all__ = [
    "check_both",
    "check_given",
    "check_masked",
    "check_real",
    "check_says_when",
    "copies",
    "reads_clean",
    "start_masked",
    "without_padding",
]


def copies(process: Process, denoiser: Denoiser) -> bool:
    """Return whether this is a masked model: its net gives the mask no mass, so that unmasked tokens are kept."""
    return isinstance(process, Absorbing) and getattr(denoiser, "forbid", None) == process.mask


def reads_clean(process: Process, denoiser: Denoiser, given: Tensor, keep: Tensor) -> bool:
    """Return whether given tokens can be shown to the net as they are: an unmasked token is one of x_0.

    Where masks come from the right, only tokens at the left are ever seen unmasked beside masks.
    """
    if not isinstance(process, Absorbing):
        return False
    if not process.masks_alike and bool((keep[:, 1:] & ~keep[:, :-1]).any()):
        return False
    return copies(process, denoiser) or not bool((given[keep] == process.mask).any())


def check_masked(process: Process, denoiser: Denoiser, sampler: str) -> None:
    """Raise `OptionError` unless this is a masked model whose tokens may be revealed in any order."""
    if not copies(process, denoiser):
        message = f"`process` and `denoiser` must be absorbing with `forbid` at the mask for {sampler}; use sample()."
        raise OptionError(message)
    if not process.masks_alike:  # type: ignore[attr-defined]
        message = (
            f"`process` must mask all positions alike for {sampler}; an {process.kind} one reveals them from left to "
            "right. Use `method` = 'ancestral' without blocks: sample()."
        )
        raise OptionError(message)


def check_says_when(conventions: Conventions) -> None:
    """Raise `OptionError` for a net of scores, which says itself when a mask is revealed."""
    if conventions.mode == "score":
        message = "`mode` must be 'joint' or 'mixture' for first-hitting: with 'score' the net says when; use sample()."
        raise OptionError(message)


def check_given(
    process: Process,
    given: Tensor | None,
    keep: Tensor | None,
    shape: tuple[int, ...],
    device: torch.device | str,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the tokens to keep and where, on the device; or nothing of both."""
    if given is None and keep is None:
        return None, None
    return check_both(process, given, keep, shape, device)


def check_both(
    process: Process,
    given: Tensor | None,
    keep: Tensor | None,
    shape: tuple[int, ...],
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """Return the tokens to keep and where, on the device."""
    if given is None or keep is None or tuple(given.shape) != shape or tuple(keep.shape) != shape:
        message = f"`given` and `keep` must both have the shape of the samples, {shape}; pass both or neither."
        raise OptionError(message)
    return process.check_tokens(given, "given").to(device), keep.bool().to(device)


def check_real(
    attention_mask: Tensor | None, shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> Tensor | None:
    """Return where texts have tokens, on the device; None if everywhere."""
    if attention_mask is None:
        return None
    if tuple(attention_mask.shape) != shape:
        message = (
            f"`attention_mask` must have the shape of the samples, {shape}; got {tuple(attention_mask.shape)}. "
            "Of lengths (B,): torch.arange(N) < lengths[:, None]."
        )
        raise OptionError(message)
    return attention_mask.bool().to(device)


def without_padding(x: Tensor, real: Tensor | None) -> Tensor:
    """Return x with state 0, as data have it, where texts have no tokens."""
    return x if real is None else torch.where(real, x, 0)


def start_masked(
    process: Absorbing,
    shape: tuple[int, ...],
    given: Tensor | None,
    keep: Tensor | None,
    real: Tensor | None,
    generator: torch.Generator | None,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """Return x_T and what is given, and where there is something to fill in, which padding has not.

    x_T are masks, but where the prior leaves some tokens unmasked at T.
    """
    given, keep = check_given(process, given, keep, shape, device)
    if float(process.prior[process.mask]) == 1:
        x = torch.full(shape, process.mask, device=device)
    else:
        x = process.prior_sample(shape, generator, device)
    fill = torch.ones_like(x, dtype=torch.bool) if real is None else real
    if given is not None and keep is not None:
        x, fill = torch.where(keep, given, x), fill & ~keep
    return without_padding(x, real), fill
