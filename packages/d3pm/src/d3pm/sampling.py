"""Generation: from the prior back to data, one step, many steps or one token at a time.

`sample` goes down a grid of times, x_s ~ p_θ(x_s | x_t), for every process; `sample_first_hitting` visits only the
times at which a masked model reveals a token, with the same law. Beside them, `d3pm.unmasking` chooses which token
comes next, `d3pm.infilling` conditions by particles where tokens cannot be shown clean, and `d3pm.generation` puts all
of it behind one function. Draws are made in float64 by inversion (`processes.base.draw`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d3pm.conventions import Conventions, conventions_of
from d3pm.errors import OptionError
from d3pm.infilling import sample_given
from d3pm.losses import Denoiser, ask, fraction
from d3pm.net_runs import say_merged
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import Process, draw
from d3pm.sampler_input import (
    check_given,
    check_masked,
    check_real,
    check_says_when,
    copies,
    reads_clean,
    start_masked,
    without_padding,
)
from d3pm.times import Grid, Watcher, sampling_times, time_tensor

__all__ = ["Grid", "Watcher", "sample", "sample_first_hitting", "sampling_times"]


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
    attention_mask: Tensor | None = None,
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
        Tokens to keep, and True where. A masked model sees them clean throughout, and draws the others by p̃ with
        these in sight (an autoregressive one where they begin the text): its conditional law exactly where p̃ belongs
        to one joint law. Others, and masked models by `sample_given` itself: see `d3pm.infilling`.
    attention_mask : bool tensor of shape (B, N), optional
        False at padding, which the denoiser is told (as its fourth argument): texts of these lengths are drawn, with
        state 0 at padding.
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
    say_merged(n_steps, len(times) - 1)
    given, keep = check_given(process, given, keep, shape, device)
    real = check_real(attention_mask, shape, device)
    clean = given is None or keep is None or reads_clean(process, denoiser, given, keep)
    _check_corrections(n_corrections, clean)
    if not clean and given is not None and keep is not None:
        return sample_given(
            process, denoiser, given, keep, n_steps=n_steps, grid=grid, conventions=conventions, condition=condition,
            attention_mask=real, n_particles=n_particles, generator=generator, device=device, watch=watch,
        )  # fmt: skip
    predict = _Cached(denoiser, condition, real, on=cache and _may_cache(process, denoiser))
    chain = _Chain(process, denoiser, conventions, predict, given, keep, generator)
    x = chain.start(shape, device)
    for t, s in itertools.pairwise(times):
        if watch is not None:
            watch(t, x)
        t_, s_ = time_tensor(process, t, device), time_tensor(process, s, device)
        x = chain.back(x, t_, s_)
        for _ in range(n_corrections if s > 0 else 0):
            x = chain.back(chain.forward(x, s_, t_), t_, s_)
    x = without_padding(x, real)
    if watch is not None:
        watch(0, x)
    return x


def _check_corrections(n_corrections: int, clean: bool) -> None:
    """Raise `OptionError` for corrections that cannot be made: fewer than none, or of particles (not `clean`)."""
    if n_corrections < 0 or (n_corrections and not clean):
        message = f"`n_corrections` must be ≥ 0, and 0 where particles fill in given tokens; got {n_corrections}."
        raise OptionError(message)


@dataclass
class _Chain:
    """The chain that `sample` goes down; tokens that are given stay as they are at every time."""

    process: Process
    denoiser: Denoiser
    conventions: Conventions
    predict: _Cached
    given: Tensor | None
    keep: Tensor | None
    generator: torch.Generator | None

    def start(self, shape: tuple[int, ...], device: torch.device | str) -> Tensor:
        """Draw x_T ~ p(x_T)."""
        return self._with_given(self.process.prior_sample(shape, self.generator, device))

    def back(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Draw x_s ~ p_θ(x_s | x_t)."""
        logits = self.predict(x, fraction(self.process, t).expand(len(x)))
        return self._with_given(
            step_back(self.process, self.denoiser, self.conventions, x, logits, s, t, self.generator)
        )

    def forward(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Draw x_t ~ q(x_t | x_s)."""
        return self._with_given(self.process.advance(x, s, t, self.generator))

    def _with_given(self, x: Tensor) -> Tensor:
        return x if self.given is None or self.keep is None else torch.where(self.keep, self.given, x)


@torch.no_grad()
def sample_first_hitting(
    process: Absorbing,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    conventions: Conventions | None = None,
    condition: Tensor | None = None,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    attention_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
) -> Tensor:
    """Draw x_0 of a masked model by the law of `sample` with all steps, in fewer runs of the net (arXiv 2409.02908).

    When a mask is revealed does not depend on what it turns into: a token masked at the end is still masked at t with
    probability (1 − ᾱ_t)/(1 − ᾱ_T). The time of each is drawn beforehand, and the net is run at these times alone: in
    continuous time once per token, in discrete time once per step in which a token is revealed, together with those of
    the same step. The law is that of `sample` exactly, also where T is small; in continuous time a net that reads the
    time is told it to a thousandth. Only for a denoiser that gives the mask no probability.
    """
    check_masked(process, denoiser, "first-hitting")
    conventions = conventions_of(denoiser, conventions).check(process)
    check_says_when(conventions)
    real = check_real(attention_mask, tuple(shape), device)
    x, fill = start_masked(process, tuple(shape), given, keep, real, generator, device)
    when = _hitting_times(process, tuple(shape), generator, device)
    last = 0 if process.n_steps is None else 1  # the last step has conventions of its own
    while bool((ahead := (x == process.mask) & fill & (when > last)).any()):
        t = torch.where(ahead, when, 0).flatten(1).amax(-1)  # (B,)
        time = process.time_of_ratio(t) if process.n_steps is None else fraction(process, t)
        if watch is not None:
            watch(float(time.mean()) * process.final_time, x)
        logits = ask(denoiser, x, time, condition, real)
        now = ahead & (when == process.spread(t, x))
        x = x.clone()
        x[now] = draw(logits[now].double(), generator)
    if last and (conventions.first == "direct" or bool(((x == process.mask) & fill).any())):
        one = time_tensor(process, 1, device)
        if watch is not None:
            watch(1, x)
        logits = ask(denoiser, x, fraction(process, one).expand(len(x)), condition, real)
        x = torch.where(fill, step_back(process, denoiser, conventions, x, logits, one - 1, one, generator), x)
    if watch is not None:
        watch(0, x)
    return x


def _hitting_times(
    process: Absorbing, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str
) -> Tensor:
    """Draw for each token the step t in which it is revealed, from t to t − 1; in continuous time the masking ratio."""
    u = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
    steps = torch.arange(1, (process.n_steps or 1) + 1, device=device)
    masked = 1 - process.unmasked_share(steps)  # (T,)
    if process.n_steps is None:
        return u * masked
    shares = masked / masked[-1].clamp(min=1e-300)
    return (torch.searchsorted(shares, u, right=True) + 1).clamp(max=process.n_steps)


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


def _may_cache(process: Process, denoiser: Denoiser) -> bool:
    return isinstance(process, Absorbing) and bool(getattr(denoiser, "time_free", False))


class _Cached:
    """Remember p̃ per example; ask the net again only where x_t is new."""

    def __init__(self, denoiser: Denoiser, condition: Tensor | None, real: Tensor | None, on: bool) -> None:
        self.denoiser, self.condition, self.real, self.on = denoiser, condition, real, on
        self.last: Tensor | None = None
        self.logits: Tensor | None = None

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        if not self.on:
            return ask(self.denoiser, x, time, self.condition, self.real)
        if self.last is None or self.logits is None:
            # Written to below: neither the net's own tensor nor a view of one that examples share.
            self.logits = ask(self.denoiser, x, time, self.condition, self.real).clone(
                memory_format=torch.contiguous_format
            )
        else:
            new = (x != self.last).flatten(1).any(-1)
            if bool(new.any()):
                condition = None if self.condition is None else self.condition[new]
                real = None if self.real is None else self.real[new]
                self.logits[new] = ask(self.denoiser, x[new], time[new], condition, real)
        self.last = x.clone()
        return self.logits
