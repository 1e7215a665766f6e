"""Variational posteriors behind PACTran's Dirichlet and Gamma priors: one fixed point, iterated to convergence.

The authors alternate, with s the source probabilities and a⁰_y = α n_y / n,

    a_yz = a⁰_y + Σ_{i: y_i = y} q_iz,        q_iz ∝ s_iz e_{y_i z},

    Dirichlet: log e_yz = ψ(a_yz) − ψ(Σ_y a_yz),        Gamma: log e_yz = ψ(a_yz).

The (n, Z) responsibilities q never need to be formed: with samples in order of class, Σ_i q_iz is e_yz times one
matrix–vector product, and Σ_iz q_iz log(q_iz / s_iz) = Σ_yz (a_yz − a⁰_y) log e_yz − Σ_i log Σ_z s_iz e_{y_i z}.
"""

from __future__ import annotations

from dataclasses import dataclass

import array_api_compat
import numpy as np
from scipy.special import digamma, gammaln

from transferability._array import Array, FloatArray, IntArray, Namespace, as_numpy
from transferability.statistics._inputs import to_float64

__all__ = ["VariationalValue", "dirichlet_value", "gamma_value"]

_FLOOR = 1e-10
"""Added to s and a⁰ by the authors; part of the definition, for published numbers have it."""
_TOLERANCE = 1e-9
_MAX_ITERATIONS = 500


@dataclass(frozen=True)
class VariationalValue:
    """The bound, and how it was found."""

    value: float
    converged: bool
    iterations: int


@dataclass(frozen=True, eq=False)
class _FixedPoint:
    counts: FloatArray  # a, (K, Z)
    divergence: float  # Σ q log(q / s)
    converged: bool
    iterations: int


def dirichlet_value(
    xp: Namespace, probabilities: Array, labels: IntArray, alpha: float, max_iterations: int = _MAX_ITERATIONS
) -> VariationalValue:
    """PACTran-Dirichlet of checked input."""
    prior = _prior(labels, alpha)
    point = _iterate(xp, probabilities, labels, prior, max_iterations, dirichlet=True)
    log_prior = gammaln(prior.sum()) - gammaln(prior).sum()
    log_posterior = gammaln(point.counts.sum(axis=0)) - gammaln(point.counts).sum(axis=0)
    bound = float((log_prior - log_posterior).sum()) - point.divergence
    return VariationalValue(-bound / (len(labels) * len(prior)), point.converged, point.iterations)


def gamma_value(
    xp: Namespace, probabilities: Array, labels: IntArray, alpha: float, max_iterations: int = _MAX_ITERATIONS
) -> VariationalValue:
    """PACTran-Gamma of checked input."""
    prior = _prior(labels, alpha)
    point = _iterate(xp, probabilities, labels, prior, max_iterations, dirichlet=False)
    totals = xp.asarray(point.counts.sum(axis=0), device=array_api_compat.device(probabilities))
    normalizers = as_numpy(to_float64(xp, probabilities) @ totals)  # (n,)
    bound = float((gammaln(prior)[:, None] - gammaln(point.counts)).sum()) + point.divergence
    bound += float(np.log(normalizers).sum()) - len(labels)
    return VariationalValue(bound / (len(labels) * len(prior)) + 1, point.converged, point.iterations)


def _prior(labels: IntArray, alpha: float) -> FloatArray:
    counts = np.bincount(labels)
    prior: FloatArray = alpha * counts / counts.sum() + _FLOOR
    return prior


def _iterate(
    xp: Namespace, probabilities: Array, labels: IntArray, prior: FloatArray, max_iterations: int, *, dirichlet: bool
) -> _FixedPoint:
    device = array_api_compat.device(probabilities)
    order = np.argsort(labels, kind="stable")
    grouped = to_float64(xp, xp.take(probabilities, xp.asarray(order, device=device), axis=0))
    ends = np.cumsum(np.bincount(labels))
    groups = [grouped[end - size : end, :] for end, size in zip(ends, np.bincount(labels), strict=True)]

    counts = prior[:, None] + np.stack([as_numpy(xp.sum(group, axis=0)) for group in groups])
    for iteration in range(1, max_iterations + 1):
        expectations = digamma(counts) - (digamma(counts.sum(axis=0)) if dirichlet else 0.0)
        # A shift of a class's row cancels in q; without one a small prior would underflow.
        shifts = expectations.max(axis=1, keepdims=True)
        weights = np.exp(expectations - shifts)
        updated, log_sums = np.empty_like(counts), 0.0
        for label, group in enumerate(groups):
            row = xp.asarray(weights[label], device=device)
            sums = group @ row + _FLOOR * float(weights[label].sum())  # (n_y,)
            inverse = 1 / sums
            updated[label] = weights[label] * (as_numpy(inverse @ group) + _FLOOR * float(xp.sum(inverse)))
            log_sums += float(xp.sum(xp.log(sums))) + group.shape[0] * float(shifts[label, 0])
        divergence = float((updated * expectations).sum()) - log_sums
        updated += prior[:, None]
        change = float(np.abs(updated - counts).max()) / len(labels)
        if change <= _TOLERANCE or iteration == max_iterations:
            # The authors' last step updates q, not a: the two agree once converged.
            return _FixedPoint(counts, divergence, change <= _TOLERANCE, iteration)
        counts = updated
    raise AssertionError  # max_iterations ≥ 1
