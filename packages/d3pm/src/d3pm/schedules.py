"""Noise schedules: how much is corrupted by when.

Discrete schedules are float64 tensors of shape (T,): β_1 … β_T, or for processes that are matrix exponentials the
increments α_1 … α_T of the exponent. The two are one thing seen twice: β = 1 − exp(−α) (appendix A.6).
A `ContinuousSchedule` is the limit T → ∞: ᾱ(t), the probability that a token is still untouched at time t in [0, 1].
A `Clock` reads any of them: how far the exponent has come by a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from d3pm.errors import OptionError, check_choice, check_number

__all__ = ["Clock", "ContinuousSchedule", "alphas_of", "cosine_betas", "inverse_betas", "linear_betas"]

LARGEST_EXPONENT = 1e5  # the paper's upper end [A.7]: exp(-1e5) is zero, all information is gone


def linear_betas(n_steps: int, start: float = 1e-4, stop: float = 0.02) -> Tensor:
    """Return β rising linearly from `start` to `stop`: the paper's choice for the discretised Gaussian [B.1].

    With few levels the paper's range scarcely mixes; scale `stop` up and look at the prior term L_T.

    Examples
    --------
    >>> linear_betas(3, 0.1, 0.3).tolist()
    [0.1, 0.2, 0.3]
    """
    check_steps(n_steps)
    if not 0 <= start <= 1 or not 0 <= stop <= 1:
        message = f"`start` and `stop` must lie in [0, 1]; got {start} and {stop}."
        raise OptionError(message)
    return torch.from_numpy(np.linspace(start, stop, n_steps))


def cosine_betas(n_steps: int, s: float = 0.008, cap: float = 0.999) -> Tensor:
    """Return β_t = 1 − f(t)/f(t−1), f(t) = cos((t/T + s)/(1 + s) · π/2), capped: the paper's choice for uniform.

    `f` is not squared, as in the authors' code (the printed equation 18 has "+π/2", a misprint).

    Parameters
    ----------
    n_steps : int
    s : float, default=0.008
        At least 0.
    cap : float, default=0.999
        Largest β, above 0 and at most 1.
    """
    check_steps(n_steps)
    check_number(s, "s", 0)
    check_number(cap, "cap", 0, 1, above=True)
    f = np.cos((np.arange(n_steps + 1) / n_steps + s) / (1 + s) * np.pi / 2)
    return torch.from_numpy(np.minimum(1 - f[1:] / f[:-1], cap))


def inverse_betas(n_steps: int) -> Tensor:
    """Return β_t = 1/(T − t + 1), so that an absorbing process has masked a token by t with probability t/T."""
    check_steps(n_steps)
    return torch.from_numpy(1.0 / (n_steps - np.arange(1, n_steps + 1) + 1))


def alphas_of(betas: Tensor) -> Tensor:
    """Return the increments of the exponent that belong to β, −log(1 − β); 1e5 in place of infinity."""
    return (-torch.log1p(-betas)).clamp(max=LARGEST_EXPONENT)


def check_steps(n_steps: int) -> None:
    if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 1:
        message = f"`n_steps` must be a whole number of steps, at least 1; got {n_steps!r}."
        raise OptionError(message)


@dataclass(frozen=True)
class ContinuousSchedule:
    """ᾱ(t) for t in [0, 1], with ᾱ(0) = 1 and ᾱ(1) = 0 (or nearly so).

    Attributes
    ----------
    kind : {"linear", "cosine", "geometric"}
        "linear": ᾱ = 1 − t (the masking ratio is the time). "cosine": ᾱ = cos(π t / 2), which masks late.
        "geometric": exponent 1e-3 · (20000^t − 1), for matrix exponentials: slow at first, 20 in the end.
    """

    kind: Literal["linear", "cosine", "geometric"] = "linear"

    def __post_init__(self) -> None:
        check_choice(self.kind, ("linear", "cosine", "geometric"), "kind")

    def exponent(self, t: Tensor) -> Tensor:
        """Return −log ᾱ(t), in float64."""
        t = t.double()
        if self.kind == "linear":
            return -torch.log1p(-t)
        if self.kind == "cosine":
            return torch.where(t < 1, -torch.log(torch.cos(t * (math.pi / 2))), math.inf)
        start, ratio = 1e-3, 2e4
        return start * (torch.exp(math.log(ratio) * t) - 1)

    def rate(self, t: Tensor) -> Tensor:
        """Return the derivative of the exponent, −ᾱ'(t)/ᾱ(t): the rate of jumps at time t."""
        t = t.double()
        if self.kind == "linear":
            return 1 / (1 - t)
        if self.kind == "cosine":
            return (math.pi / 2) * torch.tan(t * (math.pi / 2))
        start, ratio = 1e-3, 2e4
        return start * math.log(ratio) * torch.exp(math.log(ratio) * t)


