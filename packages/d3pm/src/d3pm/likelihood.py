"""How likely are data under a model? Upper bounds on −log p(x_0), with the error of their estimate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d3pm.conventions import Conventions, conventions_of
from d3pm.errors import OptionError
from d3pm.losses import Denoiser, ask, bound_term, continuous_bound_term, fraction
from d3pm.processes.base import Process, check_numbers

__all__ = ["Likelihood", "negative_log_likelihood", "time_grid"]

LN2 = math.log(2)
_TWICE = 100  # times up to which all are visited twice


@dataclass(frozen=True)
class Likelihood:
    """A bound on −log p(x_0), per example.

    Attributes
    ----------
    nats : tensor of shape (B,)
        The whole bound, L_T included.
    prior : tensor of shape (B,)
        L_T, in nats. Above 1e-5 bits per position the schedule does not mix: the paper's check.
    variance : tensor of shape (B,)
        Of `nats`, from drawing x_t (and t, if not all were visited).
    n_positions : int
        Positions per example, D; of padded examples the longest possible.
    lengths : tensor of shape (B,) or None
        Real positions of each example, where they differ.
    """

    nats: Tensor
    prior: Tensor
    variance: Tensor
    n_positions: int
    lengths: Tensor | None = None

    @property
    def mean_positions(self) -> float:
        """Return the mean number of positions per example."""
        return self.n_positions if self.lengths is None else float(self.lengths.double().mean())

    @property
    def bits_per_position(self) -> float:
        """Return the mean bound in bits per dimension (images) or per character (text)."""
        return float(self.nats.mean()) / (self.mean_positions * LN2)

    @property
    def prior_bits(self) -> float:
        """Return the mean L_T in bits per position."""
        return float(self.prior.mean()) / (self.mean_positions * LN2)

    @property
    def monte_carlo_error(self) -> float:
        """Return the standard error of `bits_per_position` from the draws alone, these examples given."""
        return math.sqrt(float(self.variance.sum())) / (len(self.nats) * self.mean_positions * LN2)

    @property
    def standard_error(self) -> float:
        """Return the standard error of `bits_per_position` as an estimate for all such data (draws and examples)."""
        if len(self.nats) < 2:
            return math.nan
        # Of examples that differ in length, what counts is how they depart from the mean per position.
        expected = 0.0 if self.lengths is None else self.bits_per_position * LN2 * self.lengths
        return float((self.nats - expected).std()) / (math.sqrt(len(self.nats)) * self.mean_positions * LN2)

    def perplexity(self, n_words: int) -> float:
        """Return exp(total nats / number of words, ends of sentences included); infinite above the largest number."""
        try:
            return math.exp(float(self.nats.sum()) / n_words)
        except OverflowError:
            return math.inf

    @staticmethod
    def concatenate(parts: list[Likelihood]) -> Likelihood:
        """Join the results of several batches."""
        return Likelihood(
            torch.cat([p.nats for p in parts]),
            torch.cat([p.prior for p in parts]),
            torch.cat([p.variance for p in parts]),
            parts[0].n_positions,
            None if parts[0].lengths is None else torch.cat([p.lengths for p in parts if p.lengths is not None]),
        )


def time_grid(n_steps: int, step: int = 1) -> list[int]:
    """Return the times T, T − k, … that steps of k visit; the last step is shorter where k does not divide T.

    Examples
    --------
    >>> time_grid(10, 4)
    [10, 6, 2]
    """
    if not 1 <= step <= n_steps:
        message = f"`step` must be from 1 to T = {n_steps}; got {step}."
        raise OptionError(message)
    return list(range(n_steps, 0, -step))


@torch.no_grad()
def negative_log_likelihood(
    process: Process,
    denoiser: Denoiser,
    x_0: Tensor,
    *,
    step: int = 1,
    times: Sequence[float] | None = None,
    n_times: int | None = None,
    conventions: Conventions | None = None,
    condition: Tensor | None = None,
    generator: torch.Generator | None = None,
    attention_mask: Tensor | None = None,
) -> Likelihood:
    """Bound −log p(x_0) by L_vb, drawing a fresh x_t for every term.

    Parameters
    ----------
    x_0 : integer tensor of shape (B, …)
    step : int, default=1
        Steps taken at once [§3.3]: the bound of the model that samples at T, T − step, …, 0.
    times : sequence of numbers, optional
        The bound of the model that samples at these times, from T (1.0) to 0, in place of `step`:
        `sampling_times(process, n_steps, grid)` for what `sample` draws with so many steps. In continuous time too.
    n_times : int, optional
        Run the net about so many times per example instead of once for each of the T times, at random times; unbiased.
        Always so in continuous time without `times` (128 by default).
    conventions : Conventions, optional
        The denoiser's own by default.
    attention_mask : bool tensor of shape (B, N), optional
        False at padding, which the denoiser is told (as its fourth argument) and the bound leaves out.

    Returns
    -------
    Likelihood

    Notes
    -----
    Times are visited in pairs, and the square of a pair's difference is the variance of its sum: both draws are of one
    law (twice the same time, or twice at random from the same part of [0, T]), but for all of more than a hundred
    times, where neighbours are paired; those differ a little in their means, which errs on the large side.
    """
    conventions = conventions_of(denoiser, conventions).check(process)
    visited = _visited(process, conventions, step, times, x_0.device)
    x_0 = process.check_tokens(x_0)
    batch, device = len(x_0), x_0.device
    prior = process.prior_kl().to(device)[x_0]
    prior = (prior if attention_mask is None else torch.where(attention_mask, prior, 0.0)).reshape(batch, -1).sum(-1)
    nats = torch.zeros(batch, dtype=torch.float64, device=device)
    variance = torch.zeros_like(nats)
    for pair, weight in _pairs_of_times(visited, batch, n_times, generator, device):
        first, second = (
            weight * _term(process, denoiser, conventions, x_0, t, visited, condition, attention_mask, generator)
            for t in pair
        )
        nats = nats + first + second
        variance = variance + (first - second).square()
    lengths = None if attention_mask is None else attention_mask.sum(-1)
    return Likelihood(nats + prior, prior, variance, x_0[0].numel(), lengths)


def _visited(
    process: Process, conventions: Conventions, step: int, times: Sequence[float] | None, device: torch.device
) -> Tensor | None:
    """Return the times of the model's steps, from 0 to T; None for all of continuous time."""
    if times is None:
        if process.n_steps is None:
            if step != 1:
                message = f"`step` must be 1 in continuous time, which has no steps to take at once; got {step}."
                raise OptionError(message)
            return None
        return torch.tensor([*time_grid(process.n_steps, step), 0], device=device).flip(0)
    dtype = torch.float64 if process.n_steps is None else torch.int64
    visited = torch.tensor(list(times), dtype=torch.float64).flip(0)
    good = len(visited) > 1 and bool((visited.diff() > 0).all()) and float(visited[0]) == 0
    if not good or float(visited[-1]) != process.final_time or bool((visited.to(dtype) != visited).any()) or step != 1:
        message = (
            f"`times` must fall from {process.final_time} to 0, without `step`; got {list(times)}. See sampling_times."
        )
        raise OptionError(message)
    if conventions.mode == "score":
        message = "`times` must be None with `mode` = 'score', whose bound is that of continuous time."
        raise OptionError(message)
    return visited.to(dtype).to(device)


