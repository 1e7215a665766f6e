"""The eigendecomposition of a symmetric rate matrix: every power exp(α R) from one decomposition.

R = U Λ Uᵀ gives exp(α R) = U exp(α Λ) Uᵀ in O(K²) memory for all times; the paper caches exp(2^k α R) instead [A.4].
The rows of R sum to zero, so that the constant vector has eigenvalue zero. A numerical decomposition returns ±1e-16 for
it, which an exponent of 1e5 or of infinity turns into anything; here the constant vector is deflated first, and its
pair is exact. Rounding errors are absolute, of the order of 1e-16: everything is in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from d3pm.errors import OptionError

__all__ = ["Spectrum"]


@dataclass
class Spectrum:
    """A rate matrix and its eigenvectors.

    Attributes
    ----------
    rate : tensor of shape (K, K)
        R, its diagonal exactly minus the sum of the rest of the row up to rounding.
    eigenvalues : tensor of shape (K,)
        ≤ 0; the first is exactly zero.
    vectors : tensor of shape (K, K)
        U, in columns; the first is exactly constant.
    """

    rate: Tensor
    eigenvalues: Tensor
    vectors: Tensor

    @staticmethod
    def of_rate(rate: Any) -> Spectrum:
        """Decompose R: O(K³) time, once.

        Raises
        ------
        OptionError
            If R is no symmetric rate matrix, or its graph falls into several parts: no chain would leave its own, and
            the prior term L_T would not vanish.
        """
        R = _check_rate(torch.as_tensor(rate, dtype=torch.float64).cpu())
        n_states = len(R)
        # All eigenvalues lie in [−2 max|R_ii|, 0]; this puts the constant vector's below them, alone.
        shift = 3 * float(R.diagonal().abs().max())
        # By scipy's LAPACK: torch's takes nearly twice as long on processors that MKL does not favour.
        found = scipy.linalg.eigh((R - shift / n_states).numpy(), driver="evd", overwrite_a=True, check_finite=False)
        eigenvalues, vectors = (torch.from_numpy(np.ascontiguousarray(part)) for part in found)
        eigenvalues = eigenvalues.clamp(max=0)
        eigenvalues[0], vectors[:, 0] = 0.0, n_states**-0.5
        return Spectrum(R, eigenvalues, vectors)

    def decay(self, exponent: Tensor) -> Tensor:
        """Return exp(exponent Λ), (*exponent.shape, K); the exponent may be infinite."""
        return (exponent.clamp(max=1e30)[..., None] * self.eigenvalues).exp()

    def rows(self, states: Tensor, exponent: Tensor) -> Tensor:
        """Return exp(exponent R)[states, :], (*states.shape, K); the exponent broadcasts against the states."""
        return ((self.vectors[states] * self.decay(exponent)) @ self.vectors.mT).clamp(min=0)

    def apply(self, vectors: Tensor, exponent: Tensor) -> Tensor:
        """Return vectors exp(exponent R) for non-negative float64 vectors (..., K)."""
        return (((vectors @ self.vectors) * self.decay(exponent)) @ self.vectors.mT).clamp(min=0)

    def to(self, device: torch.device | str) -> Spectrum:
        """Return the spectrum on a device."""
        return Spectrum(self.rate.to(device), self.eigenvalues.to(device), self.vectors.to(device))


def _check_rate(R: Tensor) -> Tensor:
    if R.ndim != 2 or R.shape[0] != R.shape[1] or len(R) < 2:
        message = f"`rate` must be a symmetric (K, K) matrix, K ≥ 2; got shape {tuple(R.shape)}."
        raise OptionError(message)
    scale = float(R.abs().max())
    if not torch.allclose(R, R.mT, rtol=0, atol=1e-10 * (1 + scale)):
        difference = float((R - R.mT).abs().max())
        message = f"`rate` must be symmetric; R and Rᵀ differ by {difference:.3g}. Symmetrise: (G + G.T) / (2 k)."
        raise OptionError(message)
    off = R - torch.diag(R.diagonal())
    if bool((off < 0).any()) or float(R.sum(-1).abs().max()) > 1e-9 * (1 + scale):
        message = "`rate` must have entries ≥ 0 off its diagonal and rows that sum to 0. See nearest_neighbour_rate."
        raise OptionError(message)
    n_parts = connected_components(csr_array(off.numpy()), directed=False)[0]
    if n_parts > 1:
        message = (
            f"`rate` must connect all states; its graph falls into {n_parts} parts. Use more neighbours (larger k)."
        )
        raise OptionError(message)
    return off - torch.diag(off.sum(-1))
