"""Losses: the variational bound and its relatives, one term at a time.

L_vb = L_T + Σ_{t=2}^T L_{t-1} + L_0 (equation 1). Training draws one time per example and takes its term, so that the
expected loss is (L_vb − L_T)/T; λ times the cross-entropy of p̃ may be added (equation 5). Terms are in nats, one per
position; `training_loss` averages over positions.

A denoiser is any callable `denoiser(x_t, time, condition[, attention_mask]) -> logits` with x_t (B, …) integers, time
(B,) = t/T in [0, 1] (or t itself in continuous time), condition None or (B,) class labels, logits (B, …, K), and, where
texts differ in length, attention_mask (B, N), True at real positions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from d3pm.conventions import Conventions, First, conventions_of
from d3pm.counted import counted_masks
from d3pm.fusion import fusible, fusing
from d3pm.importance import TimeImportance
from d3pm.objective import Objective
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import FLOOR, Mode, Process
from d3pm.processes.logspace import put, take

__all__ = [
    "Denoiser",
    "bound_term",
    "continuous_bound_term",
    "cross_entropy",
    "masked_bound_term",
    "sample_times",
    "stratified",
    "training_loss",
]

LN2 = 0.6931471805599453
Denoiser = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def bound_term(
    process: Process,
    x_t: Tensor,
    x_0: Tensor,
    log_p: Tensor,
    t: Tensor,
    *,
    step: float | Tensor = 1,
    mode: Mode = "joint",
    first: First = "eq4",
) -> Tensor:
    """Return KL(q(x_{t-step} | x_t, x_0) ‖ p_θ(x_{t-step} | x_t)), or L_0 where that goes back to time 0.

    Parameters
    ----------
    process : Process
    x_t, x_0 : integer tensors of shape (B, …)
    log_p : tensor of shape (B, …, K)
        log p̃(x_0 | x_t), normalised: a net's logits.log_softmax(-1).
    t : tensor of shape (B,) or ()
    step : int, float or tensor like t, default=1
    mode, first
        See `Conventions`: L_0 is −log p_θ(x_0 | x_1) by equation 4, or "direct" −log p̃(x_0 | x_1).

    Returns
    -------
    tensor of shape (B, …), nats
    """
    time = process.spread(t, x_t)
    s = (process.spread(t - step, x_t)).clamp(min=0)
    term = process.kl(x_t, x_0, log_p, s, time, mode)
    if first == "direct":
        term = torch.where(s == 0, cross_entropy(log_p, x_0), term)
    return term


def cross_entropy(log_p: Tensor, x_0: Tensor) -> Tensor:
    """Return −log p̃(x_0 | x_t) per position, nats: the auxiliary term of equation 5."""
    return -take(log_p, x_0)


def masked_bound_term(
    process: Absorbing, x_t: Tensor, x_0: Tensor, log_p: Tensor, t: Tensor, *, step: float = 1
) -> Tensor:
    r"""Return the absorbing process's term in closed form, equation 12 (corrected): −r_t [x_t = m] log p̃(x_0 | x_t).

    .. math:: r_t = (ᾱ_{s} - ᾱ_t) / (1 - ᾱ_t), \quad s = t - step

    Equals `bound_term` with first="eq4" where p̃ gives the mask no mass. The paper's general line leaves out the
    denominator of r_t. In continuous time the limit: −ᾱ'_t/(1 − ᾱ_t) in place of r_t.
    """
    time = process.spread(t, x_t)
    if process.n_steps is None:
        weight = process.unmask_rate(time)
    else:
        weight = process.unmask_probability((time - step).clamp(min=0), time)
    return torch.where(x_t == process.mask, weight.to(log_p.dtype) * cross_entropy(log_p, x_0), 0.0)


def continuous_bound_term(
    process: Process, x_t: Tensor, x_0: Tensor, log_p: Tensor, t: Tensor, *, mode: Mode = "joint"
) -> Tensor:
    r"""Return the integrand of the bound in continuous time, per position, nats per unit of time.

    .. math:: Σ_{j ≠ x_t} R_t[j, x_t] (r^θ_j - r_j + r_j \log(r_j / r^θ_j)), \quad r_j = Q̄_t[x_0, j] / Q̄_t[x_0, x_t]

    and r^θ the same ratio of p̃ Q̄_t: T · L_{t-1} as T → ∞ (compare Campbell et al., arXiv 2205.14987). For the absorbing
    process this is `masked_bound_term`. `mode` is that of `Conventions`: with "score", `log_p` holds the net's logits,
    and this is SEDD's denoising score entropy (arXiv 2310.16834).
    """
    time = process.spread(t, x_t)
    zero = torch.zeros_like(time)
    rates = process._log_rates(x_t, time, log_p.dtype)
    log_q = process._log_rows(x_0, zero, time, log_p.dtype)  # (..., K)
    log_r = log_q - take(log_q, x_t)[..., None]
    if mode == "score":
        log_r_theta = process.log_score(x_t, log_p, time)
    else:
        log_p_t = process._log_product(process.log_prediction(x_t, log_p, time, mode), zero, time)
        log_r_theta = log_p_t - take(log_p_t, x_t)[..., None]
    gap = (rates + log_r_theta).exp() - (rates + log_r).exp()
    gap = gap + torch.where(log_r > FLOOR / 2, (rates + log_r).exp() * (log_r - log_r_theta), 0.0)
    return put(gap, x_t, 0.0).sum(-1)


def sample_times(
    process: Process,
    n: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Draw times for a batch, spread evenly (`stratified`), each marginally uniform.

    Stratifying takes most of the variance out of the loss. `low` and `high` limit the range, as fractions of T.

    Returns
    -------
    tensor of shape (n,)
        Whole numbers from 1 to T, or float64 in (0, 1) in continuous time.
    """
    return _times(process, low + (high - low) * stratified(n, generator, device))


