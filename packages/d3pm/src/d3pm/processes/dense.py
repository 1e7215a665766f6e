"""Processes without a closed form: Gaussian, band-diagonal, any list of matrices (`tabulated` has their table)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d3pm.errors import OptionError, check_number
from d3pm.processes.base import log_positive
from d3pm.processes.checks import check_law, check_states
from d3pm.processes.tabulated import Tabulated

__all__ = ["BandDiagonal", "Custom", "DiscretizedGaussian"]


class _Toeplitz(Tabulated):
    """Q_t[i, j] depends on |i − j| off the diagonal; the diagonal takes what is left of the row."""

    def __init__(self, n_states: int, off_diagonal: Tensor, table_dtype: torch.dtype) -> None:
        off_diagonal[:, 0] = 0.0
        self._by_distance = off_diagonal  # (T, K) float64, by distance
        # The row sum at i covers distances 1 … i to the left and 1 … K−1−i to the right.
        reached = off_diagonal.cumsum(-1)
        self._stay = 1 - reached - reached.flip(-1)  # (T, K)
        if bool((self._stay < -1e-12).any()):
            step = int((self._stay < -1e-12).any(-1).nonzero()[0, 0]) + 1
            message = f"`betas` must leave every row of Q_t a diagonal ≥ 0; step {step} moves more than it has."
            raise OptionError(message)
        self._stay = self._stay.clamp(min=0)
        states = torch.arange(n_states)
        self._distance = (states[:, None] - states[None, :]).abs()
        super().__init__(n_states, len(off_diagonal), table_dtype)

    def _matrices(self, t: Tensor) -> Tensor:
        return self._by_distance[t - 1][:, self._distance] + torch.diag_embed(self._stay[t - 1])

    def _log_steps(self, t: Tensor) -> Tensor:
        """Return log Q_t for times (n,), (n, K, K), symmetric: 2K logarithms for each time."""
        log_q = log_positive(self._by_distance[t - 1]).to(self._log_table)[:, self._distance]
        log_q.diagonal(dim1=1, dim2=2).copy_(log_positive(self._stay[t - 1]))
        return log_q

    def _step_columns(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        at = t.reshape(-1)  # (n,): one time per example
        which = torch.arange(len(at), device=x.device).reshape(t.shape).expand_as(x)
        return self._log_steps(at).to(dtype)[which, x]  # symmetric: columns are rows


class DiscretizedGaussian(_Toeplitz):
    r"""Jump mostly to near levels, for ordinal data [A.2.3, equation 8].

    .. math:: Q_{ij} = \frac{\exp(-4(i-j)^2/((K-1)^2 β))}{Σ_{n=-(K-1)}^{K-1} \exp(-4n^2/((K-1)^2 β))}, \quad i ≠ j

    and the diagonal takes the rest: symmetric, so the stationary law is uniform.

    Parameters
    ----------
    n_states : int
        K levels.
    betas : tensor of shape (T,)
        β_t > 0, not probabilities: variances in units of the squared range. `linear_betas` is the paper's choice at
        K = 256; with few levels it scarcely mixes, so scale it up and look at `prior_kl`.
    band : int, optional
        Largest jump, at least 1; K − 1 by default.
    table_dtype : torch.dtype, default=float64
        Of the table of cumulative products, at most 1,025 × K × K; float32 halves it.

    Notes
    -----
    The authors' image code has 255 in place of K − 1, right for 256 levels only; its text code uses K.
    """

    kind = "gaussian"

    def __init__(
        self, n_states: int, betas: Any, band: int | None = None, table_dtype: torch.dtype = torch.float64
    ) -> None:
        self.betas = torch.as_tensor(betas, dtype=torch.float64).cpu()
        if self.betas.ndim != 1 or not len(self.betas) or not bool((self.betas > 0).all()):
            message = f"`betas` must be positive variances of shape (T,); got shape {tuple(self.betas.shape)}."
            raise OptionError(message)
        self.band = check_states(n_states) - 1 if band is None else check_number(band, "band", 1, whole=True)
        distance = torch.arange(n_states, dtype=torch.float64)
        log_w = -4 * distance**2 / ((n_states - 1) ** 2 * self.betas[:, None])  # (T, K)
        weight = log_w.exp() * (distance <= self.band)
        super().__init__(n_states, weight / (2 * weight.sum(-1, keepdim=True) - 1), table_dtype)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        return {"betas": self.betas, "band": torch.tensor(self.band)}


class BandDiagonal(_Toeplitz):
    """Jump evenly to the levels at most `width` away, β/K each [A.2.5].

    Parameters
    ----------
    n_states : int
    betas : tensor of shape (T,)
    width : int
        v: the largest jump.
    table_dtype : torch.dtype, default=float64
    """

    kind = "band"

    def __init__(self, n_states: int, betas: Any, width: int, table_dtype: torch.dtype = torch.float64) -> None:
        self.betas, self.width = torch.as_tensor(betas, dtype=torch.float64).cpu(), width
        if (
            self.betas.ndim != 1
            or not len(self.betas)
            or not bool(((self.betas >= 0) & (self.betas < torch.inf)).all())
        ):
            message = f"`betas` must be finite, non-negative and of shape (T,); got shape {tuple(self.betas.shape)}."
            raise OptionError(message)
        check_number(width, "width", 1, check_states(n_states) - 1, whole=True)
        near = (torch.arange(n_states) <= width).double()
        super().__init__(n_states, self.betas[:, None] / n_states * near, table_dtype)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        return {"betas": self.betas, "width": torch.tensor(self.width)}


class Custom(Tabulated):
    """A user's own transition matrices.

    Parameters
    ----------
    transitions : tensor of shape (T, K, K)
        Q_1 … Q_T, rows summing to 1.
    prior : tensor of shape (K,), optional
        p(x_T); by default uniform for doubly stochastic products, else the law of x_T from a uniform x_0.
    table_dtype : torch.dtype, default=float64
    """

    kind = "custom"

    def __init__(self, transitions: Any, prior: Any = None, table_dtype: torch.dtype = torch.float64) -> None:
        Q = torch.as_tensor(transitions, dtype=torch.float64).cpu()
        if Q.ndim != 3 or Q.shape[1] != Q.shape[2] or not len(Q):
            message = f"`transitions` must have shape (T, K, K); got {tuple(Q.shape)}. One matrix for all: expand it."
            raise OptionError(message)
        sums = Q.sum(-1)
        if bool((Q < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-5):
            message = (
                f"`transitions` must be non-negative with rows that sum to 1; got row sums {float(sums.min()):.6g} "
                f"to {float(sums.max()):.6g} and a least entry of {float(Q.min()):.3g}. Rows are x_{{t-1}}: transpose?"
            )
            raise OptionError(message)
        self._transitions = Q / sums[..., None]  # float32 input sums to 1 only nearly
        self._prior = None if prior is None else check_law(prior, Q.shape[1], "prior")
        super().__init__(Q.shape[1], len(Q), table_dtype)

    def _matrices(self, t: Tensor) -> Tensor:
        return self._transitions[t - 1]

    def _step_columns(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        columns = self._transitions.mT[(t - 1).expand_as(x), x]
        return log_positive(columns).to(dtype)

    @property
    def stationary(self) -> Tensor:
        """Return the prior given, or what the matrices imply."""
        return super().stationary if self._prior is None else self._prior

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        return {"transitions": self._transitions}