class Clock:
    """The exponent −log ᾱ_t at any time, from β_1 … β_T, from α_1 … α_T or from a `ContinuousSchedule`.

    Attributes
    ----------
    n_steps : int or None
        T; None in continuous time.
    alphas : tensor of shape (T,) or None
    """

    def __init__(self, schedule: ContinuousSchedule | None, alphas: Tensor | None) -> None:
        self._schedule, self.alphas = schedule, alphas
        self.n_steps = None if alphas is None else len(alphas)
        if alphas is not None:
            self._exponents = torch.cat([torch.zeros(1, dtype=torch.float64), alphas.cumsum(0)])

    @staticmethod
    def of_betas(betas: Tensor | ContinuousSchedule) -> Clock:
        """Return the clock of probabilities of a jump; after one of probability one the exponent is infinite."""
        if isinstance(betas, ContinuousSchedule):
            return Clock(betas, None)
        return Clock(None, -torch.log1p(-betas))

    @staticmethod
    def of_alphas(alphas: Any) -> Clock:
        """Return the clock of increments of the exponent, ≥ 0."""
        if isinstance(alphas, ContinuousSchedule):
            return Clock(alphas, None)
        values = torch.as_tensor(alphas, dtype=torch.float64).cpu()
        if values.ndim != 1 or not len(values) or not bool(((values >= 0) & (values < math.inf)).all()):
            message = f"`alphas` must be finite, ≥ 0 and of shape (T,); got {_summary(values)}. See d3pm.schedules."
            raise OptionError(message)
        return Clock(None, values)

    def exponent(self, t: Tensor) -> Tensor:
        """Return −log ᾱ_t, float64, in the shape of t."""
        if self._schedule is not None:
            return self._schedule.exponent(t)
        if self._exponents.device != t.device:
            self._exponents = self._exponents.to(t.device)
        return self._exponents[t]

    def passed(self, s: Tensor, t: Tensor) -> Tensor:
        """Return the exponent of Q_{s:t}: zero if no time has passed, even where both exponents are infinite."""
        return torch.where(s == t, 0.0, self.exponent(t) - self.exponent(s))

    def rate(self, t: Tensor) -> Tensor | None:
        """Return the derivative of the exponent; None in discrete time."""
        return None if self._schedule is None else self._schedule.rate(t)

    def fingerprint(self) -> Tensor:
        """Return the exponents at all times, or in continuous time at twelve."""
        if self._schedule is not None:
            return self._schedule.exponent(torch.linspace(0, 0.99, 12))
        return self._exponents

    def times(self, exponents: Tensor) -> Tensor:
        """Return the earliest t/T, float32, with such an exponent; on a grid of 1,000 in continuous time."""
        n = self.n_steps or 1000
        grid = torch.arange(n + 1, device=exponents.device)
        known = self.exponent(grid if self.n_steps else grid / n)
        return torch.searchsorted(known, exponents.clamp(max=float(known[-1]))).clamp(1, n).float() / n


def _summary(values: Tensor) -> str:
    shape = f"shape {tuple(values.shape)}"
    return (
        f"{shape} with values from {float(values.min()):.3g} to {float(values.max()):.3g}" if values.numel() else shape
    )