def _times(process: Process, shares: Tensor) -> Tensor:
    """Return times at shares of T in [0, 1)."""
    if process.n_steps is None:
        return shares.clamp(1e-5, 1 - 1e-6)
    return (shares * process.n_steps).long().clamp(max=process.n_steps - 1) + 1


def stratified(n: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu") -> Tensor:
    """Return (u + i/n) mod 1 for i = 0 … n − 1 and one uniform u, (n,) float64."""
    u = torch.rand((), dtype=torch.float64, device=device, generator=generator)
    return (u + torch.arange(n, device=device, dtype=torch.float64) / n) % 1.0


def training_loss(
    objective: Objective,
    process: Process,
    denoiser: Denoiser,
    x_0: Tensor,
    generator: torch.Generator | None = None,
    condition: Tensor | None = None,
    conventions: Conventions | None = None,
    attention_mask: Tensor | None = None,
    *,
    importance: TimeImportance | None = None,
    fuse: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch, and what to log.

    Parameters
    ----------
    x_0 : integer tensor of shape (B, …)
        Clean tokens, trusted to be in range.
    conventions : Conventions, optional
        The denoiser's own by default.
    attention_mask : bool tensor of shape (B, N), optional
        False at padding, which the denoiser is told (as its fourth argument) and the loss leaves out.
    importance : TimeImportance, optional
        Draws the times, and learns from the losses; needed where `objective.times` is "importance".
    fuse : bool, default=False
        Compile what is done with the logits into few kernels (`torch.compile`, the first call takes a while): on a GPU
        a fraction of the time. The same numbers, but for rounding.

    Returns
    -------
    loss : scalar tensor
        Nats per position, without a factor T in discrete time.
    metrics : dict
        "bits": an estimate of the bound in bits per position, less L_T ("simple", "cross_entropy": of the
        cross-entropy);
        "cross_entropy": in bits.
    """
    shares, weight = stratified(len(x_0), generator, x_0.device), None
    if importance is not None:
        shares, weight = importance.draw(shares)
        weight = weight.float().reshape(-1, *(1,) * (x_0.ndim - 1))
    t = _times(process, objective.low + (objective.high - objective.low) * shares)
    if objective.kind == "counted":
        masked, t, weight = counted_masks(x_0, t, generator, attention_mask)
        x_t = torch.where(masked, process.mask, x_0)  # type: ignore[attr-defined]
    else:
        with fusing(fuse):
            x_t = process.corrupt(x_0, process.spread(t, x_0), generator)
    logits = ask(denoiser, x_t, fraction(process, t), condition, attention_mask)
    conventions = conventions_of(denoiser, conventions)
    with fusing(fuse):
        criterion = fusible(_criterion) if process.fusible else _criterion
        loss, bits, ce, each = criterion(objective, conventions, process, logits, x_t, x_0, t, weight, attention_mask)
    if importance is not None:
        importance.update(shares, each)
    return loss, {"bits": bits.detach() / LN2, "cross_entropy": ce.detach() / LN2}


def _criterion(
    objective: Objective,
    conventions: Conventions,
    process: Process,
    logits: Tensor,
    x_t: Tensor,
    x_0: Tensor,
    t: Tensor,
    weight: Tensor | None,
    attention_mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss, the bound, the cross-entropy and the examples' losses (B,) without weights, in nats.

    All of a step's work on (…, K) but the net's.
    """
    log_p, ce = fusible(_read)(conventions, logits, x_0)
    mean_ce = _mean(ce, attention_mask)
    if objective.kind == "simple":
        masked = x_t == process.mask  # type: ignore[attr-defined]
        masked = masked if attention_mask is None else masked & attention_mask
        loss = torch.where(masked, ce, 0.0).sum() / masked.sum().clamp(min=1)
        return loss, loss, mean_ce, loss
    if objective.kind == "cross_entropy":
        return mean_ce, mean_ce, mean_ce, mean_ce
    term = ce if objective.kind == "counted" else _term(objective, conventions, process, x_t, x_0, log_p, t)
    total = term + objective.cross_entropy * ce if objective.cross_entropy else term
    each = (total if attention_mask is None else torch.where(attention_mask, total, 0.0)).flatten(1).mean(-1)
    if weight is not None:
        term, total = term * weight, total * weight
    bits = _mean(term, attention_mask)
    loss = _mean(total, attention_mask) if objective.cross_entropy else bits
    return loss, bits * (process.n_steps or 1), mean_ce, each


def _read(conventions: Conventions, logits: Tensor, x_0: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p̃ (or scores) and the cross-entropy."""
    logits = logits.float()  # the bound is in float32 whatever the net ran in
    log_p = conventions.read(logits)
    return log_p, cross_entropy(log_p if conventions.mode != "score" else logits.log_softmax(-1), x_0)


def ask(
    denoiser: Denoiser, x_t: Tensor, time: Tensor, condition: Tensor | None, attention_mask: Tensor | None = None
) -> Tensor:
    """Return the denoiser's logits; one that reads whole examples only need not know of masks."""
    if attention_mask is None:
        return denoiser(x_t, time, condition)
    return denoiser(x_t, time, condition, attention_mask)  # type: ignore[call-arg]


def _mean(values: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return the mean over real positions."""
    if attention_mask is None:
        return values.mean()
    return torch.where(attention_mask, values, 0.0).sum() / attention_mask.sum()


def _term(
    objective: Objective,
    conventions: Conventions,
    process: Process,
    x_t: Tensor,
    x_0: Tensor,
    log_p: Tensor,
    t: Tensor,
) -> Tensor:
    if objective.kind == "masked":
        return masked_bound_term(process, x_t, x_0, log_p, t)  # type: ignore[arg-type]
    if process.n_steps is None:
        return continuous_bound_term(process, x_t, x_0, log_p, t, mode=conventions.mode)
    return bound_term(process, x_t, x_0, log_p, t, mode=conventions.mode, first=conventions.first)


def fraction(process: Process, t: Tensor) -> Tensor:
    """Return t/T in float32, what a denoiser is told of the time."""
    return (t / process.final_time).float()
