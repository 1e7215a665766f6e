"""Samplers of masked models that choose which token comes next, and that take tokens back.

`sample` and `sample_first_hitting` reveal tokens in random order and never touch them again: that is the model's own
law. Here are two departures from it that people use. `sample_confident` reveals first what the net is surest of
(MaskGIT, arXiv 2202.04200; LLaDA, arXiv 2502.09992): good pictures and answers in few steps, and less variety.
`sample_remasking` masks some of the revealed tokens again on the way (ReMDM, arXiv 2503.00307), which leaves the law of
x_t given x_0 as it is and lets the net mend its mistakes with more steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from d3pm.errors import OptionError, check_choice
from d3pm.losses import Denoiser, ask, fraction
from d3pm.net_runs import RunCounter, say_capped, say_merged
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import draw
from d3pm.sampler_input import check_masked, check_real, start_masked
from d3pm.times import Grid, Watcher, sampling_times, time_tensor

__all__ = ["Confidence", "Remasking", "sample_confident", "sample_remasking"]

Confidence = Literal["probability", "margin", "entropy"]
Remasking = Literal["cap", "rescale"]


def sample_confident(
    process: Absorbing,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    n_steps: int | None = None,
    confidence: Confidence = "probability",
    condition: Tensor | None = None,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    attention_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
) -> Tensor:
    """Draw x_0 of a masked model, the surest tokens first.

    Parameters
    ----------
    process, denoiser, shape, condition, given, keep, attention_mask, watch
        As in `d3pm.sampling.sample`; the denoiser must give the mask no mass.
    n_steps : int, optional
        Runs of the net, each revealing an even share of the masked tokens; by default, and at most, one token each
        (`StepsWarning` where more are asked for).
    confidence : {"probability", "margin", "entropy"}, default="probability"
        Of the token drawn; of the likeliest token over the next; minus the entropy of p̃.

    Returns
    -------
    integer tensor of shape (B, …)

    Notes
    -----
    The samples do not follow the model's likelihood; those of `sample_first_hitting` do.
    """
    sampler = RunCounter(reveal_surest)
    x = sampler(
        process,
        denoiser,
        shape,
        n_steps=n_steps,
        confidence=confidence,
        condition=condition,
        given=given,
        keep=keep,
        attention_mask=attention_mask,
        generator=generator,
        device=device,
        watch=watch,
    )
    say_capped(n_steps, sampler.most, "a sample")
    return x


@torch.no_grad()
def reveal_surest(
    process: Absorbing,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    n_steps: int | None = None,
    confidence: Confidence = "probability",
    condition: Tensor | None = None,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    attention_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
) -> Tensor:
    """Draw x_0 as `sample_confident` does, without a word on steps that cannot be taken: of blocks each has its own."""
    check_choice(confidence, ("probability", "margin", "entropy"), "confidence")
    check_masked(process, denoiser, "confidence-ordered unmasking")
    real = check_real(attention_mask, tuple(shape), device)
    x, fill = start_masked(process, tuple(shape), given, keep, real, generator, device)
    n_masked = (x == process.mask).logical_and(fill).flatten(1).sum(-1)  # (B,)
    if n_steps is not None and n_steps < 1:
        message = f"`n_steps` must be at least 1; got {n_steps}."
        raise OptionError(message)
    longest = int(n_masked.max()) if len(n_masked) else 0
    steps = longest if n_steps is None else min(n_steps, longest)
    for step in range(steps, 0, -1):
        masked = ((x == process.mask) & fill).flatten(1)  # (B, D)
        n = masked.sum(-1)
        share = _masked_share(x == process.mask, real)
        if watch is not None:
            watch(float(share.mean()), x)
        logits = ask(denoiser, x, process.time_of_ratio(share), condition, real).double()
        tokens = draw(logits, generator).flatten(1)
        score = _confidence(logits.log_softmax(-1).flatten(1, -2), tokens, confidence)
        rank = score.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True).argsort(-1)
        reveal = masked & (rank < torch.ceil(n / step)[:, None])
        x = torch.where(reveal, tokens, x.flatten(1)).reshape(tuple(shape))
    if watch is not None:
        watch(0, x)
    return x


@torch.no_grad()
def sample_remasking(
    process: Absorbing,
    denoiser: Denoiser,
    shape: Sequence[int],
    *,
    n_steps: int | None = None,
    grid: Grid = "even",
    strategy: Remasking = "rescale",
    strength: float = 0.1,
    condition: Tensor | None = None,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    attention_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
) -> Tensor:
    r"""Draw x_0 of a masked model by steps that may mask a token again.

    From t to s a token is masked with probability σ, and a mask turns into x_0 ~ p̃ with the probability that keeps
    q(x_s | x_0) as it is,

    .. math:: (ᾱ_s - (1 - σ) ᾱ_t) / (1 - ᾱ_t), \quad σ ≤ σ_{max} = \min(1, (1 - ᾱ_s) / ᾱ_t)

    (ReMDM). With σ = 0 this is `d3pm.sampling.sample`.

    Parameters
    ----------
    process, denoiser, shape, n_steps, grid, condition, given, keep, attention_mask, watch
        As in `d3pm.sampling.sample`; the denoiser must give the mask no mass.
    strategy : {"cap", "rescale"}, default="rescale"
        σ = min(strength, σ_max), or strength · σ_max.
    strength : float, default=0.1
        From 0 to 1.

    Returns
    -------
    integer tensor of shape (B, …)
    """
    check_choice(strategy, ("cap", "rescale"), "strategy")
    check_masked(process, denoiser, "remasking")
    if not 0 <= strength <= 1:
        message = f"`strength` must be from 0 to 1; got {strength}."
        raise OptionError(message)
    real = check_real(attention_mask, tuple(shape), device)
    x, fill = start_masked(process, tuple(shape), given, keep, real, generator, device)
    times = sampling_times(process, n_steps, grid)
    say_merged(n_steps, len(times) - 1)
    for t, s in itertools.pairwise(times):
        t_, s_ = time_tensor(process, t, device), time_tensor(process, s, device)
        if watch is not None:
            watch(t, x)
        sigma, reveal = _remasking_odds(process.unmasked_share(t_), process.unmasked_share(s_), strategy, strength)
        logits = ask(denoiser, x, fraction(process, t_).expand(len(x)), condition, real).double()
        masked = x == process.mask
        u = torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=generator)
        changed = torch.where(masked, u < reveal, u < sigma) & fill
        x = torch.where(changed, torch.where(masked, draw(logits, generator), process.mask), x)
    if watch is not None:
        watch(0, x)
    return x


def _remasking_odds(kept_t: Tensor, kept_s: Tensor, strategy: Remasking, strength: float) -> tuple[Tensor, Tensor]:
    """Return the probabilities that a token is masked again, σ, and that a mask is revealed, of ᾱ_t and ᾱ_s."""
    largest = ((1 - kept_s) / kept_t.clamp(min=1e-300)).clamp(max=1)
    sigma = largest.clamp(max=strength) if strategy == "cap" else strength * largest
    return sigma, (kept_s - (1 - sigma) * kept_t) / (1 - kept_t)


def _masked_share(masked: Tensor, real: Tensor | None) -> Tensor:
    """Return the share of each example's tokens that are masked, (B,) float64, without its padding."""
    if real is None:
        return masked.flatten(1).double().mean(-1)
    return (masked & real).flatten(1).double().sum(-1) / real.flatten(1).sum(-1).clamp(min=1)


def _confidence(log_p: Tensor, tokens: Tensor, kind: Confidence) -> Tensor:
    """Return how sure the net is at each position, (B, D), of log p̃ (B, D, K)."""
    if kind == "probability":
        return log_p.gather(-1, tokens[..., None])[..., 0]
    if kind == "margin":
        best = log_p.exp().topk(2, -1).values
        return best[..., 0] - best[..., 1]
    return -torch.special.entr(log_p.exp()).sum(-1)
