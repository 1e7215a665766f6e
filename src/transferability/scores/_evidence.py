"""Maximum evidence of Bayesian linear regressions that share their design: one variable each, solved together."""

from __future__ import annotations

import math

import numpy as np

from transferability._array import FloatArray

__all__ = ["maximize_evidence"]

_MAX_ITERATIONS = 100
_TOLERANCE = 1e-11  # on log t; the evidence is flat there, so its own error is of the square


def maximize_evidence(
    sigma: FloatArray, squares: FloatArray, norms: FloatArray, residuals: FloatArray, n_samples: int
) -> tuple[FloatArray, bool, int]:
    """Return max over t of the profile evidence, per target.

    Parameters
    ----------
    sigma : (k,) positive
        Non-zero eigenvalues of X Xᵀ.
    squares : (k, m)
        Squared coordinates of the targets in the matching eigenvectors.
    norms : (m,) positive
        Squared norms of the targets.
    residuals : (m,)
        Squared norms of what lies outside the eigenvectors; positive unless k = n.
    n_samples : int

    Returns
    -------
    evidences : (m,)
        Log evidence, in nats, of all samples.
    converged : bool
    iterations : int
    """
    constant = -0.5 * n_samples * (1 + math.log(2 * math.pi))
    useless = 0.5 * n_samples * np.log(n_samples / norms)  # t → ∞: the features take no part
    if len(sigma) == 0:
        return useless + constant, True, 0
    sigma = sigma / sigma.max()

    # A grid finds the global maximum. For small t, a(t) ≈ r + t Σ x²/σ puts any maximum above r σ_min k / n |y|².
    low = math.log(float(sigma.min())) - math.log(1e10 * n_samples) - 2
    grid = np.linspace(low, math.log(1e8), 128)
    t = np.exp(grid)[:, None]
    fit = (t / (t + sigma)) @ squares + residuals  # (g, k) @ (k, m)
    volume = np.log1p(sigma / t).sum(axis=1, keepdims=True)
    profile = 0.5 * (n_samples * np.log(n_samples / fit) - volume)
    best = profile.argmax(axis=0)
    inner = (best > 0) & (best < len(grid) - 1)

    lower, upper = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    u = grid[best]
    iterations, step = 0, np.full(len(u), np.inf)
    while iterations < _MAX_ITERATIONS and (np.abs(step[inner]) > _TOLERANCE).any():
        slope, curvature = _derivatives(sigma, squares, residuals, n_samples, np.exp(u))
        lower, upper = np.where(slope > 0, u, lower), np.where(slope > 0, upper, u)
        with np.errstate(divide="ignore", invalid="ignore"):
            proposal = u - slope / curvature
        safe = (proposal > lower) & (proposal < upper) & (curvature < 0)
        proposal = np.where(safe, proposal, 0.5 * (lower + upper))
        step, u = proposal - u, proposal
        iterations += 1
    t = np.exp(u)
    fit = (squares * (t / (t + sigma[:, None]))).sum(axis=0) + residuals
    volume = np.log1p(sigma[:, None] / t).sum(axis=0)
    value = 0.5 * (n_samples * np.log(n_samples / fit) - volume)
    if len(sigma) == n_samples:  # t → 0: noise-free interpolation, finite because the kernel has full rank
        exact = (squares / sigma[:, None]).sum(axis=0)
        value = np.maximum(value, 0.5 * (n_samples * np.log(n_samples / exact) - np.log(sigma).sum()))
    converged = bool((np.abs(step[inner]) <= _TOLERANCE).all()) if inner.any() else True
    return np.maximum(value, useless) + constant, converged, iterations


def _derivatives(
    sigma: FloatArray, squares: FloatArray, residuals: FloatArray, n_samples: int, t: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """First and second derivative of twice the profile evidence in log t, (m,) each."""
    share = sigma[:, None] / (t + sigma[:, None])  # (k, m): what the data decide, against the prior
    loose = 1 - share
    weight = share * loose
    fit = (squares * loose).sum(axis=0) + residuals
    first = (squares * weight).sum(axis=0) / fit
    second = (squares * weight * (share - loose)).sum(axis=0) / fit
    return share.sum(axis=0) - n_samples * first, -weight.sum(axis=0) - n_samples * (second - first**2)
