"""Conditioning a model on some of the tokens, by importance-weighted particles.

A masked model can be shown given tokens clean, as `d3pm.sampling.sample` does. Other processes are trained on corrupted
tokens throughout, and replacing the given ones by freshly corrupted ones at every step does not condition the model:
its error stays whatever T is. Here each sample is a group of particles. The given tokens follow a path drawn from the
forward process, y_T ~ q(· | y_0) and y_s ~ q(· | y_t, y_0); the others follow the model, x_s ~ p_θ(· | x_t); and each
particle is weighted by how much more or less likely the model finds its path of the given tokens,

    p(y_T) / q(y_T | y_0) · Π p_θ(y_s | x_t) / q(y_s | y_t, y_0).

Resampling by these weights makes the law of a group exactly the model's conditional law as the particles grow in number
(compare SMCDiff, arXiv 2206.04119, where y is the same for all particles). An autoregressive model that is given tokens
to the right of what it fills in is conditioned so too: a weight is p̃ of the given tokens, each after those before it.

Shown clean, given tokens condition a masked model exactly where p̃ of all orders belongs to one joint law. A trained
net's does not quite: its samples then follow p̃ with these tokens in sight, which differs from the conditional law of
samples that are drawn with nothing given. `sample_given` draws from the latter, of masked models too.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from d3pm.conventions import Conventions, conventions_of
from d3pm.errors import OptionError
from d3pm.losses import Denoiser, ask, fraction
from d3pm.processes.base import Process, draw, log_positive
from d3pm.sampler_input import check_both, check_real, without_padding
from d3pm.times import Grid, Watcher, sampling_times, time_tensor

__all__ = ["sample_given"]


@torch.no_grad()
def sample_given(
    process: Process,
    denoiser: Denoiser,
    given: Tensor,
    keep: Tensor,
    *,
    n_steps: int | None = None,
    grid: Grid = "even",
    conventions: Conventions | None = None,
    condition: Tensor | None = None,
    attention_mask: Tensor | None = None,
    n_particles: int = 16,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
) -> Tensor:
    """Draw x_0 with x_0 = given where `keep` is True, for any process, by particles.

    Parameters
    ----------
    process, denoiser, n_steps, grid, conventions, condition, attention_mask, generator, device
        As in `d3pm.sampling.sample`.
    given, keep : tensors of shape (B, …)
        Tokens to keep, and True where.
    n_particles : int, default=16
        Of each sample: the error of the conditional law shrinks as they grow in number, and the net runs on all.
    watch : callable, optional
        Called with (t, x_t) of the first particle of each sample.

    Returns
    -------
    integer tensor of shape (B, …)
    """
    if n_particles < 1:
        message = f"`n_particles` must be at least 1; got {n_particles}."
        raise OptionError(message)
    conventions = conventions_of(denoiser, conventions).check(process)
    given, keep = check_both(process, given, keep, tuple(given.shape), device)
    real = check_real(attention_mask, tuple(given.shape), device)
    groups, times = len(given), sampling_times(process, n_steps, grid)
    keep = keep if real is None else keep & real
    y_0, kept = given.repeat_interleave(n_particles, 0), keep.repeat_interleave(n_particles, 0)
    told = None if real is None else real.repeat_interleave(n_particles, 0)
    labels = None if condition is None else condition.repeat_interleave(n_particles, 0)
    end, zero = time_tensor(process, times[0], device), time_tensor(process, 0, device)

    x = torch.where(kept, process.corrupt(y_0, end, generator), process.prior_sample(y_0.shape, generator, device))
    reached = process._log_rows(y_0, zero, end, torch.float64)
    prior = log_positive(process.prior.to(device)).expand_as(reached)
    log_w = _weight(prior, reached, x, kept)
    for t, s in itertools.pairwise(times):
        t_, s_ = time_tensor(process, t, device), time_tensor(process, s, device)
        if watch is not None:
            watch(t, x[::n_particles])
        logits = ask(denoiser, x, fraction(process, t_).expand(len(x)), labels, told)
        law = conventions.log_reverse(process, x, conventions.read(logits.double()), s_, t_)
        path = process.log_posterior(x, y_0, s_, t_, torch.float64)  # certain of y_0 at s = 0
        argmax = s == 0 and conventions.final == "argmax"
        free = law.argmax(-1) if argmax else draw(law, generator)
        x = torch.where(kept, y_0 if s == 0 else draw(path, generator), free)
        log_w = log_w + _weight(law, path, x, kept)
        x, log_w = _resampled(x, log_w.reshape(groups, n_particles), generator)
    chosen = draw(log_w.reshape(groups, n_particles), generator)
    x = x.reshape(groups, n_particles, *given.shape[1:])[torch.arange(groups, device=device), chosen]
    x = without_padding(x, real)
    if watch is not None:
        watch(0, x)
    return x


def _weight(model: Tensor, proposal: Tensor, x: Tensor, kept: Tensor) -> Tensor:
    """Return log of model over proposal at x, summed over the given positions: (B,)."""
    difference = (model - proposal).gather(-1, x[..., None])[..., 0]
    return torch.where(kept, difference, 0.0).flatten(1).sum(-1)


def _resampled(x: Tensor, log_w: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw the particles of each group anew by their weights (groups, n), where fewer than half of them count."""
    groups, n = log_w.shape
    w = log_w.softmax(-1)
    poor = 1 / w.square().sum(-1) < n / 2
    u = torch.rand(groups, 1, dtype=torch.float64, device=x.device, generator=generator)
    # Systematic: one number at random per group, n points evenly apart.
    points = (u + torch.arange(n, device=x.device)) / n
    ancestors = torch.searchsorted(w.cumsum(-1), points).clamp(max=n - 1)
    ancestors = torch.where(poor[:, None], ancestors, torch.arange(n, device=x.device))
    index = (ancestors + n * torch.arange(groups, device=x.device)[:, None]).flatten()
    return x[index], torch.where(poor[:, None], 0.0, log_w).flatten()
