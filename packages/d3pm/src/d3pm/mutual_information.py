"""The mutual-information schedule: information about x_0 leaves at a steady pace [A.7].

Exponents ᾱ_t are chosen so that 1 − I(x_t; x_0)/H(x_0) = t/T for the frequencies p of the training data. For uniform
noise, and for rate matrices of few states, the equation is solved to machine precision. For many states the curve is
computed at exponents a factor of 2^(1/4) apart and interpolated monotonically, as the paper does at 256 exponents; with
thousands of states, on rows that stand for all by their frequency.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq
from torch import Tensor

from d3pm.errors import OptionError, check_choice
from d3pm.schedules import LARGEST_EXPONENT, alphas_of, check_steps, inverse_betas
from d3pm.spectrum import Spectrum

__all__ = ["mutual_information_alphas"]

SMALLEST_EXPONENT = 1e-9
_SOLVED = 64  # states up to which a matrix's equation is solved at every step
_ROWS = 512  # rows that stand for all where there are more than twice as many


def mutual_information_alphas(
    p0: Tensor | np.ndarray,
    n_steps: int,
    rate: Literal["uniform", "absorbing"] | Tensor | np.ndarray | Spectrum = "uniform",
    mask_rate: float = 0.0,
) -> Tensor:
    """Return exponents' increments with 1 − I(x_t; x_0)/H(x_0) = t/T [A.7].

    Parameters
    ----------
    p0 : tensor of shape (K,)
        Frequencies of the states in the training data.
    n_steps : int
        T.
    rate : {"uniform", "absorbing"}, tensor of shape (K, K) or Spectrum
        R of Q̄ = exp(ᾱ R); a matrix must be symmetric (`nearest_neighbour_rate`).
    mask_rate : float, default=0
        Rate at which a token also turns into a mask (`NearestNeighbourMask`).

    Returns
    -------
    tensor of shape (T,)
        α_1 … α_T. At t = T no finite exponent destroys all information: the last cumulative exponent is 1e5.

    Notes
    -----
    A matrix takes O(K³) for its eigenvectors, and O(min(K, 512) K²) for each of about a hundred exponents. For
    "absorbing" the answer is known: `inverse_betas` [A.7].
    """
    check_steps(n_steps)
    if isinstance(rate, str) and check_choice(rate, ("uniform", "absorbing"), "rate") == "absorbing":
        return alphas_of(inverse_betas(n_steps))
    p = np.asarray(p0, dtype=np.float64)
    if p.ndim != 1 or (p < 0).any() or not math.isclose(p.sum(), 1.0, rel_tol=1e-6) or (p > 1 - 1e-12).any():
        message = "`p0` must be a vector of probabilities with at least two states in use. Count the training tokens."
        raise OptionError(message)
    p = p / p.sum()
    targets = np.arange(1, n_steps) / n_steps
    if isinstance(rate, str):
        kept, solve = _kept_by_uniform(p), _solved
    else:
        spectrum = rate if isinstance(rate, Spectrum) else Spectrum.of_rate(rate)
        if len(spectrum.rate) != len(p):
            message = f"`rate` must have a row for each of the {len(p)} states of `p0`; got {len(spectrum.rate)}."
            raise OptionError(message)
        kept, solve = _kept_by_matrix(p, spectrum), _solved if len(p) <= _SOLVED else _interpolated
    exponents = solve(lambda a: 1 - math.exp(-mask_rate * a) * kept(a), targets)
    rising = np.maximum.accumulate(np.minimum(exponents, LARGEST_EXPONENT))
    return torch.from_numpy(np.diff([*rising, LARGEST_EXPONENT], prepend=0.0))


def _kept_by_uniform(p: np.ndarray) -> Callable[[float], float]:
    """Return ᾱ ↦ I(x_t; x_0)/H(x_0), with I = H(x_t) − H(x_t | x_0)."""
    n_states, entropy_0 = len(p), _entropy(p)

    def kept(exponent: float) -> float:
        keep = math.exp(-exponent)
        spread = -math.expm1(-exponent) / n_states
        h_given = -(keep + spread) * math.log(keep + spread) - (n_states - 1) * _xlogx(spread)
        return (_entropy(keep * p + spread) - h_given) / entropy_0

    return kept


def _kept_by_matrix(p: np.ndarray, spectrum: Spectrum) -> Callable[[float], float]:
    """Return the same for exp(ᾱ R), H(x_t | x_0) from all rows in use, or from 512 drawn evenly by their frequency."""
    entropy_0, all_p = _entropy(p), torch.from_numpy(p)
    states = np.flatnonzero(p)
    weights = p[states]
    if len(states) > 2 * _ROWS:
        drawn = np.searchsorted(np.cumsum(weights), (np.arange(_ROWS) + 0.5) / _ROWS)
        states, counts = np.unique(states[np.minimum(drawn, len(states) - 1)], return_counts=True)
        weights = counts / _ROWS
    rows, row_weights = torch.from_numpy(states), torch.from_numpy(weights)

    def kept(exponent: float) -> float:
        a = torch.tensor(exponent, dtype=torch.float64)
        given = torch.special.entr(spectrum.rows(rows, a)).sum(-1) @ row_weights
        return float(torch.special.entr(spectrum.apply(all_p, a)).sum() - given) / entropy_0

    return kept


def _solved(lost: Callable[[float], float], targets: np.ndarray) -> np.ndarray:
    """Solve lost(ᾱ) = target for the rising function `lost`, to machine precision in log ᾱ."""
    low, high, found = math.log(SMALLEST_EXPONENT), math.log(LARGEST_EXPONENT), []
    for target in targets:
        # Where little entropy is lost at once, or some is never lost, an end is as near as it gets.
        if lost(math.exp(low)) < target:
            reached = lost(LARGEST_EXPONENT) > target
            low = (
                brentq(lambda a, y=target: lost(math.exp(a)) - y, low, high, xtol=1e-15, rtol=9e-16)
                if reached
                else high
            )
        found.append(math.exp(low))
    return np.array(found)


def _interpolated(lost: Callable[[float], float], targets: np.ndarray) -> np.ndarray:
    """Return log ᾱ as a monotone spline of the information lost, from exponents a factor of 2^(1/4) apart."""
    if not len(targets):
        return targets
    a = 1e-4
    while lost(a) > targets[0] and a > SMALLEST_EXPONENT:
        a /= 2
    nodes = [(a, lost(a))]
    while nodes[-1][1] < targets[-1] and a < LARGEST_EXPONENT:
        # Wide steps as long as less than the first target is lost: nothing is read off there.
        a *= 2 if nodes[-1][1] < targets[0] / 4 else 2**0.25
        nodes.append((a, lost(a)))
    logs, values = np.log([a for a, _ in nodes]), np.maximum.accumulate([v for _, v in nodes])
    rising = np.concatenate([[True], np.diff(values) > 1e-12])
    known, spline = values[rising], PchipInterpolator(values[rising], logs[rising])
    return np.exp(spline(targets.clip(known[0], known[-1])))


def _xlogx(x: float) -> float:
    return x * math.log(x) if x > 0 else 0.0


def _entropy(p: np.ndarray) -> float:
    used = p[p > 0]
    return float(-(used * np.log(used)).sum())
