r"""The feature map between classes of which only means and covariances are known.

Three ways to price the way from the mapped target class :math:`f_\# T_i` to its reference class :math:`R_j`:

``euclidean``
    :math:`\tau W_2`, Bures–Wasserstein. The optimal coupling is Gaussian, so the best map for it is least squares in
    closed form: with :math:`C_i` its cross-covariance between reference and target,
    :math:`\bar A = (\sum_i p_i C_i + \dots)(\sum_i p_i \Sigma_i + \dots + \lambda I)^{-1}`. Alternate.
``gamma``
    :math:`\tau\Gamma`, Eq. 5 of the paper, by descent: :math:`\Gamma` is a polynomial in the map.
``loss``
    The mean loss cost in logit space, under the coupling that is optimal for the squared distance there. Pairs are
    drawn from that coupling, as many as the target class has samples, and `fit_margins` fits the map to them as it does
    to samples. The ridge is chosen by the cost between the Gaussians themselves, which the draws are a sample of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from transferability._array import FloatArray, IntArray
from transferability.relatedness.maps.feature_map import AffineMap, fit_margins
from transferability.statistics.gaussians import psd_root
from transferability.transport.gaussian import couple_gaussians

__all__ = ["ClassPairs", "fit_moments", "margin_step", "squares_step"]

_STEPS_PER_ROUND = 15  # of L-BFGS
_DESCENT_STEPS = 100


class ClassPairs(NamedTuple):
    """For each target class: the class whose map is sought, and the one it shall come close to."""

    weights: FloatArray  # (K_T,), sums to 1
    moving_means: FloatArray  # (K_T, d_in)
    moving_roots: Sequence[FloatArray]  # K_T of (d_in, m)
    fixed_means: FloatArray  # (K_T, d_out)
    fixed_roots: Sequence[FloatArray]  # K_T of (d_out, m)

    def spread(self) -> tuple[FloatArray, FloatArray]:
        """Return mean and covariance of all moving classes together."""
        mean = self.weights @ self.moving_means
        centred = self.moving_means - mean
        total = (centred.T * self.weights) @ centred
        for weight, root in zip(self.weights, self.moving_roots, strict=True):
            total += weight * (root @ root.T)
        return mean, total


def squares_step(pairs: ClassPairs, current: AffineMap, prior: AffineMap, ridge: float) -> AffineMap:
    """Couple the classes under the current map, and return the least-squares map for that coupling.

    Minimises ``Σ_i p_i E‖M x + m − y‖² + λ σ² ‖M − M_0‖²`` as `RidgeRegression` does for points, σ² being the mean
    variance of the moving features.
    """
    mean, total = pairs.spread()
    fixed_mean = pairs.weights @ pairs.fixed_means
    cross = ((pairs.fixed_means - fixed_mean).T * pairs.weights) @ (pairs.moving_means - mean)
    nowhere = np.zeros(len(fixed_mean))
    for weight, moving, fixed in zip(pairs.weights, pairs.moving_roots, pairs.fixed_roots, strict=True):
        link = couple_gaussians(nowhere, fixed, current.matrix @ moving).link
        cross += weight * (fixed @ link @ moving.T)
    damping = ridge * max(float(np.trace(total)) / len(total), 1e-12)
    damped = total + damping * np.eye(len(total))
    matrix = np.linalg.solve(damped, (cross + damping * prior.matrix).T).T
    return AffineMap(matrix, fixed_mean - matrix @ mean)


def margin_step(
    pairs: ClassPairs,
    labels: IntArray,
    current: AffineMap,
    prior: AffineMap,
    ridge: float,
    n_draws: IntArray,
    rng: np.random.Generator,
) -> AffineMap:
    """Draw pairs of target features and reference logits from the coupling under the current map, and fit margins.

    Parameters
    ----------
    pairs : ClassPairs
        From target features to logits.
    labels : array of int of shape (K_T,)
        The reference class of each target class.
    current, prior : AffineMap
        From features to logits.
    ridge : float
    n_draws : array of int of shape (K_T,)
        Pairs of each class.
    rng : numpy Generator
    """
    inputs, goals = [], []
    nowhere = np.zeros(pairs.fixed_means.shape[1])
    for i, n in enumerate(n_draws):
        moving, fixed = pairs.moving_roots[i], pairs.fixed_roots[i]
        link = couple_gaussians(nowhere, fixed, current.matrix @ moving).link  # (k, m)
        behind = rng.standard_normal((n, moving.shape[1]))
        rest = psd_root(np.eye(len(link)) - link @ link.T)
        ahead = behind @ link.T + rng.standard_normal((n, len(link))) @ rest
        inputs.append(pairs.moving_means[i] + behind @ moving.T)
        goals.append(pairs.fixed_means[i] + ahead @ fixed.T)
    return fit_margins(
        np.concatenate(inputs),
        np.concatenate(goals),
        np.repeat(labels, n_draws),
        np.repeat(pairs.weights / n_draws, n_draws),
        start=current,
        prior=prior,
        ridge=ridge,
        steps=_STEPS_PER_ROUND,
    )


def fit_moments(pairs: ClassPairs, prior: AffineMap, ridge: float, covariance_weight: float) -> AffineMap:
    r"""Minimise :math:`\sum_i p_i \Gamma(f_\# X_i, Y_i)` plus the ridge of `squares_step`, by L-BFGS.

    With :math:`\Gamma` of Eq. 5: squared distance of the means plus λ times that of the covariances. Cost per step
    O(K d³).
    """
    _, total = pairs.spread()
    damping = ridge * max(float(np.trace(total)) / len(total), 1e-12)
    moving = [root @ root.T for root in pairs.moving_roots]
    fixed = [root @ root.T for root in pairs.fixed_roots]
    d_out, d_in = prior.matrix.shape

    def objective(theta: FloatArray) -> tuple[float, FloatArray]:
        matrix, offset = theta[: d_out * d_in].reshape(d_out, d_in), theta[d_out * d_in :]
        steps = pairs.moving_means @ matrix.T + offset - pairs.fixed_means  # (K, d_out)
        pull = matrix - prior.matrix
        weighted = pairs.weights[:, None] * steps
        value = float((weighted * steps).sum()) + damping * float(np.vdot(pull, pull))
        slope = 2 * weighted.T @ pairs.moving_means + 2 * damping * pull
        for weight, ours, theirs in zip(pairs.weights, moving, fixed, strict=True):
            half = matrix @ ours
            change = half @ matrix.T - theirs
            value += covariance_weight * weight * float(np.vdot(change, change))
            slope += 4 * covariance_weight * weight * (change @ half)
        return value, np.concatenate([slope.ravel(), 2 * weighted.sum(axis=0)])

    start = np.concatenate([prior.matrix.ravel(), prior.offset])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _DESCENT_STEPS}).x
    return AffineMap(found[: d_out * d_in].reshape(d_out, d_in), found[d_out * d_in :])
