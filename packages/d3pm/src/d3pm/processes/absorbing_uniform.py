"""Masks and uniform noise at once, of which BERT's objective is one step [§4, A.2.6]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d3pm.errors import OptionError
from d3pm.processes.base import log_positive
from d3pm.processes.checks import check_betas, check_mask, check_states
from d3pm.processes.closed import Closed

__all__ = ["AbsorbingUniform"]


class AbsorbingUniform(Closed):
    """Mask with probability a_t, scatter with probability b_t: Q_t = (1 − a − b) I + a 1e_mᵀ + b 11ᵀ/K [A.2.6].

    With T = 1, a = 0.1 and b = 0.05 the loss is BERT's [§4].

    Parameters
    ----------
    n_states : int
        K, the mask included.
    mask_betas, uniform_betas : tensors of shape (T,)
        a and b; a + b ≤ 1.
    mask : int, optional
        State m; K − 1 by default.

    Notes
    -----
    The stationary law is not known beforehand; `prior` is the law of x_T from a uniform token, which leaves L_T of the
    order of ᾱ_T.
    """

    kind = "absorbing_uniform"

    def __init__(self, n_states: int, mask_betas: Any, uniform_betas: Any, mask: int | None = None) -> None:
        self.n_states = check_states(n_states)
        self.mask_betas, self.uniform_betas = check_betas(mask_betas), check_betas(uniform_betas)
        if len(self.mask_betas) != len(self.uniform_betas) or bool((self.mask_betas + self.uniform_betas > 1).any()):
            message = (
                "`mask_betas` and `uniform_betas` must have one length and sum to at most 1 at every step; "
                f"got lengths {len(self.mask_betas)} and {len(self.uniform_betas)}."
            )
            raise OptionError(message)
        if not bool((self.mask_betas + self.uniform_betas > 0).any()):
            message = "`mask_betas` and `uniform_betas` must move tokens in some step; all are zero."
            raise OptionError(message)
        self.n_steps = len(self.mask_betas)
        self.mask = check_mask(mask, self.n_states)
        keep, to_mask, to_any = 1.0, 0.0, 0.0
        table = [(keep, to_mask, to_any)]
        for a, b in zip(self.mask_betas.tolist(), self.uniform_betas.tolist(), strict=True):
            s = 1 - a - b
            keep, to_mask, to_any = keep * s, to_mask * s + a, to_any * s + b
            table.append((keep, to_mask, to_any))
        self._table = torch.tensor(table, dtype=torch.float64)  # (T + 1, 3)

    def _weights(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        table = self._table.to(t.device)
        one = torch.stack([1 - self.mask_betas - self.uniform_betas, self.mask_betas, self.uniform_betas], -1).to(
            t.device
        )
        at_s, at_t = table[s], table[t]  # (..., 3)
        keep = torch.where(at_s[..., 0] > 0, at_t[..., 0] / at_s[..., 0].clamp(min=1e-300), 0.0)
        # From s to t: what has arrived by t less what had arrived by s and was kept since. Exact for a single step.
        arrived = (at_t[..., 1:] - at_s[..., 1:] * keep[..., None]).clamp(min=0)
        many = torch.cat([keep[..., None], arrived], -1)
        weights = torch.where((t - s == 1)[..., None], one[(t - 1).clamp(min=0)], many)
        log_w = log_positive(weights)
        return log_w[..., 0], log_w[..., 1], log_w[..., 2]

    @property
    def stationary(self) -> Tensor:
        """Return the law at time T of a token that was uniform, and no mask."""
        keep, to_mask, to_any = (float(weight) for weight in self._table[-1])
        law = torch.full((self.n_states,), keep / (self.n_states - 1) + to_any / self.n_states, dtype=torch.float64)
        law[self.mask] = to_mask + to_any / self.n_states
        return law

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that define the process."""
        return {"a": self.mask_betas, "b": self.uniform_betas, "mask": torch.tensor(self.mask)}
