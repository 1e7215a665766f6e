"""Noise schedules: how much is corrupted by when.

Discrete schedules are float64 tensors of shape (T,): β_1 … β_T, or for processes that are matrix exponentials the
increments α_1 … α_T of the exponent. The two are one thing seen twice: β = 1 − exp(−α) (appendix A.6).
A `ContinuousSchedule` is the limit T → ∞: ᾱ(t), the probability that a token is still untouched at time t in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from d3pm.errors import OptionError, check_choice

__all__ = [
    "ContinuousSchedule",
    "cosine_betas",
    "inverse_betas",
    "linear_betas",
    "mutual_information_alphas",
]

LARGEST_EXPONENT = 1e5  # the paper's upper end [A.7]: exp(-1e5) is zero, all information is gone


def linear_betas(n_steps: int, start: float = 1e-4, stop: float = 0.02) -> Tensor:
    """Return β rising linearly from `start` to `stop`: the paper's choice for the discretised Gaussian [B.1].

    With few levels the paper's range scarcely mixes; scale `stop` up and look at the prior term L_T.

    Examples
    --------
    >>> linear_betas(3, 0.1, 0.3).tolist()
    [0.1, 0.2, 0.3]
    """
    _check_steps(n_steps)
    if not 0 <= start <= 1 or not 0 <= stop <= 1:
        message = f"`start` and `stop` must lie in [0, 1]; got {start} and {stop}."
        raise OptionError(message)
    return torch.from_numpy(np.linspace(start, stop, n_steps))


def cosine_betas(n_steps: int, s: float = 0.008, cap: float = 0.999) -> Tensor:
    """Return β_t = 1 − f(t)/f(t−1), f(t) = cos((t/T + s)/(1 + s) · π/2), capped: the paper's choice for uniform.

    `f` is not squared, as in the authors' code (the printed equation 18 has "+π/2", a misprint).
    """
    _check_steps(n_steps)
    f = np.cos((np.arange(n_steps + 1) / n_steps + s) / (1 + s) * np.pi / 2)
    return torch.from_numpy(np.minimum(1 - f[1:] / f[:-1], cap))


def inverse_betas(n_steps: int) -> Tensor:
    """Return β_t = 1/(T − t + 1), so that an absorbing process has masked a token by t with probability t/T."""
    _check_steps(n_steps)
    return torch.from_numpy(1.0 / (n_steps - np.arange(1, n_steps + 1) + 1))


def mutual_information_alphas(
    p0: Tensor | np.ndarray, n_steps: int, rate: Literal["uniform", "absorbing"] | Tensor | np.ndarray = "uniform"
) -> Tensor:
    """Return exponents' increments with 1 − I(x_t; x_0)/H(x_0) = t/T: information leaves at a steady pace [A.7].

    Parameters
    ----------
    p0 : tensor of shape (K,)
        Frequencies of the states in the training data.
    n_steps : int
        T.
    rate : {"uniform", "absorbing"} or tensor of shape (K, K)
        R of Q̄ = exp(ᾱ R); a matrix must be symmetric (`nearest_neighbour_rate`).

    Returns
    -------
    tensor of shape (T,)
        α_1 … α_T. At t = T no finite exponent destroys all information: the last cumulative exponent is 1e5.

    Notes
    -----
    Bisection on log ᾱ, about 60 evaluations per step: O(K) each for "uniform", O(K³) for a matrix. The paper instead
    interpolates 256 exponents. For "absorbing" the answer is known: `inverse_betas` [A.7].
    """
    _check_steps(n_steps)
    if isinstance(rate, str) and check_choice(rate, ("uniform", "absorbing"), "rate") == "absorbing":
        return -torch.log1p(-inverse_betas(n_steps)).clamp(max=LARGEST_EXPONENT)
    p = np.asarray(p0, dtype=np.float64)
    if p.ndim != 1 or (p < 0).any() or not math.isclose(p.sum(), 1.0, rel_tol=1e-6) or (p > 1 - 1e-12).any():
        message = "`p0` must be a vector of probabilities with at least two states in use. Count the training tokens."
        raise OptionError(message)
    p = p / p.sum()
    lost = _information_lost(p, rate)
    exponents, low = [], 1e-9
    for target in np.arange(1, n_steps) / n_steps:
        low = _bisect(lost, float(target), low, LARGEST_EXPONENT)
        exponents.append(low)
    exponents.append(LARGEST_EXPONENT)
    return torch.from_numpy(np.diff(exponents, prepend=0.0))


def _information_lost(p: np.ndarray, rate: str | Tensor | np.ndarray) -> Callable[[float], float]:
    """Return ᾱ ↦ 1 − I(x_t; x_0)/H(x_0), with I = H(x_t) − H(x_t | x_0)."""
    n_states = len(p)
    entropy_0 = _entropy(p)
    if isinstance(rate, str):

        def uniform(exponent: float) -> float:
            keep = math.exp(-exponent)
            spread = -math.expm1(-exponent) / n_states
            h_given = -(keep + spread) * math.log(keep + spread) - (n_states - 1) * _xlogx(spread)
            return 1 - (_entropy(keep * p + spread) - h_given) / entropy_0

        return uniform
    R = np.asarray(rate, dtype=np.float64)
    if R.shape != (n_states, n_states) or not np.allclose(R, R.T):
        message = f"`rate` must be a symmetric ({n_states}, {n_states}) matrix to match `p0`; got shape {R.shape}."
        raise OptionError(message)
    eigenvalues, U = np.linalg.eigh(R)

    def general(exponent: float) -> float:
        Q = np.clip((U * np.exp(exponent * eigenvalues)) @ U.T, 0.0, None)
        h_given = float(sum(weight * _entropy(row) for weight, row in zip(p, Q, strict=True) if weight > 0))
        return 1 - (_entropy(p @ Q) - h_given) / entropy_0

    return general


def _bisect(lost: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Solve lost(ᾱ) = target for the rising function `lost`, to machine precision in log ᾱ."""
    a, b = math.log(low), math.log(high)
    while b - a > 4e-16 * max(1.0, abs(a)):
        middle = (a + b) / 2
        if middle in (a, b):
            break
        if lost(math.exp(middle)) < target:
            a = middle
        else:
            b = middle
    return math.exp((a + b) / 2)


def _xlogx(x: float) -> float:
    return x * math.log(x) if x > 0 else 0.0


def _entropy(p: np.ndarray) -> float:
    used = p[p > 0]
    return float(-(used * np.log(used)).sum())


def _check_steps(n_steps: int) -> None:
    if not isinstance(n_steps, int) or n_steps < 1:
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
