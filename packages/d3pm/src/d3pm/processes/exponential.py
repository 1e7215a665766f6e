"""Transitions exp(α_t R) for a symmetric rate matrix R: tokens wander to their nearest neighbours in embedding space.

All powers come from one eigendecomposition (`d3pm.spectrum`), applied to vectors in float64: its rounding error is
absolute, and rare transitions would drown in float32.
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from d3pm.errors import OptionError
from d3pm.processes.base import FLOOR, Process, Time, log_positive
from d3pm.schedules import Clock
from d3pm.spectrum import Spectrum

__all__ = [
    "NearestNeighbour",
    "NearestNeighbourMask",
    "nearest_neighbour_graph",
    "nearest_neighbour_rate",
    "sinkhorn_matrix",
]


class NearestNeighbour(Process):
    """Q_t = exp(α_t R) [A.2.4].

    Parameters
    ----------
    rate : tensor of shape (K, K) or Spectrum
        R: symmetric, rows summing to 0, off-diagonal entries ≥ 0. `nearest_neighbour_rate` makes one.
    alphas : tensor of shape (T,) or ContinuousSchedule
        Increments of the exponent, ≥ 0; `mutual_information_alphas` is the paper's choice.

    Raises
    ------
    OptionError
        If R is no symmetric rate matrix, or its graph has several components.
    """

    kind = "nearest_neighbour"

    def __init__(self, rate: Any, alphas: Any) -> None:
        self.spectrum = rate if isinstance(rate, Spectrum) else Spectrum.of_rate(rate)
        self.n_states = len(self.spectrum.rate)
        self._clock = Clock.of_alphas(alphas)
        self.n_steps = self._clock.n_steps

    def _log_rows(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        passed = self._clock.passed(s, t)
        rows = log_positive(self.spectrum.rows(x, passed))
        # Not a step at all: the identity, without its rounding errors.
        at_x = torch.full_like(rows, FLOOR).scatter_(-1, x[..., None], 0.0)
        return torch.where(passed[..., None] > 0, rows, at_x).to(dtype)

    def _log_columns(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        return NearestNeighbour._log_rows(self, x, s, t, dtype)  # symmetric

    def _log_product(self, log_p: Tensor, s: Tensor, t: Tensor) -> Tensor:
        passed = self._clock.passed(s, t)
        moved = self.spectrum.apply(log_p.double().exp(), passed).clamp(min=1e-300).log().to(log_p.dtype)
        return torch.where(passed[..., None] > 0, moved, log_p)

    def _log_rates(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        rate = self._clock.rate(t)
        if rate is None:
            return super()._log_rates(x, t, dtype)
        return (log_positive(self.spectrum.rate[x]) + rate.log()[..., None]).to(dtype)

    def between(self, s: Time, t: Time) -> Tensor:
        """Return Q_{s+1} … Q_t, (K, K) float64."""
        device = self.spectrum.rate.device
        start, end = torch.as_tensor(s, device=device), torch.as_tensor(t, device=device)
        return self._log_rows(torch.arange(self.n_states, device=device), start, end, torch.float64).exp().cpu()

    def to(self, device: torch.device | str) -> Self:
        """Move the tables to a device, in place; return the process."""
        self.spectrum = self.spectrum.to(device)
        return super().to(device)

    @property
    def stationary(self) -> Tensor:
        """Return the uniform law, stationary since R is symmetric."""
        return torch.full((self.n_states,), 1 / self.n_states, dtype=torch.float64)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        return {"rate": self.spectrum.rate, "exponents": self._clock.fingerprint()}

    @property
    def stored(self) -> dict[str, Tensor]:
        """Return the rate matrix and the increments of the exponent."""
        alphas = self._clock.alphas
        return {"rate": self.spectrum.rate, **({} if alphas is None else {"alphas": alphas})}


class NearestNeighbourMask(NearestNeighbour):
    """Tokens wander to their neighbours, and from anywhere turn into a mask at a constant rate [A.2.6].

    The rate matrix is R − γ I on the tokens and γ into the mask, state K − 1, which keeps what it has. Wandering and
    masking are independent, so that exp(ᾱ R) only shrinks by e^{−γ ᾱ}.

    Parameters
    ----------
    rate : tensor of shape (K − 1, K − 1) or Spectrum
        R, of the tokens without the mask.
    alphas : tensor of shape (T,) or ContinuousSchedule
    mask_rate : float, default=1
        γ > 0, in the unit of R.
    """

    kind = "nearest_neighbour_mask"

    def __init__(self, rate: Any, alphas: Any, mask_rate: float = 1.0) -> None:
        super().__init__(rate, alphas)
        if not mask_rate > 0:
            message = f"`mask_rate` must be above 0; got {mask_rate}. Without masks use NearestNeighbour."
            raise OptionError(message)
        self.mask_rate, self.mask = float(mask_rate), self.n_states
        self.n_states += 1

    def _unmasked(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logs of the probabilities not to turn into a mask from s to t, and to do so."""
        passed = self.mask_rate * self._clock.passed(s, t)
        return (-passed).clamp(min=FLOOR), log_positive(-torch.expm1(-passed))

    def _log_rows(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        stay, masked = (w[..., None] for w in self._unmasked(s, t))
        is_mask = (x == self.mask)[..., None]
        tokens = super()._log_rows(x.clamp(max=self.mask - 1), s, t, torch.float64) + stay
        return torch.cat(
            [tokens.masked_fill(is_mask, FLOOR), torch.where(is_mask, 0.0, masked.expand(*x.shape, 1))], -1
        ).to(dtype)

    def _log_columns(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        stay, masked = (w[..., None] for w in self._unmasked(s, t))
        is_mask = (x == self.mask)[..., None]
        tokens = super()._log_columns(x.clamp(max=self.mask - 1), s, t, torch.float64) + stay
        return torch.cat([torch.where(is_mask, masked, tokens), torch.where(is_mask, 0.0, FLOOR).to(tokens)], -1).to(
            dtype
        )

    def _log_product(self, log_p: Tensor, s: Tensor, t: Tensor) -> Tensor:
        stay, masked = (w[..., None].to(log_p.dtype) for w in self._unmasked(s, t))
        tokens, at_mask = log_p[..., :-1], log_p[..., -1:]
        newly = masked + tokens.logsumexp(-1, keepdim=True)
        return torch.cat([super()._log_product(tokens, s, t) + stay, torch.logaddexp(at_mask, newly)], -1)

    def _log_rates(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        is_mask = (x == self.mask)[..., None]
        tokens = super()._log_rates(x.clamp(max=self.mask - 1), t, torch.float64)
        to_mask = (torch.log(self._clock.rate(t)) + math.log(self.mask_rate))[..., None]
        rates = torch.cat([torch.where(is_mask, to_mask, tokens), torch.full_like(tokens[..., :1], FLOOR)], -1)
        return rates.to(dtype)

    @property
    def stationary(self) -> Tensor:
        """Return the mask, and the uniform law for what has not been masked by T."""
        time = torch.as_tensor(self.final_time)
        stay, masked = (float(w.exp()) for w in self._unmasked(torch.zeros_like(time), time))
        return torch.tensor([stay / self.mask] * self.mask + [masked], dtype=torch.float64)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        return {**super().parameters, "mask_rate": torch.tensor(self.mask_rate)}


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
    graph = (distances <= distances.kthvalue(n_neighbours, dim=-1, keepdim=True).values).double()
    tied = graph.sum(-1) > n_neighbours  # rows in which states are equally far: those that come first count
    nearest = distances[tied].argsort(dim=-1, stable=True)[:, :n_neighbours]
    graph[tied] = torch.zeros_like(graph[tied]).scatter_(-1, nearest, 1.0)
    return graph.mT.contiguous()  # the neighbours of j were in row j


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
