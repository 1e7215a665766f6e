"""The forward process: q(x_t | x_0), its posterior, and the reverse step that a denoiser turns it into.

Everything is computed in log space, and everything follows from three
primitives that a subclass provides for the transition Q_{s:t} from time s to time t:

    rows     log Q_{s:t}[x, :]          where does state x go?
    columns  log Q_{s:t}[:, x]          where may state x come from?
    product  log (p Q_{s:t})            where does a distribution p go?

An impossible event has log-probability FLOOR, finite so that sums and gradients stay finite.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from d3pm.errors import ImpossibleStateError, check_choice
from d3pm.processes.chain import Chain, Time
from d3pm.processes.logspace import FLOOR, IMPOSSIBLE, check_numbers, draw, invert, log_positive

__all__ = ["FLOOR", "Mode", "Process", "Time", "check_numbers", "draw", "invert", "log_positive"]

Mode = Literal["joint", "mixture", "score"]


class Process(Chain):
    """A chain with its posterior and reverse steps, applied to every position independently [§3]."""

    # ------------------------------------------------------------------ distributions

    def posterior(self, x_t: Any, x_0: Any, t: Time, step: float = 1, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return q(x_{t-step} | x_t, x_0) of equation 3.

        Parameters
        ----------
        x_t, x_0 : integer tensors of one shape (...)
            States from 0 to K − 1; arrays and plain integers are welcome.
        t : int, float or tensor
            Time, one for all or of shape (B,) for a first axis of B.
        step : int or float, default=1
            Steps to go back at once; cut short at time 0.
        dtype : torch.dtype, default=float64

        Returns
        -------
        tensor of shape (..., K)
            Probabilities of x_{t-step}.

        Raises
        ------
        ImpossibleStateError
            If the process cannot lead from some x_0 to its x_t.
        """
        x_t, x_0 = self.check_tokens(x_t, "x_t"), self.check_tokens(x_0, "x_0")
        x_t, x_0 = torch.broadcast_tensors(x_t, x_0)
        time = self.spread(self._check_time(t), x_t)
        reach = self._log_rows(x_0, torch.zeros_like(time), time, dtype).gather(-1, x_t[..., None])[..., 0]
        if (reach < IMPOSSIBLE).any():
            where = (reach < IMPOSSIBLE).nonzero()[0]
            a, b = int(x_0[tuple(where)]), int(x_t[tuple(where)])
            message = (
                f"`x_t` must be reachable from `x_0`; this {self.kind} process cannot lead from state {a} to state "
                f"{b}, so the posterior is undefined. Draw x_t with q_sample, or leave such pairs out."
            )
            raise ImpossibleStateError(message)
        return self.log_posterior(x_t, x_0, (time - step).clamp(min=0), time, dtype).exp()

    def reverse(self, x_t: Any, x0_logits: Any, t: Time, step: float = 1, mode: Mode = "joint") -> Tensor:
        """Return p_θ(x_{t-step} | x_t), the denoiser's opinion of x_0 turned into a reverse step.

        Parameters
        ----------
        x_t : integer tensor of shape (...)
        x0_logits : float tensor of shape (..., K)
            Unnormalised log-probabilities p̃(x_0 | x_t).
        t, step
            As in `posterior`.
        mode : {"joint", "mixture"}, default="joint"
            "joint" is equation 4, ∝ Σ q(x_{t-1}, x_t | x_0) p̃(x_0), what both official codes compute: exact when p̃ is
            the law of a token given the *other* tokens. "mixture" is Σ q(x_{t-1} | x_t, x_0) p̃(x_0): exact when p̃ is
            the law of a token given all of x_t, which is what cross-entropy asks for. They agree for absorbing states.

        Returns
        -------
        tensor of shape (..., K), in the dtype of `x0_logits`
        """
        check_choice(mode, ("joint", "mixture"), "mode")
        x_t, logits = self.check_tokens(x_t, "x_t"), self.check_logits(x0_logits)
        time = self.spread(self._check_time(t), x_t)
        log_p = logits.clamp(min=FLOOR).log_softmax(-1)
        return self.log_reverse(x_t, log_p, (time - step).clamp(min=0), time, mode).exp()

    def q_sample(self, x_0: Tensor, t: Time, generator: torch.Generator | None = None) -> Tensor:
        """Draw x_t ~ q(x_t | x_0) = Cat(x_0 Q̄_t). No epsilon: what is impossible is never drawn."""
        x_0 = self.check_tokens(x_0, "x_0")
        return self.corrupt(x_0, self.spread(self._check_time(t, zero=True), x_0), generator)

    def prior_sample(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw x_T ~ p(x_T), an integer tensor of the shape given."""
        prior = self.prior.to(device)
        u = torch.rand(shape, dtype=torch.float64, device=device, generator=generator)
        return invert(prior.cumsum(-1), u)

    def prior_kl(self) -> Tensor:
        """Return KL(q(x_T | x_0) ‖ p(x_T)) for each clean state, (K,) float64 nats: the term L_T of equation 1."""
        Q, prior = self.cumulative(self.final_time), self.prior.cpu()
        terms = torch.where(Q > 0, Q * (Q.clamp(min=1e-300).log() - prior.log()), 0.0)
        return terms.sum(-1).clamp(min=0)

    # ------------------------------------------------------------------ unchecked, in log space: used in training

    def corrupt(self, x_0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x_t as `q_sample` does, trusting its input; t broadcasts against x_0."""
        return draw(self._log_rows(x_0, torch.zeros_like(t), t, torch.float32), generator)

    def advance(self, x_s: Tensor, s: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x_t ~ q(x_t | x_s), trusting its input; s and t broadcast against x_s."""
        return draw(self._log_rows(x_s, s, t, torch.float64), generator)

    def log_posterior(self, x_t: Tensor, x_0: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return log q(x_s | x_t, x_0), (..., K): equation 3, whose denominator is the normaliser."""
        joint = self._log_columns(x_t, s, t, dtype) + self._log_rows(x_0, torch.zeros_like(s), s, dtype)
        return joint.log_softmax(-1)

    def log_reverse(self, x_t: Tensor, log_p: Tensor, s: Tensor, t: Tensor, mode: Mode = "joint") -> Tensor:
        """Return log p_θ(x_s | x_t), (..., K): equation 4, (x_t Q_{s:t}ᵀ) ⊙ (p̃ Q̄_s), normalised.

        `log_p` is log p̃(x_0 | x_t), (..., K), normalised: here and in what follows. In mode "score" the net's logits.
        """
        if mode == "score":
            return self._log_reverse_of_score(x_t, self.log_score(x_t, log_p, t), s, t).log_softmax(-1)
        prediction = self.log_prediction(x_t, log_p, t, mode)
        zero, columns = torch.zeros_like(s), self._log_columns(x_t, s, t, prediction.dtype)
        joint = columns + self._log_product(prediction, zero, s)
        lost = joint.amax(-1, keepdim=True) < IMPOSSIBLE
        if bool(lost.any()):
            # p̃ gives no mass to any state that leads to x_t: the limit of a p̃ that gives a little to all of them.
            even = torch.full_like(prediction, -math.log(self.n_states))
            joint = torch.where(lost, columns + self._log_product(even, zero, s), joint)
        return joint.log_softmax(-1).to(log_p.dtype)

    def log_prediction(self, x_t: Tensor, log_p: Tensor, t: Tensor, mode: Mode) -> Tensor:
        """Return log p̃ as equation 4 wants it.

        The mixture is equation 4 with p̃(x_0) / q(x_t | x_0) in place of p̃, since Σ_{x_s} q(x_s, x_t | x_0) is
        q(x_t | x_0). States that cannot lead to x_t have no posterior to mix in and drop out. In float64, since it
        divides by probabilities down to 1e-308.
        """
        if mode == "joint":
            return log_p
        reach = self._log_columns(x_t, torch.zeros_like(t), t, torch.float64)
        return torch.where(reach > IMPOSSIBLE, log_p.double() - reach, FLOOR).log_softmax(-1)

    def kl(self, x_t: Tensor, x_0: Tensor, log_p: Tensor, s: Tensor, t: Tensor, mode: Mode = "joint") -> Tensor:
        """Return KL(q(x_s | x_t, x_0) ‖ p_θ(x_s | x_t)) in nats, one per position: L_{t-1} of equation 1.

        At s = 0 the posterior is certain and this is −log p_θ(x_0 | x_t), the "eq4" convention for L_0.
        """
        with torch.no_grad():
            log_q = self.log_posterior(x_t, x_0, s, t, log_p.dtype)
            q = log_q.exp()
            negative_entropy = torch.linalg.vecdot(q, log_q)
        return negative_entropy - torch.linalg.vecdot(q, self.log_reverse(x_t, log_p, s, t, mode))
