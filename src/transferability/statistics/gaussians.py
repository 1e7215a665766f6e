r"""One Gaussian for each class, made of `ClassStatistics`: the model behind everything that has no samples.

.. math:: \Sigma_c = S_c / n_c \quad\text{(full)}, \qquad
          \Sigma_c \approx F_c F_c^\top + E_c\, R\, E_c \quad\text{(otherwise)}

with :math:`R` the correlation that all classes share, :math:`F_c F_c^\top` the Nyström approximation
:math:`Y_c (\Omega^\top Y_c)^+ Y_c^\top / n_c` of the sketch :math:`Y_c` (zero in the shared form), and :math:`E_c`
diagonal, such that the diagonal of :math:`\Sigma_c` is exact in every form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.statistics.classes import ClassStatistics, sketch_matrix

__all__ = ["ClassGaussians", "psd_factor", "psd_root"]

_RANK = 1e-13  # of the largest eigenvalue; below it there is nothing but rounding
_TRUSTED = 1e-10  # of the largest eigenvalue of a sketch's core; below it rounding speaks


@dataclass(frozen=True, eq=False)
class ClassGaussians:
    """Means and covariances of classes, the latter made only when asked for.

    Attributes
    ----------
    counts : int array of shape (n_classes,)
    means : array of shape (n_classes, n_features)
    covariances : array of shape (n_classes, n_features, n_features), or None
        In the full form.
    factors : array of shape (n_classes, n_features, rank), or None
        F, in the low-rank form.
    leftover : array of shape (n_classes, n_features), or None
        Diagonal of E, in the shared and low-rank forms.
    correlation : array of shape (n_features, n_features), or None
        R, in the same forms.
    """

    counts: IntArray
    means: FloatArray
    covariances: FloatArray | None = None
    factors: FloatArray | None = None
    leftover: FloatArray | None = None
    correlation: FloatArray | None = None

    @classmethod
    def of(cls, statistics: ClassStatistics, mean: FloatArray, scale: FloatArray) -> ClassGaussians:
        """Return the Gaussians of ``(z − mean) / scale``."""
        counts = statistics.counts
        means = (statistics.means - mean) / scale
        n = np.maximum(counts, 1)[:, None].astype(np.float64)
        if statistics.scatters is not None:
            covariances = statistics.scatters / n[:, :, None]
            covariances /= scale[:, None] * scale
            return cls(counts, means, covariances=covariances)
        factors = None if statistics.sketches is None else _nystrom(statistics) / scale[:, None]
        variances = statistics.diagonals / n / scale**2
        if factors is not None:
            variances = np.maximum(variances - np.einsum("cdr,cdr->cd", factors, factors), 0.0)
        inverse = np.diag(statistics.pooled).copy()
        inverse[inverse > 0] **= -0.5
        correlation = statistics.pooled * inverse[:, None] * inverse
        return cls(counts, means, factors=factors, leftover=np.sqrt(variances), correlation=correlation)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.counts)

    @property
    def n_features(self) -> int:
        """Dimension."""
        return int(self.means.shape[1])

    def take(self, classes: IntArray) -> ClassGaussians:
        """Return these classes, numbered anew."""
        covariances, factors, leftover = (
            None if part is None else part[classes] for part in (self.covariances, self.factors, self.leftover)
        )
        return ClassGaussians(
            self.counts[classes], self.means[classes], covariances, factors, leftover, self.correlation
        )

    def covariance(self, c: int) -> FloatArray:
        """Return the covariance of class `c`, (n_features, n_features)."""
        return self.projected(c, np.eye(self.n_features))

    def projected(self, c: int, matrix: FloatArray) -> FloatArray:
        """Return ``matrix Σ_c matrixᵀ`` without forming Σ_c: (k, n_features) -> (k, k)."""
        if self.covariances is not None:
            return _symmetric(matrix @ self.covariances[c] @ matrix.T)
        assert self.leftover is not None  # one of the two forms: see `of`
        scaled = matrix * self.leftover[c]
        product = scaled @ self.correlation @ scaled.T
        if self.factors is not None:
            low = matrix @ self.factors[c]
            product += low @ low.T
        return _symmetric(product)

    def root(self, c: int) -> FloatArray:
        """Return G with ``G Gᵀ = Σ_c``, (n_features, m); m is the rank, or a little more."""
        if self.covariances is not None:
            if c not in self._roots:
                self._roots[c] = psd_factor(self.covariances[c])
            return self._roots[c]
        assert self.leftover is not None  # one of the two forms: see `of`
        root = self.leftover[c][:, None] * self._correlation_root
        return root if self.factors is None else np.hstack([self.factors[c], root])

    def roots(self, classes: IntArray) -> Sequence[FloatArray]:
        """Return `root` of each of these classes, made when it is looked at: all at once may be too large."""
        return _Roots(self, classes)

    def draws(self, per_class: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
        """Return as many draws of each class, (n_classes · per_class, n_features), and their classes."""
        rows = []
        for c in range(self.n_classes):
            root = self.root(c)
            rows.append(self.means[c] + rng.standard_normal((per_class, root.shape[1])) @ root.T)
        return np.concatenate(rows), np.repeat(np.arange(self.n_classes), per_class)

    @cached_property
    def _roots(self) -> dict[int, FloatArray]:
        return {}

    @cached_property
    def _correlation_root(self) -> FloatArray:
        assert self.correlation is not None  # there is one wherever `leftover` is
        return psd_factor(self.correlation)


class _Roots(Sequence[FloatArray]):
    def __init__(self, gaussians: ClassGaussians, classes: IntArray) -> None:
        self.gaussians, self.classes = gaussians, classes

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, position: Any) -> Any:
        return self.gaussians.root(int(self.classes[position]))


def psd_root(matrix: FloatArray) -> FloatArray:
    """Return the symmetric square root of a positive semi-definite matrix; what rounding made negative counts as zero.

    Examples
    --------
    >>> import numpy as np
    >>> psd_root(np.array([[4.0, 0.0], [0.0, 0.0]])).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    values, basis = np.linalg.eigh(matrix)
    root: FloatArray = (basis * np.sqrt(np.maximum(values, 0.0))) @ basis.T
    return root


def psd_factor(matrix: FloatArray) -> FloatArray:
    """Return G with ``G Gᵀ`` the matrix and as few columns as its rank: fewer than d for classes of few samples.

    Examples
    --------
    >>> psd_factor(np.array([[4.0, 0.0], [0.0, 0.0]])).shape
    (2, 1)
    """
    values, basis = np.linalg.eigh(matrix)
    kept = values > _RANK * max(float(values[-1]), 0.0)
    factor: FloatArray = basis[:, kept] * np.sqrt(values[kept])
    return factor


def _symmetric(matrix: FloatArray) -> FloatArray:
    halved: FloatArray = (matrix + matrix.T) / 2
    return halved


def _nystrom(statistics: ClassStatistics) -> FloatArray:
    """Return F of each class, (n_classes, n_features, rank): ``F Fᵀ`` never exceeds the covariance it stands for."""
    sketches = statistics.sketches
    assert sketches is not None  # the low-rank form
    omega = sketch_matrix(statistics.n_features, statistics.rank)
    factors = np.zeros_like(sketches)
    for c in np.flatnonzero(statistics.counts):
        values, basis = np.linalg.eigh(_symmetric(omega.T @ sketches[c]))
        kept = values > _TRUSTED * max(float(values[-1]), 0.0)
        inverse = np.zeros_like(values)
        inverse[kept] = (values[kept] * statistics.counts[c]) ** -0.5
        factors[c] = (sketches[c] @ basis) * inverse
    return factors
