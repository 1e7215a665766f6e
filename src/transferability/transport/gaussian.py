r"""Distances between Gaussians, in closed form: what transport becomes where only means and covariances are known.

For :math:`a = N(m_a, \Sigma_a)` and :math:`b = N(m_b, \Sigma_b)` with any roots :math:`G G^\top = \Sigma`, the optimal
coupling for the squared distance is Gaussian too. From the singular value decomposition
:math:`G_a^\top G_b = U s V^\top` it is

.. math::
    W_2^2(a, b) = \lVert m_a - m_b \rVert^2 + \operatorname{tr} \Sigma_a + \operatorname{tr} \Sigma_b - 2 \sum_k s_k,
    \qquad \operatorname{Cov}(a, b) = G_a U V^\top G_b^\top,

the Bures–Wasserstein distance [1]_. No inverse is taken, so singular covariances need no care.

What it says of samples: :math:`W_1 \le W_2` between the same two distributions; and between *any* distributions with
these means and covariances :math:`W_2` is at least that of the Gaussians (Gelbrich [2]_). The distance of the Gaussians
bounds neither :math:`W_1` of the samples from above nor from below.

References
----------
.. [1] Bhatia, Jain, Lim. On the Bures–Wasserstein distance between positive definite matrices. Expo. Math., 2019.
.. [2] Gelbrich. On a formula for the L² Wasserstein metric between measures on Euclidean and Hilbert spaces.
   Mathematische Nachrichten, 1990.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray

__all__ = ["GaussianCoupling", "couple_gaussians", "expected_loss_cost", "moment_distance"]


class GaussianCoupling(NamedTuple):
    """The optimal coupling of two Gaussians."""

    value: float  # W_2², squared feature distance
    link: FloatArray  # U Vᵀ, (m_a, m_b): covariance of the standard normals behind a and b


def couple_gaussians(difference: FloatArray, root_a: FloatArray, root_b: FloatArray) -> GaussianCoupling:
    """Couple two Gaussians optimally for the squared Euclidean distance.

    Parameters
    ----------
    difference : array of shape (d,)
        Difference of the means.
    root_a, root_b : arrays of shape (d, m_a) and (d, m_b)
        Any G with ``G Gᵀ`` the covariance.

    Notes
    -----
    Cost O(m_a m_b (d + min(m_a, m_b))).

    Examples
    --------
    >>> import numpy as np
    >>> float(couple_gaussians(np.array([3.0]), np.array([[2.0]]), np.array([[6.0]])).value)  # 3² + (2 − 6)²
    25.0
    """
    left, singular, right = np.linalg.svd(root_a.T @ root_b, full_matrices=False)
    spread = float(np.vdot(root_a, root_a) + np.vdot(root_b, root_b)) - 2 * float(singular.sum())
    return GaussianCoupling(float(difference @ difference) + max(spread, 0.0), left @ right)


def moment_distance(
    mean_a: FloatArray, covariance_a: FloatArray, mean_b: FloatArray, covariance_b: FloatArray, weight: float
) -> float:
    r"""Return :math:`\Gamma = \lVert \mu_a - \mu_b \rVert_2^2 + \lambda \lVert \Sigma_a - \Sigma_b \rVert^2`.

    Eq. 5 of the paper, which writes the second norm as the first; it is taken as the Frobenius norm, that of the
    entries. ``weight`` is its λ (0.01 in the paper's experiments). Covariances are divided by n, not n − 1.

    Examples
    --------
    >>> import numpy as np
    >>> moment_distance(np.zeros(2), np.eye(2), np.ones(2), 2 * np.eye(2), 0.5)
    3.0
    """
    step, change = mean_a - mean_b, covariance_a - covariance_b
    return float(step @ step) + weight * float(np.vdot(change, change))


def expected_loss_cost(difference: FloatArray, covariance_root: FloatArray, label: int, normals: FloatArray) -> float:
    r"""Return :math:`\mathbb{E}[\max_k \Delta_k - \Delta_j]` for :math:`\Delta \sim N(\delta, G G^\top)`.

    Parameters
    ----------
    difference : array of shape (k,)
        δ, mean of target minus reference logits.
    covariance_root : array of shape (k, m)
        G, for the covariance of that difference under a coupling.
    label : int
        j.
    normals : array of shape (n, m)
        Standard normal draws the mean is taken over; the same for every call, so that results compare.

    Examples
    --------
    >>> import numpy as np
    >>> expected_loss_cost(np.array([1.0, 3.0]), np.zeros((2, 1)), 0, np.ones((4, 1)))
    2.0
    """
    moved = normals @ covariance_root.T + difference  # (n, k)
    return float((moved.max(axis=1) - moved[:, label]).mean())
