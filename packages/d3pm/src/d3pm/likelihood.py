"""How likely are data under a model? Upper bounds on −log p(x_0), with the error of their estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from d3pm.conventions import Conventions, conventions_of
from d3pm.errors import OptionError
from d3pm.losses import Denoiser, ask, bound_term, continuous_bound_term, fraction, sample_times, stratified
from d3pm.processes.base import Process

__all__ = ["Likelihood", "negative_log_likelihood", "time_grid"]

LN2 = math.log(2)


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
        """Return exp(total nats / number of words, ends of sentences included)."""
        return math.exp(float(self.nats.sum()) / n_words)

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
        Steps taken at once [§3.3]: the bound of the model that samples T/step times.
    n_times : int, optional
        Visit this many times per example instead of all: the last step, and others spread evenly at random; unbiased.
        Always so in continuous time (128 by default).
    conventions : Conventions, optional
        The denoiser's own by default.
    attention_mask : bool tensor of shape (B, N), optional
        False at padding, which the denoiser is told (as its fourth argument) and the bound leaves out.

    Returns
    -------
    Likelihood

    Notes
    -----
    The Monte-Carlo variance is estimated from differences of successive terms, which share their mean nearly; it errs
    on the large side. L_0 has no neighbour like it and is left out.
    """
    conventions = conventions_of(denoiser, conventions).check(process)
    x_0 = process.check_tokens(x_0)
    batch, device = len(x_0), x_0.device
    real = torch.ones_like(x_0, dtype=torch.bool) if attention_mask is None else attention_mask
    prior = (process.prior_kl().to(device)[x_0] * real).reshape(batch, -1).sum(-1)
    if n_times is not None and n_times < 2:
        message = f"`n_times` must be at least 2; got {n_times}."
        raise OptionError(message)
    if process.n_steps is None:
        # Rows of one stratified draw: the times of an example are far apart, and those of a row close together.
        n = n_times or 128
        times = list(sample_times(process, batch * n, generator, device).reshape(n, batch))
        weights = [1 / n] * n
    else:
        grid = torch.tensor(time_grid(process.n_steps, step), device=device)
        times, weights = [t.expand(batch) for t in grid], [1.0] * len(grid)
        if n_times is not None and n_times < len(grid):
            # The last step, L_0, is unlike the others and always visited; the others are drawn as above.
            others, n = grid[:-1], n_times - 1
            index = (stratified(batch * n, generator, device) * len(others)).long().clamp(max=len(others) - 1)
            times = [*others[index].reshape(n, batch), times[-1]]
            weights = [len(others) / n] * n + [1.0]
    terms = []
    for t in times:
        x_t = process.corrupt(x_0, process.spread(t, x_0), generator)
        logits = ask(denoiser, x_t, fraction(process, t), condition, attention_mask)
        log_p = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
        if process.n_steps is None:
            term = continuous_bound_term(process, x_t, x_0, log_p, t, mode=conventions.mode)
        else:
            mode, first = conventions.mode, conventions.first
            term = bound_term(process, x_t, x_0, log_p, t, step=step, mode=mode, first=first)
        terms.append(torch.where(real, term, 0.0).reshape(batch, -1).double().sum(-1))
    values = torch.stack(terms) * torch.tensor(weights, dtype=torch.float64, device=device)[:, None]  # (times, B)
    n_alike = len(values) - (process.n_steps is not None)  # all but L_0
    differences = values[1:n_alike] - values[: n_alike - 1]
    variance = differences.square().sum(0) / 2 * (n_alike / (n_alike - 1) if n_alike > 1 else math.nan)
    lengths = None if attention_mask is None else attention_mask.sum(-1)
    return Likelihood(values.sum(0) + prior, prior, variance, x_0[0].numel(), lengths)
