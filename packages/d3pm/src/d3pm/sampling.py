"""Generation: from the prior back to data, one step, many steps or one token at a time.

All categorical draws are made in float64 by inversion (`processes.base.draw`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from d3pm.conventions import Conventions, conventions_of
from d3pm.errors import OptionError, check_choice
from d3pm.likelihood import time_grid
from d3pm.losses import Denoiser, fraction
from d3pm.processes.base import FLOOR, Process, draw
from d3pm.processes.closed import Absorbing

__all__ = ["sample", "sample_first_hitting", "sampling_times"]

Watcher = Callable[[float, Tensor], None]


def sampling_times(
    process: Process, n_steps: int | None = None, grid: Literal["even", "cosine"] = "even"
) -> list[float]:
    """Return the times visited, from T (or 1.0) down to 0, ends included.

    Parameters
    ----------
    n_steps : int, optional
        T by default, 100 in continuous time. If it does not divide T, steps differ by at most one.
    grid : {"even", "cosine"}, default="even"
        "cosine" takes small steps near noise, large ones near data, t = cos(π/2 · (1 − i/n)): for masked pictures with
        few steps much better than an even grid (MD4, arXiv 2406.04329).

    Examples
    --------
    >>> from d3pm import Uniform, cosine_betas
    >>> sampling_times(Uniform(4, cosine_betas(10)), 4)
    [10, 8, 5, 2, 0]
    """
    check_choice(grid, ("even", "cosine"), "grid")
    n = n_steps or process.n_steps or 100
    if n < 1 or (process.n_steps is not None and n > process.n_steps):
        message = f"`n_steps` must be from 1 to T = {process.n_steps}; got {n}."
        raise OptionError(message)
    shares = [1 - i / n for i in range(n + 1)]
    if grid == "cosine":
        shares = [math.sin(math.pi / 2 * share) if share < 1 else 1.0 for share in shares]
    if process.n_steps is None:
        return shares
    if grid == "even" and process.n_steps % n == 0:
        return [*time_grid(process.n_steps, process.n_steps // n), 0]
    times = [round(share * process.n_steps) for share in shares]
    return list(dict.fromkeys(times))  # a cosine grid may visit a step twice


@torch.no_grad()
def sample(
    process: Process,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    n_steps: int | None = None,
    grid: Literal["even", "cosine"] = "even",
    conventions: Conventions | None = None,
    condition: Tensor | None = None,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    cache: bool = True,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
) -> Tensor:
    """Draw x_0 by ancestral sampling: x_T ~ p(x_T), then x_s ~ p_θ(x_s | x_t) down the grid [§3.3].

    Parameters
    ----------
    process : Process
    denoiser : callable
        See `d3pm.losses`.
    shape : sequence of int
        (B, …).
    n_steps, grid
        See `sampling_times`; fewer than T steps go several at a time, exactly.
    conventions : Conventions, optional
        The denoiser's own by default: the model drawn from is the one trained and evaluated.
    condition : tensor of shape (B,), optional
        Class labels.
    given, keep : tensors of shape (B, …), optional
        Tokens to keep, and True where. An absorbing process sees them clean throughout, which conditions it exactly;
        other processes see them as noisy as the rest (replacement), which does so nearly.
    cache : bool, default=True
        For a time-free denoiser of an absorbing process: run only the examples in which a token has changed.
    watch : callable, optional
        Called with (t, x_t) at every time of the grid.

    Returns
    -------
    integer tensor of shape (B, …)
    """
    conventions = conventions_of(denoiser, conventions).check(process)
    times = sampling_times(process, n_steps, grid)
    given, keep = _check_given(process, given, keep, tuple(shape), device)
    # A masked model reads the given tokens clean; other processes have them replaced by noisy ones at every step.
    clean = isinstance(process, Absorbing)
    x = process.prior_sample(tuple(shape), generator, device)
    predict = _Cached(denoiser, condition, on=cache and clean and bool(getattr(denoiser, "time_free", False)))
    for t, s in itertools.pairwise(times):
        t_, s_ = _times(process, t, device), _times(process, s, device)
        if keep is not None and given is not None:
            known = given if clean else process.corrupt(given, t_, generator)
            x = torch.where(keep, known, x)
        if watch is not None:
            watch(t, x)
        logits = predict(x, fraction(process, t_).expand(len(x)))
        x = _step(process, denoiser, conventions, x, logits, s_, t_, generator)
    if keep is not None and given is not None:
        x = torch.where(keep, given, x)
    if watch is not None:
        watch(0, x)
    return x


@torch.no_grad()
def sample_first_hitting(
    process: Absorbing,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    condition: Tensor | None = None,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
) -> Tensor:
    """Draw x_0 of a masked model exactly in as many runs of the net as there are tokens (arXiv 2409.02908).

    With n tokens masked at masking ratio r the next one appears at ratio r u^{1/n}, wherever the grid of steps lies; it
    is any of the n, with equal chance. Only for a denoiser that gives the mask no probability.
    """
    if not _copies(process, denoiser):
        message = (
            "`process` and `denoiser` must be absorbing with `forbid` at the mask for first-hitting; use sample()."
        )
        raise OptionError(message)
    given, keep = _check_given(process, given, keep, tuple(shape), device)
    x = process.prior_sample(tuple(shape), generator, device)
    if keep is not None and given is not None:
        x = torch.where(keep, given, x)
    flat = x.reshape(len(x), -1)
    ratio = torch.ones(len(x), dtype=torch.float64, device=device)
    while True:
        masked = flat == process.mask
        n = masked.sum(-1)
        if not bool((n > 0).any()):
            return x
        u = torch.rand(len(x), dtype=torch.float64, device=device, generator=generator)
        ratio = torch.where(n > 0, ratio * u.pow(1 / n.clamp(min=1)), ratio)
        if watch is not None:
            watch(float(ratio.mean()), x)
        logits = denoiser(x, process.time_of_ratio(ratio), condition)
        which = draw(torch.where(masked, 0.0, FLOOR), generator)  # any masked position, one per example
        row = torch.arange(len(x), device=device)
        token = draw(logits.reshape(len(x), flat.shape[1], -1)[row, which].double(), generator)
        flat[row, which] = torch.where(n > 0, token, flat[row, which])


def _step(
    process: Process,
    denoiser: Denoiser,
    conventions: Conventions,
    x: Tensor,
    logits: Tensor,
    s: Tensor,
    t: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """Draw x_s ~ p_θ(x_s | x_t), or take its likeliest value at the end if the model says so."""
    last = float(s) == 0
    argmax = last and conventions.final == "argmax"
    if _copies(process, denoiser) and not (last and conventions.first == "direct"):
        return _unmask(process, x, logits, s, t, argmax, generator)  # type: ignore[arg-type]
    law = conventions.log_reverse(process, x, logits.double().log_softmax(-1), s, t)
    return law.argmax(-1) if argmax else draw(law, generator)


def _unmask(
    process: Absorbing,
    x: Tensor,
    logits: Tensor,
    s: Tensor,
    t: Tensor,
    argmax: bool,
    generator: torch.Generator | None,
) -> Tensor:
    """Take a step of equation 4 for a net that gives the mask no mass: masks turn into x_0 ~ p̃ with probability r_t."""
    reveal = torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=generator)
    hit = (x == process.mask) & (reveal < process.unmask_probability(s, t))
    tokens = x.clone()
    tokens[hit] = logits[hit].argmax(-1) if argmax else draw(logits[hit].double(), generator)
    return tokens


def _copies(process: Process, denoiser: Denoiser) -> bool:
    return isinstance(process, Absorbing) and getattr(denoiser, "forbid", None) == process.mask


def _times(process: Process, t: float, device: torch.device | str) -> Tensor:
    dtype = torch.float64 if process.n_steps is None else torch.int64
    return torch.tensor(t, dtype=dtype, device=device)


def _check_given(
    process: Process,
    given: Tensor | None,
    keep: Tensor | None,
    shape: tuple[int, ...],
    device: torch.device | str,
) -> tuple[Tensor | None, Tensor | None]:
    if given is None and keep is None:
        return None, None
    if given is None or keep is None or tuple(given.shape) != shape or tuple(keep.shape) != shape:
        message = f"`given` and `keep` must both have the shape of the samples, {shape}; pass both or neither."
        raise OptionError(message)
    return process.check_tokens(given, "given").to(device), keep.bool().to(device)


class _Cached:
    """Remember p̃ per example; ask the net again only where x_t is new."""

    def __init__(self, denoiser: Denoiser, condition: Tensor | None, on: bool) -> None:
        self.denoiser, self.condition, self.on = denoiser, condition, on
        self.last: Tensor | None = None
        self.logits: Tensor | None = None

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        if not self.on:
            return self.denoiser(x, time, self.condition)
        if self.last is None or self.logits is None:
            self.logits = self.denoiser(x, time, self.condition)
        else:
            new = (x != self.last).flatten(1).any(-1)
            if bool(new.any()):
                condition = None if self.condition is None else self.condition[new]
                self.logits[new] = self.denoiser(x[new], time[new], condition)
        self.last = x.clone()
        return self.logits
