"""Uniform and absorbing: processes whose every product has a closed form.

Their transitions are Q_{s:t} = S I + 1 vᵀ with v = A e_m + B 1/K: keep the token with probability S, else forget it and
draw from v. Products stay in the family,

    (S₁ I + 1 v₁ᵀ)(S₂ I + 1 v₂ᵀ) = S₁ S₂ I + 1 (S₂ v₁ + v₂)ᵀ,

so three numbers per pair of times say everything (the paper's A.4 as polynomials in 11ᵀ/K): no K × K matrix, no table
that grows with K, and K = 50,000 costs what a softmax costs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from d3pm.processes.base import FLOOR, Mode, Process, log_positive
from d3pm.processes.checks import check_betas, check_states
from d3pm.processes.logspace import put, take, take_each
from d3pm.schedules import Clock, ContinuousSchedule

__all__ = ["Clocked", "Closed", "Uniform"]


class Closed(Process):
    """What follows from S, A and B."""

    mask: int = 0  # the state m that A leads to; unused where A is zero
    scatters: bool = True  # whether B can be above zero
    fusible = True

    def _weights(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log S, log A, log B of Q_{s:t}, in float64 and the shape of t."""
        raise NotImplementedError

    def _targets(self, s: Tensor, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Return log S, log v at the mask and log v elsewhere."""
        keep, to_mask, to_any = self._weights(s, t)
        elsewhere = (to_any - math.log(self.n_states)).clamp(min=FLOOR)
        return keep.to(dtype), torch.logaddexp(to_mask, elsewhere).to(dtype), elsewhere.to(dtype)

    def _log_rows(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        keep, at_mask, elsewhere = self._targets(s, t, dtype)
        v = torch.where(x == self.mask, at_mask, elsewhere)
        rows = elsewhere[..., None].expand(*x.shape, self.n_states).clone()
        rows[..., self.mask] = at_mask
        return put(rows, x, torch.logaddexp(keep, v))

    def _log_columns(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        keep, at_mask, elsewhere = self._targets(s, t, dtype)
        v = torch.where(x == self.mask, at_mask, elsewhere)
        columns = v[..., None].expand(*x.shape, self.n_states).clone()
        return put(columns, x, torch.logaddexp(keep, v))

    def _log_product(self, log_p: Tensor, s: Tensor, t: Tensor) -> Tensor:
        keep, at_mask, elsewhere = self._targets(s, t, log_p.dtype)
        v = elsewhere[..., None].repeat(*(1,) * elsewhere.ndim, self.n_states)  # of the times' shape, not of the data's
        v[..., self.mask] = at_mask
        return torch.logaddexp(keep[..., None] + log_p, v)

    def corrupt(self, x_0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Keep, mask or scatter each token: one uniform number per position (two if it may be scattered)."""
        keep, to_mask, _ = (w.exp() for w in self._weights(torch.zeros_like(t), t))
        u = torch.rand(x_0.shape, dtype=torch.float64, device=x_0.device, generator=generator)
        if self.scatters:
            anything = torch.randint(self.n_states, x_0.shape, device=x_0.device, generator=generator)
            jumped = torch.where(u < keep + to_mask, self.mask, anything)
        else:
            jumped = torch.full_like(x_0, self.mask)
        return torch.where(u < keep, x_0, jumped)

    def kl(self, x_t: Tensor, x_0: Tensor, log_p: Tensor, s: Tensor, t: Tensor, mode: Mode = "joint") -> Tensor:
        """Return the same number as `Process.kl`, with one pass over K, or none.

        By Bayes, log p_θ(x_s | x_t) = log Q_{s:t}[x_s, x_t] + log p̃_s(x_s) − log p̃_t(x_t) with p̃_s = p̃ Q̄_s, and
        likewise for q; the transition cancels:

            KL = E_q[log q(x_s | x_0) − log p̃_s(x_s)] + log p̃_t(x_t) − log q(x_t | x_0).

        The posterior over x_s is a mixture of four simple laws: at x_t (no jump after s), at x_0 (jumps only after s),
        at the mask, or anywhere; so the expectation needs three entries and, if tokens are scattered, one mean over K.
        """
        dtype, zero = log_p.dtype, torch.zeros_like(s)
        log_p = self.log_prediction(x_t, log_p, t, mode)
        keep_s, at_mask_s, elsewhere_s = self._targets(zero, s, log_p.dtype)
        keep_t, at_mask_t, elsewhere_t = self._targets(zero, t, log_p.dtype)
        keep, at_mask, elsewhere = self._targets(s, t, log_p.dtype)
        _, to_mask_s, to_any_s = (w.to(log_p.dtype) for w in self._weights(zero, s))

        def reach(x: Tensor, log_keep: Tensor, log_at_mask: Tensor, log_elsewhere: Tensor) -> Tensor:  # log Q̄[x_0, x]
            v = torch.where(x == self.mask, log_at_mask, log_elsewhere)
            return torch.where(x == x_0, torch.logaddexp(log_keep, v), v)

        mask = torch.full_like(x_t, self.mask)
        log_p_at = take_each(log_p, x_t, x_0, mask)
        p_t = torch.logaddexp(keep_t + log_p_at[0], torch.where(x_t == self.mask, at_mask_t, elsewhere_t))

        log_q_t = reach(x_t, keep_t, at_mask_t, elsewhere_t)
        forget = torch.where(x_t == self.mask, at_mask, elsewhere)  # log v(x_t) of the step s → t
        w_stay = (keep + reach(x_t, keep_s, at_mask_s, elsewhere_s) - log_q_t).exp()
        w_clean = (forget + keep_s - log_q_t).exp()
        w_mask = (forget + to_mask_s - log_q_t).exp()
        total = p_t - log_q_t
        for weight, x, log_p_x in zip((w_stay, w_clean, w_mask), (x_t, x_0, mask), log_p_at, strict=True):
            p_s = torch.logaddexp(keep_s + log_p_x, torch.where(x == self.mask, at_mask_s, elsewhere_s))
            difference = reach(x, keep_s, at_mask_s, elsewhere_s) - p_s
            total = total + torch.where(weight > 0, weight * difference, 0.0)
        if not self.scatters:
            return total.to(dtype)

        # Means over K of log q(x_s | x_0) and log p̃_s(x_s): v everywhere, put right at the mask (and at x_0).
        at_x0 = torch.where(x_0 == self.mask, at_mask_s, elsewhere_s)
        mean_q = elsewhere_s + (at_mask_s - elsewhere_s + torch.logaddexp(keep_s, at_x0) - at_x0) / self.n_states
        p_mask = keep_s + log_p_at[2]
        mean_p = elsewhere_s + F.softplus(log_p + (keep_s - elsewhere_s)[..., None]).mean(-1)
        mean_p = mean_p + (torch.logaddexp(p_mask, at_mask_s) - torch.logaddexp(p_mask, elsewhere_s)) / self.n_states
        w_any = (forget + to_any_s - log_q_t).exp()
        return (total + torch.where(w_any > 0, w_any * (mean_q - mean_p), 0.0)).to(dtype)

    def prior_kl(self) -> Tensor:
        """Return KL(q(x_T | x_0) ‖ p(x_T)) for each clean state, (K,) float64 nats, in O(K)."""
        time = torch.as_tensor(self.final_time)
        keep, at_mask, elsewhere = (w.cpu().exp() for w in self._targets(torch.zeros_like(time), time, torch.float64))
        v = torch.full((self.n_states,), float(elsewhere), dtype=torch.float64)
        v[self.mask] = at_mask
        prior = self.prior.cpu()

        def term(p: Tensor) -> Tensor:  # p log(p / prior), infinite where the prior has no mass
            return torch.where(p > 1e-300, p * (p.clamp(min=1e-300).log() - prior.log()), 0.0)

        return (term(v).sum() - term(v) + term(v + keep)).clamp(min=0)


class Clocked(Closed):
    """One kind of jump, so that only S matters: S = exp(−exponent), and the rest is 1 − S."""

    def __init__(self, n_states: int, betas: Any) -> None:
        self.n_states = check_states(n_states)
        if not isinstance(betas, ContinuousSchedule):
            betas = self.betas = check_betas(betas)
        self._clock = Clock.of_betas(betas)
        self.n_steps = self._clock.n_steps

    @property
    def final_exponent(self) -> Tensor:
        """Return −log ᾱ at the end of time; infinite where nothing of x_0 is left."""
        return self._clock.exponent(torch.as_tensor(self.final_time))

    def _jump(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return log S and log(1 − S) of Q_{s:t}."""
        passed = self._clock.passed(s, t)
        return (-passed).clamp(min=FLOOR), log_positive(-torch.expm1(-passed))

    def log_score(self, x_t: Tensor, logits: Tensor, t: Tensor) -> Tensor:
        """Return log r^θ, (..., K), as SEDD's nets say it (arXiv 2310.16834): zero at x_t itself."""
        return logits - take(logits, x_t)[..., None]

    def _log_reverse_of_score(self, x_t: Tensor, log_score: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Return log of (r Q_{s:t}⁻¹) ⊙ Q_{s:t}[:, x_t]: equation 4, whose p̃ Q̄_s is r brought back from t to s.

        SEDD's analytic step. Ratios that belong to no distribution may be negative when brought back; they count as 0.
        """
        keep, to_mask, to_any = (w.exp()[..., None].to(log_score.dtype) for w in self._weights(s, t))
        law = log_score.softmax(-1)
        arrived = to_any / self.n_states * torch.ones_like(law)
        arrived[..., self.mask] += to_mask[..., 0]
        back = (law - arrived) / keep
        return log_positive(back) + self._log_columns(x_t, s, t, log_score.dtype)

    def _log_rates(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        rate = self._clock.rate(t)
        if rate is None:
            return super()._log_rates(x, t, dtype)
        return rate.log().to(dtype)[..., None].expand(*x.shape, self.n_states)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        if self.n_steps is not None:
            return {"betas": self.betas, "mask": torch.tensor(self.mask)}
        return {"exponents": self._clock.fingerprint(), "mask": torch.tensor(self.mask)}

    @property
    def stored(self) -> dict[str, Tensor]:
        """Return β_1 … β_T."""
        return {} if self.n_steps is None else {"betas": self.betas}


class Uniform(Clocked):
    """Jump to any state: Q_t = (1 − β_t) I + β_t 11ᵀ/K [A.2.1].

    Parameters
    ----------
    n_states : int
        K.
    betas : tensor of shape (T,) or ContinuousSchedule
        Probability of a jump in each step; `cosine_betas` is the paper's choice.

    Examples
    --------
    >>> Uniform(2, [0.5]).transition(1).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """

    kind = "uniform"

    def _weights(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, jump = self._jump(s, t)
        return keep, torch.full_like(keep, FLOOR), jump

    def _log_rates(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        return super()._log_rates(x, t, dtype) - math.log(self.n_states)

    @property
    def stationary(self) -> Tensor:
        """Return the uniform law."""
        return torch.full((self.n_states,), 1 / self.n_states, dtype=torch.float64)
