"""Transitions exp(α_t R) for a symmetric rate matrix R: tokens wander to their nearest neighbours in embedding space.

One eigendecomposition R = U Λ Uᵀ gives every power, exp(α R) = U exp(α Λ) Uᵀ, in O(K²) memory whatever T is; the paper
caches exp(2^k α R) instead [A.4]. The decomposition is applied to vectors in float64, since its rounding error is
absolute and rare transitions would drown in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d3pm.errors import OptionError
from d3pm.processes.base import FLOOR, Process, log_positive
from d3pm.schedules import ContinuousSchedule

__all__ = ["NearestNeighbour", "nearest_neighbour_graph", "nearest_neighbour_rate", "sinkhorn_matrix"]


class NearestNeighbour(Process):
    """Q_t = exp(α_t R) [A.2.4].

    Parameters
    ----------
    rate : tensor of shape (K, K)
        R: symmetric, rows summing to 0, off-diagonal entries ≥ 0. `nearest_neighbour_rate` makes one.
    alphas : tensor of shape (T,) or ContinuousSchedule
        Increments of the exponent, ≥ 0; `mutual_information_alphas` is the paper's choice.

    Raises
    ------
    OptionError
        If R is no symmetric rate matrix, or its graph has several components: no chain would leave its own, and the
        prior term L_T would not vanish.
    """

    kind = "nearest_neighbour"

    def __init__(self, rate: Any, alphas: Any) -> None:
        R = torch.as_tensor(rate, dtype=torch.float64).cpu()
        self.rate = _check_rate(R)
        self.n_states = len(R)
        self._schedule = alphas if isinstance(alphas, ContinuousSchedule) else None
        if self._schedule is None:
            self.alphas = torch.as_tensor(alphas, dtype=torch.float64).cpu()
            if self.alphas.ndim != 1 or not len(self.alphas) or not bool((self.alphas >= 0).all()):
                message = f"`alphas` must be non-negative, of shape (T,); got shape {tuple(self.alphas.shape)}."
                raise OptionError(message)
            self._exponents = torch.cat([torch.zeros(1, dtype=torch.float64), self.alphas.cumsum(0)])
            self.n_steps: int | None = len(self.alphas)
        else:
            self.n_steps = None
        eigenvalues, self._U = torch.linalg.eigh(R)
        self._eigenvalues = eigenvalues.clamp(max=0)  # the largest is 0, up to rounding
        if int((self._eigenvalues > -1e-9 * (1 + eigenvalues.abs().max())).sum()) > 1:
            message = (
                "`rate` must connect all states; its graph falls into several parts. Use more neighbours (larger k)."
            )
            raise OptionError(message)

    def _exponent(self, t: Tensor) -> Tensor:
        return (
            self._schedule.exponent(t) if self._schedule else self._exponents[t.to(self._exponents.device)].to(t.device)
        )

    def _apply(self, vectors: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Return vectors Q_{s:t} for float64 vectors (..., K)."""
        passed = (self._exponent(t) - self._exponent(s))[..., None]
        decay = (passed.clamp(max=1e30) * self._eigenvalues).exp()  # (..., K), broadcasts against the vectors
        return ((vectors @ self._U) * decay) @ self._U.mT

    def _log_rows(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        passed = (self._exponent(t) - self._exponent(s))[..., None]
        decay = (passed.clamp(max=1e30) * self._eigenvalues).exp()
        rows = log_positive((self._U[x] * decay) @ self._U.mT)
        # Not a step at all: the identity, without its rounding errors.
        at_x = torch.full_like(rows, FLOOR).scatter_(-1, x[..., None], 0.0)
        return torch.where(passed > 0, rows, at_x).to(dtype)

    def _log_columns(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        return self._log_rows(x, s, t, dtype)  # symmetric

    def _log_product(self, log_p: Tensor, s: Tensor, t: Tensor) -> Tensor:
        moved = self._apply(log_p.double().exp(), s, t).clamp(min=1e-300).log().to(log_p.dtype)
        passed = (self._exponent(t) - self._exponent(s))[..., None]
        return torch.where(passed > 0, moved, log_p)

    def _log_rates(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        if self._schedule is None:
            return super()._log_rates(x, t, dtype)
        return (log_positive(self.rate[x]) + self._schedule.rate(t).log()[..., None]).to(dtype)

    @property
    def prior(self) -> Tensor:
        """Return the uniform law, stationary since R is symmetric."""
        return torch.full((self.n_states,), 1 / self.n_states, dtype=torch.float64)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        grid = self._exponents if self._schedule is None else self._schedule.exponent(torch.linspace(0, 0.99, 12))
        return {"rate": self.rate, "exponents": grid}


def nearest_neighbour_graph(embeddings: Any, n_neighbours: int, *, normalise: bool = True) -> Tensor:
    """Return G, (K, K): G[i, j] = 1 where i is among the nearest neighbours of j, itself excluded [A.2.4].

    Parameters
    ----------
    embeddings : tensor of shape (K, d)
    n_neighbours : int
        k.
    normalise : bool, default=True
        Bring the embeddings to unit length first, as the authors' text code does.
    """
    E = torch.as_tensor(embeddings, dtype=torch.float64)
    if E.ndim != 2 or not 1 <= n_neighbours < len(E):
        message = (
            f"`n_neighbours` must be from 1 to K − 1 of embeddings (K, d); got {n_neighbours} and {tuple(E.shape)}."
        )
        raise OptionError(message)
    if normalise:
        E = E / E.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    distances = torch.cdist(E, E, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest = distances.argsort(dim=-1, stable=True)[:, :n_neighbours]  # (K, k): the neighbours of j in row j
    return torch.zeros_like(distances).scatter_(-1, nearest, 1.0).mT.contiguous()


def nearest_neighbour_rate(embeddings: Any, n_neighbours: int, *, normalise: bool = True) -> Tensor:
    """Return R with off-diagonal (G + Gᵀ)/(2k) and rows that sum to 0 [A.2.4]; see `nearest_neighbour_graph`."""
    G = nearest_neighbour_graph(embeddings, n_neighbours, normalise=normalise)
    A = (G + G.mT) / (2 * n_neighbours)
    return A - torch.diag(A.sum(-1))


def sinkhorn_matrix(graph: Any, n_sweeps: int = 100) -> Tensor:
    """Return G + Gᵀ scaled towards a doubly stochastic matrix, columns last: the authors' alternative.

    Rows sum to 1 only approximately on graphs without total support; transpose it for a matrix whose rows do, and use
    Q_t = (1 − β_t) I + β_t M as a `Custom` process. `NearestNeighbour` has no such defect.
    """
    M = torch.as_tensor(graph, dtype=torch.float64)
    M = M + M.mT
    for _ in range(n_sweeps):
        M = M / M.sum(-1, keepdim=True)
        M = M / M.sum(-2, keepdim=True)
    return M


def _check_rate(R: Tensor) -> Tensor:
    off = R - torch.diag(R.diagonal())
    scale = float(R.abs().max()) if R.numel() else 0.0
    if R.ndim != 2 or R.shape[0] != R.shape[1] or not torch.allclose(R, R.mT, rtol=0, atol=1e-10 * (1 + scale)):
        message = (
            f"`rate` must be a symmetric (K, K) matrix; got shape {tuple(R.shape)}. Symmetrise: (G + G.T) / (2 k)."
        )
        raise OptionError(message)
    if bool((off < 0).any()) or float(R.sum(-1).abs().max()) > 1e-9 * (1 + scale):
        message = "`rate` must have entries ≥ 0 off its diagonal and rows that sum to 0. See nearest_neighbour_rate."
        raise OptionError(message)
    return R