def _term(
    process: Process,
    denoiser: Denoiser,
    conventions: Conventions,
    x_0: Tensor,
    t: Tensor,
    visited: Tensor | None,
    condition: Tensor | None,
    attention_mask: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Return the bound's term at times (B,), for one x_t each: (B,) float64 nats."""
    x_t = process.corrupt(x_0, process.spread(t, x_0), generator)
    logits = ask(denoiser, x_t, fraction(process, t), condition, attention_mask)
    check_numbers(logits, "logits")
    log_p = conventions.read(logits if logits.dtype == torch.float64 else logits.float())
    if visited is None:
        term = continuous_bound_term(process, x_t, x_0, log_p, t, mode=conventions.mode)
    else:
        mode, first = conventions.mode, conventions.first
        step = t - visited[torch.searchsorted(visited, t.contiguous()) - 1]
        term = bound_term(process, x_t, x_0, log_p, t, step=step, mode=mode, first=first)
    term = term if attention_mask is None else torch.where(attention_mask, term, 0.0)
    return term.reshape(len(x_0), -1).double().sum(-1)


def _pairs_of_times(
    visited: Tensor | None,
    batch: int,
    n_times: int | None,
    generator: torch.Generator | None,
    device: torch.device,
) -> Iterator[tuple[Tensor, float]]:
    """Yield pairs of times (2, B), and the weight of each of the two terms in the bound."""
    if n_times is not None and n_times < 2:
        message = f"`n_times` must be at least 2; got {n_times}."
        raise OptionError(message)
    if visited is None:
        n_pairs = math.ceil((n_times or 128) / 2)
        for shares in _parts(n_pairs, batch, generator, device):
            yield shares.clamp(1e-5, 1 - 1e-6), 1 / (2 * n_pairs)
        return
    grid = visited[1:].flip(0)
    if n_times is not None and n_times < len(grid):
        # The last step, L_0, is unlike the others and always visited.
        others, n_pairs = grid[:-1], max(1, math.ceil(n_times / 2) - 1)
        for shares in _parts(n_pairs, batch, generator, device):
            yield others[(shares * len(others)).long().clamp(max=len(others) - 1)], len(others) / (2 * n_pairs)
        twice = grid[-1:]
    elif len(grid) <= _TWICE:
        twice = grid
    else:
        n_pairs = (len(grid) - 1) // 2  # neighbours; L_0, and the time before it if one is left over, twice
        for pair in grid[: 2 * n_pairs].reshape(n_pairs, 2):
            yield pair[:, None].expand(2, batch), 1.0
        twice = grid[2 * n_pairs :]
    for t in twice:
        yield t.expand(2, batch), 0.5


def _parts(n: int, batch: int, generator: torch.Generator | None, device: torch.device) -> Iterator[Tensor]:
    """Yield two numbers at random from each nth of [0, 1], (2, B), for every example its own."""
    for i in range(n):
        u = torch.rand(2, batch, dtype=torch.float64, device=device, generator=generator)
        yield (i + u) / n
