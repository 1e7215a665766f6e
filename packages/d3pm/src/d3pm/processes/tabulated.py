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

from d3pm.fusion import fusible
from d3pm.processes.base import Mode, Process, log_positive
from d3pm.processes.checks import check_states
from d3pm.processes.logspace import invert_rows
from d3pm.processes.table_products import Divergence, LogProduct

__all__ = ["Tabulated"]

_TABLES = 1024  # cumulative products that are kept: all of the paper's T = 1000, none to multiply while training


class Tabulated(Process):
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
