r"""Ledoit–Wolf shrinkage of a covariance towards a multiple of the identity, from moments alone.

.. math:: \hat\Sigma_\alpha = (1 - \alpha)\,\hat\Sigma + \alpha \mu I, \qquad \hat\Sigma = S / n,\quad
          \mu = \operatorname{tr} \hat\Sigma / d

with the :math:`\alpha` that is asymptotically best in Frobenius norm [1]_.

References
----------
.. [1] Ledoit, Wolf. A well-conditioned estimator for large-dimensional covariance matrices. JMVA, 2004.
"""

from __future__ import annotations

from dataclasses import replace

from transferability._array import Array
from transferability.statistics._inputs import add_to_diagonal
from transferability.statistics.moments import ClassMoments
from transferability.statistics.roots import Rows

__all__ = ["ledoit_wolf_shrinkage", "shrunk_covariance", "shrunk_rows"]


def ledoit_wolf_shrinkage(moments: ClassMoments) -> float:
    """Return the shrinkage α in [0, 1]; 0 where the features do not vary.

    Equal to `sklearn.covariance.ledoit_wolf_shrinkage` on the same samples, but in one pass over a stream: the only
    sum over samples that it needs beside the covariance is that of the fourth powers of the norms.
    """
    n, d = moments.n_samples, moments.n_features
    scatter = moments.scatter
    trace = float(moments.xp.linalg.trace(scatter)) / n
    squares = float(moments.xp.sum(moments.xp.linalg.vecdot(scatter, scatter))) / n**2
    # ‖Σ − μI‖² is what there is to shrink, the sampling error of Σ how much of it should be.
    distance = squares - trace * trace / d
    error = (moments.fourth / n - squares) / n
    if distance <= 0:
        return 0.0 if error <= 0 else 1.0
    return max(0.0, min(error / distance, 1.0))


def shrunk_covariance(moments: ClassMoments, shrinkage: float) -> Array:
    """Return (1 − α) S / n + α tr(S) / (n d) I, (n_features, n_features)."""
    covariance = moments.scatter * ((1 - shrinkage) / moments.n_samples)
    return add_to_diagonal(moments.xp, covariance, shrinkage * _level(moments))


def shrunk_rows(rows: Rows, moments: ClassMoments, shrinkage: float) -> Rows:
    """Return rows of which the shrunk covariance is made, from those of the scatter."""
    return replace(rows, weight=(1 - shrinkage) / moments.n_samples, ridge=shrinkage * _level(moments))


def _level(moments: ClassMoments) -> float:
    return float(moments.xp.linalg.trace(moments.scatter)) / (moments.n_samples * moments.n_features)
