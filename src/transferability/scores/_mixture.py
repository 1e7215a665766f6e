"""Gaussian mixture with full covariances, by expectation–maximization from k-means.

The definition, stopping rule and regularisation are those of scikit-learn's `GaussianMixture`, which this does not use
because the core does not depend on it, and because most responsibilities are zero: components are updated from the
samples that they hold, which saves most of the work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from transferability._array import FloatArray, IntArray

__all__ = ["Mixture", "fit_mixture"]

_RIDGE = 1e-6
_TOLERANCE = 1e-3
_MAX_ITERATIONS = 100
_MAX_LLOYD_ITERATIONS = 50
_NEGLIGIBLE = 1e-12
_GROUP_ELEMENTS = 1 << 21
_ROWS = 128


@dataclass(frozen=True, eq=False)
class Mixture:
    """Fitted mixture.

    Attributes
    ----------
    responsibilities : (n_samples, n_components)
        Rows sum to one.
    converged : bool
        Whether the mean log likelihood rose by less than 1e-3 in the last step.
    iterations : int
    """

    responsibilities: FloatArray
    converged: bool
    iterations: int


def fit_mixture(points: FloatArray, n_components: int, rng: np.random.Generator) -> Mixture:
    """Fit a mixture to `points` (n, p), with n_components ≤ n."""
    assignment = _k_means(points, n_components, rng)
    responsibilities = np.zeros((len(points), n_components))
    responsibilities[np.arange(len(points)), assignment] = 1.0
    bound = -np.inf
    for iteration in range(1, _MAX_ITERATIONS + 1):
        densities = _weighted_log_densities(points, responsibilities)
        largest = densities.max(axis=1)
        densities -= largest[:, None]
        responsibilities = np.exp(densities, out=densities)  # in place: (n, C) is the largest array here
        sums = responsibilities.sum(axis=1)
        responsibilities /= sums[:, None]
        previous, bound = bound, float((np.log(sums) + largest).mean())
        if abs(bound - previous) < _TOLERANCE:
            return Mixture(responsibilities, True, iteration)
    return Mixture(responsibilities, False, _MAX_ITERATIONS)


def _weighted_log_densities(points: FloatArray, responsibilities: FloatArray) -> FloatArray:
    """Update every component and return log weight + log density of each sample under it, (n, C)."""
    n, n_components = responsibilities.shape
    group = max(1, _GROUP_ELEMENTS // points.shape[1] ** 2)  # components whose roots are multiplied at once
    result = np.empty((n, n_components))
    for first in range(0, n_components, group):
        part = slice(first, min(first + group, n_components))
        fitted = [_component(points, responsibilities[:, k]) for k in range(part.start, part.stop)]
        roots = np.concatenate([root for root, _, _ in fitted]).T  # (p, g p)
        shifts = np.concatenate([shift for _, shift, _ in fitted])  # (g p,)
        constants = np.array([constant for _, _, constant in fitted])
        for start in range(0, n, _ROWS):  # few rows: what is whitened stays in the cache until it is squared
            rows = slice(start, min(start + _ROWS, n))
            whitened = points[rows] @ roots
            whitened -= shifts
            by_component = whitened.reshape(len(whitened), len(fitted), -1)
            result[rows, part] = constants - 0.5 * np.einsum("igp,igp->ig", by_component, by_component)
    return result


def _component(points: FloatArray, column: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Fit one component; return R, R · mean with RᵀR the inverse covariance, and the log density at the mean."""
    n, p = points.shape
    held = np.flatnonzero(column > _NEGLIGIBLE)
    shares, own = column[held], points[held]
    mass = float(shares.sum()) + 10 * np.finfo(np.float64).eps
    mean = shares @ own / mass
    centred = own - mean
    covariance = (shares[:, None] * centred).T @ centred / mass
    covariance[np.arange(p), np.arange(p)] += _RIDGE
    root = scipy.linalg.cholesky(covariance, lower=True, check_finite=False)
    inverse = scipy.linalg.solve_triangular(root, np.eye(p), lower=True, check_finite=False)
    constant = np.log(mass / n) - 0.5 * p * np.log(2 * np.pi) - float(np.log(np.diagonal(root)).sum())
    return inverse, inverse @ mean, constant


def _k_means(points: FloatArray, n_clusters: int, rng: np.random.Generator) -> IntArray:
    """Lloyd's algorithm from a k-means++ start; every cluster keeps a sample."""
    norms = np.einsum("ij,ij->i", points, points)
    centres = np.empty((n_clusters, points.shape[1]))
    nearest = np.full(len(points), np.inf)
    for index in range(n_clusters):
        total = float(nearest.sum())
        if index and total > 0:
            chosen = int(np.searchsorted(np.cumsum(nearest), rng.random() * total))
        else:
            chosen = int(rng.integers(len(points)))
        centres[index] = points[min(chosen, len(points) - 1)]
        distances = norms - 2 * (points @ centres[index]) + float(centres[index] @ centres[index])
        np.minimum(nearest, np.maximum(distances, 0.0), out=nearest)
    assignment = np.full(len(points), n_clusters)  # a number that no cluster has
    for _ in range(_MAX_LLOYD_ITERATIONS):
        distances = points @ (-2 * centres.T)  # (n, C), squared, less |x|²
        distances += np.einsum("ij,ij->i", centres, centres)
        updated = distances.argmin(axis=1)
        counts = np.bincount(updated, minlength=n_clusters)
        # An empty cluster takes the sample that is worst served, from a cluster that can spare it.
        far = iter(np.argsort(-(distances[np.arange(len(points)), updated] + norms), kind="stable"))
        for empty in np.flatnonzero(counts == 0):
            sample = next(each for each in far if counts[updated[each]] > 1)
            counts[updated[sample]] -= 1
            counts[empty] += 1
            updated[sample] = empty
        if (updated == assignment).all():
            break
        assignment = updated
        centres = np.zeros_like(centres)
        np.add.at(centres, assignment, points)
        centres /= counts[:, None]
    return assignment
