"""Generation: from the prior back to data, one step, many steps or one token at a time.

`sample` goes down a grid of times, x_s ~ p_θ(x_s | x_t), for every process; `sample_first_hitting` reveals the tokens
of a masked model one by one, exactly. Beside them, `d3pm.unmasking` chooses which token comes next, `d3pm.infilling`
conditions processes without masks, and `d3pm.generation` puts all of it behind one function. Draws are made in float64
by inversion (`processes.base.draw`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from d3pm.conventions import Conventions, conventions_of
from d3pm.errors import OptionError
from d3pm.losses import Denoiser, fraction
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import FLOOR, Process, draw
from d3pm.times import Grid, Watcher, sampling_times, time_tensor

__all__ = ["Grid", "Watcher", "copies", "sample", "sample_first_hitting", "sampling_times"]


@torch.no_grad()
def sample(
    process: Process,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    n_steps: int | None = None,
    grid: Grid = "even",
    conventions: Conventions | None = None,
    condition: Tensor | None = None,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    n_particles: int = 16,
    n_corrections: int = 0,
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
        Tokens to keep, and True where. A masked model sees them clean throughout, which conditions it exactly (an
        autoregressive one where they begin the text); for others see `d3pm.infilling`.
    n_particles : int, default=16
        Of infilling by particles: the error of the conditional law shrinks with it, and the cost grows.
    n_corrections : int, default=0
        Predictor–corrector: after each step from t to s, go forward to t by the process and back again so many times.
        For an exact net the law of x_s stays as it is; errors of earlier steps are forgotten.
    cache : bool, default=True
        For a time-free denoiser of a masked model: run only the examples in which a token has changed.
    watch : callable, optional
        Called with (t, x_t) at every time of the grid.

    Returns
    -------
    integer tensor of shape (B, …)
    """
    conventions = conventions_of(denoiser, conventions).check(process)
    times, shape = sampling_times(process, n_steps, grid), tuple(shape)
    given, keep = check_given(process, given, keep, shape, device)
    clean = given is None or keep is None or reads_clean(process, denoiser, given, keep)
    if n_corrections < 0 or (n_corrections and not clean):
        message = f"`n_corrections` must be ≥ 0, and 0 where particles fill in given tokens; got {n_corrections}."
        raise OptionError(message)
    if not clean and given is not None and keep is not None:
        from d3pm.infilling import sample_given

        return sample_given(
            process, denoiser, given, keep, times, conventions, condition, n_particles, generator, watch
        )
    predict = _Cached(denoiser, condition, on=cache and _may_cache(process, denoiser))

    def stay(x: Tensor) -> Tensor:
        return x if given is None or keep is None else torch.where(keep, given, x)

    def back(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        logits = predict(x, fraction(process, t).expand(len(x)))
        return stay(step_back(process, denoiser, conventions, x, logits, s, t, generator))

    x = stay(process.prior_sample(shape, generator, device))
    for t, s in itertools.pairwise(times):
        if watch is not None:
            watch(t, x)
        t_, s_ = time_tensor(process, t, device), time_tensor(process, s, device)
        x = back(x, t_, s_)
        for _ in range(n_corrections if s > 0 else 0):
            x = back(stay(process.advance(x, s_, t_, generator)), t_, s_)
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
    check_masked(process, denoiser, "first-hitting")
    given, keep = check_given(process, given, keep, tuple(shape), device)
    x = process.prior_sample(tuple(shape), generator, device)
    fill = torch.ones_like(x, dtype=torch.bool)
    if keep is not None and given is not None:
        x, fill = torch.where(keep, given, x), ~keep
    x, fill = x.flatten(1), fill.flatten(1)  # (B, D)
    ratio = torch.ones(len(x), dtype=torch.float64, device=device)
    row = torch.arange(len(x), device=device)
    while True:
        masked = (x == process.mask) & fill
        n = masked.sum(-1)
        if not bool((n > 0).any()):
            return x.reshape(tuple(shape))
        u = torch.rand(len(x), dtype=torch.float64, device=device, generator=generator)
        ratio = torch.where(n > 0, ratio * u.pow(1 / n.clamp(min=1)), ratio)
        if watch is not None:
            watch(float(ratio.mean()), x.reshape(tuple(shape)))
        logits = denoiser(x.reshape(tuple(shape)), process.time_of_ratio(ratio), condition)
        which = draw(torch.where(masked, 0.0, FLOOR), generator)  # any masked position, one per example
        token = draw(logits.reshape(*x.shape, -1)[row, which].double(), generator)
        x = x.clone()
        x[row, which] = torch.where(n > 0, token, x[row, which])


def step_back(
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
    if copies(process, denoiser) and conventions.mode != "score" and not (last and conventions.first == "direct"):
        # Equation 4 for a net that gives the mask no mass: masks turn into x_0 ~ p̃ with probability r_t.
        reveal = torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=generator)
        hit = (x == process.mask) & (reveal < process.unmask_probability(s, t))  # type: ignore[attr-defined]
        tokens = x.clone()
        tokens[hit] = logits[hit].argmax(-1) if argmax else draw(logits[hit].double(), generator)
        return tokens
    law = conventions.log_reverse(process, x, conventions.read(logits.double()), s, t)
    return law.argmax(-1) if argmax else draw(law, generator)


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
    if given is None or keep is None or tuple(given.shape) != shape or tuple(keep.shape) != shape:
        message = f"`given` and `keep` must both have the shape of the samples, {shape}; pass both or neither."
        raise OptionError(message)
    return process.check_tokens(given, "given").to(device), keep.bool().to(device)


def _may_cache(process: Process, denoiser: Denoiser) -> bool:
    return isinstance(process, Absorbing) and bool(getattr(denoiser, "time_free", False))


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
