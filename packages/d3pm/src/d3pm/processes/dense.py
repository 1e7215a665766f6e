"""Processes without a closed form: a table of cumulative products, made once in float64.

The table holds log Q̄_t for at most 1,024 times, evenly spaced, so that memory does not grow with T: at K = 256 it is
268 MB in float32. The few steps from such a time to another are multiplied when they are asked for. Logarithms of
float64 products keep entries down to 1e-308 even in a float32 table, and products of non-negative matrices lose no
relative accuracy, so that rare transitions keep their true weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d3pm.errors import OptionError
from d3pm.fusion import fusible
from d3pm.processes.base import Mode, Process, log_positive
from d3pm.processes.checks import check_states
from d3pm.processes.logspace import invert_rows
from d3pm.processes.table_products import Divergence, LogProduct

__all__ = ["BandDiagonal", "Custom", "DiscretizedGaussian"]

_TABLES = 1024  # cumulative products that are kept: all of the paper's T = 1000, none to multiply while training


class _Dense(Process):
    """What follows from the matrices Q_1 … Q_T."""

    def __init__(self, n_states: int, n_steps: int, table_dtype: torch.dtype) -> None:
        self.n_states, self.n_steps = check_states(n_states), n_steps
        self._stride = -(-n_steps // _TABLES)
        table = torch.empty(n_steps // self._stride + 1, n_states, n_states, dtype=table_dtype)
        product = torch.eye(n_states, dtype=torch.float64)
        table[0] = log_positive(product)
        for t in range(1, n_steps + 1):
            product = product @ self._matrices(torch.tensor([t]))[0]
            if t % self._stride == 0:
                table[t // self._stride] = log_positive(product)
        self._log_table = table
        self._last = product

    def _matrices(self, t: Tensor) -> Tensor:
        """Return Q_t for times (n,), (n, K, K) float64."""
        raise NotImplementedError

    def _log_cumulative(self, t: Tensor) -> Tensor:
        """Return log Q̄_t for times (n,), (n, K, K): from the last time in the table onwards."""
        if self._stride == 1:
            return self._log_table[t]
        known = t // self._stride
        rest = t - known * self._stride
        log_q = self._log_table[known]
        longest = int(rest.max()) if len(t) else 0
        if longest == 0:
            return log_q
        product = log_q.double().exp()
        for step in range(1, longest + 1):
            to_go = rest >= step
            product[to_go] = torch.bmm(product[to_go], self._matrices(known[to_go] * self._stride + step))
        return torch.where((rest > 0)[:, None, None], log_positive(product).to(log_q), log_q)

    def _log_steps(self, t: Tensor) -> Tensor:
        """Return log Q_t for times (n,), (n, K, K)."""
        return log_positive(self._matrices(t))

    def _step_columns(self, x: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return log Q_t[:, x], (*x.shape, K)."""
        raise NotImplementedError

    def _pick(self, s: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-matrices (n, K, K) and for each position the one it needs, an index shaped like x."""
        s, t = torch.broadcast_tensors(s, t)
        if bool((s == 0).all()):
            if self._stride == 1:
                return self._log_table, t.to(x.device).expand_as(x)
            times, index = t.to(x.device).unique(return_inverse=True)
            return self._log_cumulative(times), index.expand_as(x)
        pairs, index = torch.stack([s.flatten(), t.flatten()], -1).unique(dim=0, return_inverse=True)
        tables = torch.stack([log_positive(self.between(a, b)) for a, b in pairs.tolist()])
        return tables.to(self._log_table), index.reshape(t.shape).expand_as(x)

    def between(self, s: Any, t: Any) -> Tensor:
        """Return Q_{s+1} … Q_t, (K, K) float64."""
        s, t = int(s), int(t)
        device = self._log_table.device
        if s == 0:
            return self._log_cumulative(torch.tensor([t], device=device))[0].cpu().double().exp()
        product = torch.eye(self.n_states, dtype=torch.float64)
        for u in range(s + 1, t + 1):
            product = product @ self._matrices(torch.tensor([u], device=device))[0].cpu()
        return product

    def _log_rows(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        tables, index = self._pick(s, t, x)
        return tables[index, x].to(dtype)

    def _log_columns(self, x: Tensor, s: Tensor, t: Tensor, dtype: torch.dtype) -> Tensor:
        if bool((t - s == 1).all()):
            return self._step_columns(x, t, dtype)
        tables, index = self._pick(s, t, x)
        return tables.mT[index, x].to(dtype)

    def _log_product(self, log_p: Tensor, s: Tensor, t: Tensor) -> Tensor:
        if bool((s == t).all()):
            return log_p
        n = t.numel()  # one time for all, or one per example (per leading axes)
        tables, index = self._pick(s.reshape(-1), t.reshape(-1), t.reshape(-1))
        flat = log_p.reshape(n, -1, self.n_states)  # (n, positions, K)
        product: Tensor = LogProduct.apply(flat, tables[index].to(log_p.dtype))
        return product.reshape(log_p.shape)

    def kl(self, x_t: Tensor, x_0: Tensor, log_p: Tensor, s: Tensor, t: Tensor, mode: Mode = "joint") -> Tensor:
        """Return what `Process.kl` does, in half its passes over (…, K) and exact however certain the net is."""
        dtype = log_p.dtype
        log_p = self.log_prediction(x_t, log_p, t, mode)
        at, to = s.reshape(-1), t.reshape(-1)
        shape = (len(at), -1)  # (n, positions)
        terms: Tensor = Divergence.apply(
            log_p.reshape(*shape, self.n_states),
            self._log_cumulative(at).to(log_p.dtype),
            self._log_transposed(at, to).to(log_p.dtype),
            x_0.reshape(shape),
            x_t.reshape(shape),
        )
        return terms.reshape(x_t.shape).to(dtype)

    def _log_transposed(self, s: Tensor, t: Tensor) -> Tensor:
        """Return log Q_{s:t}ᵀ for times (n,), (n, K, K)."""
        if bool((t - s == 1).all()):
            return self._log_steps(t).mT
        tables, index = self._pick(s, t, t)
        return tables.mT[index]

    def corrupt(self, x_0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x_t by inversion: distribution functions once per example and state, searched for every position."""
        at = t.reshape(-1)
        cdf = self._log_cumulative(at).double().exp().cumsum(-1)  # (n, K, K)
        which = torch.arange(len(at), device=x_0.device).reshape(t.shape).expand_as(x_0)
        u = torch.rand(x_0.shape, dtype=torch.float64, device=x_0.device, generator=generator)
        return fusible(invert_rows)(cdf.reshape(-1, self.n_states), which * self.n_states + x_0, u)

    @property
    def stationary(self) -> Tensor:
        """Return the uniform law where Q̄_T is doubly stochastic, else the law of x_T from a uniform x_0."""
        law = self._last.cpu().mean(0)
        even = torch.full_like(law, 1 / self.n_states)
        return even if torch.allclose(law, even, rtol=0, atol=1e-12) else law / law.sum()


class _Toeplitz(_Dense):
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
        Largest jump; none by default.
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
        self.band = check_states(n_states) - 1 if band is None else band
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
        if self.betas.ndim != 1 or not len(self.betas) or not bool((self.betas >= 0).all()):
            message = f"`betas` must be non-negative, of shape (T,); got shape {tuple(self.betas.shape)}."
            raise OptionError(message)
        if not 1 <= width < check_states(n_states):
            message = f"`width` must be from 1 to K − 1 = {n_states - 1}; got {width}."
            raise OptionError(message)
        near = (torch.arange(n_states) <= width).double()
        super().__init__(n_states, self.betas[:, None] / n_states * near, table_dtype)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        return {"betas": self.betas, "width": torch.tensor(self.width)}


class Custom(_Dense):
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
        self._prior = None if prior is None else torch.as_tensor(prior, dtype=torch.float64).cpu()
        super().__init__(Q.shape[1], len(Q), table_dtype)
        if self._prior is not None and (
            self._prior.shape != (self.n_states,) or abs(float(self._prior.sum()) - 1) > 1e-6 or self._prior.min() < 0
        ):
            message = f"`prior` must be probabilities of shape ({self.n_states},); got {tuple(self._prior.shape)}."
            raise OptionError(message)

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
