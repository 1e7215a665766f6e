"""A Markov chain on tokens: the primitives that a process provides, its prior, its matrices, and what it checks.

Row convention throughout: Q[i, j] = q(x_t = j | x_{t-1} = i), rows sum to 1; time t = 1 … T, x_0 clean. A process in
continuous time has t in (0, 1] instead.
"""

from __future__ import annotations

import hashlib
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor

from d3pm.errors import OptionError
from d3pm.processes.checks import check_law, check_logits, check_time, check_tokens

__all__ = ["Chain", "Time"]

Time: TypeAlias = int | float | Tensor


class Chain:
    """A Markov chain on K states, applied to every position independently [§3].

    Attributes
    ----------
    kind : str
        Its name in recipes and checkpoints.
    n_states : int
        K.
    n_steps : int or None
        T; None in continuous time.
    """

    kind: str = "process"
    n_states: int
    n_steps: int | None
    fusible: bool = False  # whether its formulas may be compiled whole: none of them looks at its numbers

    # ------------------------------------------------------------------ what a subclass provides

    def _log_rows(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return log Q_{s:t}[x, :], (*x.shape, K); s and t broadcast against x."""
        raise NotImplementedError

    def _log_columns(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return log Q_{s:t}[:, x], (*x.shape, K)."""
        raise NotImplementedError

    def _log_product(self, log_p: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Return log (p Q_{s:t}) for log-probabilities log_p (*x.shape, K); s and t broadcast against x."""
        raise NotImplementedError

    def _log_rates(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return log R_t[:, x] of the rate matrix in continuous time, (*x.shape, K); the entry at x is unused."""
        message = f"A {self.kind} process has no continuous-time form; give it a ContinuousSchedule where it takes one."
        raise OptionError(message)

    @property
    def stationary(self) -> Tensor:
        """Return the law that the process tends to, (K,) float64."""
        raise NotImplementedError

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process, for its fingerprint."""
        raise NotImplementedError

    def log_score(self, x_t: Tensor, logits: Tensor, t: Tensor) -> Tensor:
        """Return log r^θ, (..., K), of a net that learns the ratios p_t(x_t with j in its place) / p_t(x_t) itself."""
        message = f"`mode` = 'score' needs a uniform or absorbing process in continuous time; this one is {self.kind}."
        raise OptionError(message)

    def _log_reverse_of_score(self, x_t: Tensor, log_score: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Return log p_θ(x_s | x_t) of such ratios, not normalised."""
        raise NotImplementedError

    # ------------------------------------------------------------------ where generation starts

    learned_prior: Tensor | None = None

    @property
    def prior(self) -> Tensor:
        """Return p(x_T), (K,) float64: the stationary law, or one that was learned."""
        return self.stationary if self.learned_prior is None else self.learned_prior

    def learn_prior(self, frequencies: Any) -> Self:
        """Start generation from the law of x_T in the training data, in place; return the process.

        p_0 Q̄_T minimises the mean of L_T over all laws of a token (the learned prior of the paper's footnote 5, in
        closed form), and leaves I(x_T; x_0) of it: what matters where T steps do not mix.

        Parameters
        ----------
        frequencies : tensor of shape (K,)
            Of the states in the training data. A millionth of uniform is mixed in, for states not seen.
        """
        p = check_law(frequencies, self.n_states, "frequencies")
        smooth = (1 - 1e-6) * p / p.sum() + 1e-6 / self.n_states
        time = torch.as_tensor(self.final_time)
        law = self._log_product(smooth.log(), torch.zeros_like(time), time).exp()
        self.learned_prior = law / law.sum()
        return self

    @property
    def stored(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint keeps, so that no schedule is computed twice."""
        return {}

    # ------------------------------------------------------------------ matrices, to look at

    def transition(self, t: Time) -> Tensor:
        """Return Q_t, (K, K) float64. Cost O(K²): to look at and to test, never needed to train."""
        time = self._check_time(t)
        return self.between(time - 1, time)

    def cumulative(self, t: Time) -> Tensor:
        """Return Q̄_t = Q_1 Q_2 … Q_t, (K, K) float64; Q̄_0 is the identity."""
        return self.between(0, self._check_time(t, zero=True))

    def between(self, s: Time, t: Time) -> Tensor:
        """Return Q_{s+1} … Q_t, (K, K) float64."""
        states = torch.arange(self.n_states)
        return self._log_rows(states, torch.as_tensor(s), torch.as_tensor(t), torch.float64).exp()

    # ------------------------------------------------------------------ checks and small change

    @property
    def final_time(self) -> int | float:
        """Return T, or 1.0 in continuous time."""
        return 1.0 if self.n_steps is None else self.n_steps

    def check_tokens(self, x: Any, argument: str = "x_0") -> Tensor:
        """Return x as int64 states from 0 to K − 1, else raise `TokenError`."""
        return check_tokens(x, self.n_states, argument)

    def check_logits(self, logits: Any, argument: str = "x0_logits") -> Tensor:
        """Return logits as a floating tensor over K states, else raise `TokenError`."""
        return check_logits(logits, self.n_states, argument)

    def _check_time(self, t: Time, *, zero: bool = False) -> Tensor:
        return check_time(t, self.n_steps, zero=zero)

    @staticmethod
    def spread(t: Tensor, x: Tensor) -> Tensor:
        """Give t of shape (B,) trailing axes of length one, so that it broadcasts against x of shape (B, …)."""
        return t.to(x.device).reshape(t.shape + (1,) * (x.ndim - t.ndim))

    def to(self, device: torch.device | str) -> Self:
        """Move the tables to a device, in place; return the process."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    def describe(self) -> dict[str, str | int | None]:
        """Return kind, K, T and a digest of the parameters: two processes with one description are the same."""
        digest = hashlib.sha256()
        learned = {} if self.learned_prior is None else {"learned_prior": self.learned_prior}
        for name, value in sorted({**self.parameters, **learned}.items()):
            digest.update(name.encode())
            # Rounded to nine digits: libraries of mathematics differ in the last one.
            digest.update("".join(f"{float(v):.9e}" for v in value.double().cpu().flatten()[:100_000]).encode())
        return {"kind": self.kind, "states": self.n_states, "steps": self.n_steps, "digest": digest.hexdigest()[:16]}
