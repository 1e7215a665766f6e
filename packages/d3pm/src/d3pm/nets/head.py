"""From a backbone's features to logits over the K states of x_0.

A backbone is a module `backbone(x_t, time, condition, attention_mask) -> (B, *space, width)` with an attribute `width`;
`space` is (H, W) for pictures and (N,) for text. Pictures with several channels have tokens (B, H, W, C) and features
per pixel. Texts may differ in length: `attention_mask` (B, N) is True at real positions, and what is computed there is
what would be computed without the others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d3pm.conventions import Conventions
from d3pm.errors import OptionError, check_choice, check_number
from d3pm.processes.base import FLOOR

__all__ = ["Denoiser", "TimeEmbedding", "truncated_logistic_logits"]


class TimeEmbedding(nn.Module):
    """Sinusoids of 1000 t for t in [0, 1], then a small perceptron; class labels are added where there are any.

    The last class, `n_classes`, is the null class: what the net is told where the class is not.
    """

    def __init__(self, width: int, n_classes: int = 0, *, time_free: bool = False, n_out: int | None = None) -> None:
        super().__init__()
        if check_number(width, "width", 2, whole=True) % 2:
            message = f"`width` must be even, for as many sines as cosines of time; got {width}."
            raise OptionError(message)
        self.width, self.time_free, n_out = width, time_free, n_out or width
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, n_out))
        self.n_classes = n_classes
        self.classes = nn.Embedding(n_classes + 1, n_out) if n_classes else None

    def forward(self, time: Tensor, condition: Tensor | None) -> Tensor:
        """Return (B, n_out); without a condition, for the null class."""
        half = self.width // 2
        frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
        angles = (torch.zeros_like(time) if self.time_free else 1000 * time)[:, None] * frequencies  # (B, width / 2)
        hidden = self.perceptron(torch.cat([angles.sin(), angles.cos()], -1))
        if self.classes is None:
            return hidden
        if condition is None:
            condition = torch.full((len(time),), self.n_classes, device=time.device)
        return hidden + self.classes(condition)


def _head(backbone: nn.Module, outputs: int) -> nn.Module:
    """Return the last layer; it starts at zero, so that the skip decides [B.1]. A backbone may have one of its own."""
    kernel = getattr(backbone, "head_kernel", 1)
    if kernel == 0:
        return nn.Identity()
    layer = nn.Linear(backbone.width, outputs)
    if kernel > 1:
        layer = _PictureHead(backbone.width, outputs, kernel, padding="same")
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _PictureHead(nn.Conv2d):
    """A convolution over features whose channels come last, (B, H, W, width)."""

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = super().forward(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return out


class Denoiser(nn.Module):
    """Backbone and head: the callable that losses and samplers ask for p̃(x_0 | x_t).

    Parameters
    ----------
    backbone : nn.Module
    n_states : int
        K.
    n_channels : int or None, default=None
        Channels of a picture's tokens (B, H, W, C); None for tokens (B, *space).
    head : {"logits", "logistic"}, default="logits"
        K free logits, or the truncated discretised logistic of appendix A.8, which knows that levels are ordered.
    skip : {"learned", "constant", "none"}, default="learned"
        Add onehot(x_t) to the logits: times one as in the paper [B.1], or times a learned function of time. For uniform
        and Gaussian noise this is worth more than anything else in the net; absorbing processes can do without.
    forbid : int, optional
        A state that x_0 never takes: the mask, where it is a symbol of its own. Its probability is set to zero.
    conventions : Conventions, optional
        What loss, evaluation and sampling take the logits to mean.
    """

    def __init__(
        self,
        backbone: nn.Module,
        n_states: int,
        n_channels: int | None = None,
        head: str = "logits",
        skip: str = "learned",
        forbid: int | None = None,
        conventions: Conventions | None = None,
    ) -> None:
        super().__init__()
        self.head_kind = check_choice(head, ("logits", "logistic"), "head")
        self.skip_kind = check_choice(skip, ("learned", "constant", "none"), "skip")
        self.backbone, self.n_states, self.n_channels, self.forbid = backbone, n_states, n_channels, forbid
        self.conventions = conventions or Conventions()
        outputs = (n_channels or 1) * (n_states if head == "logits" else 2)
        self.out = _head(backbone, outputs)
        if self.skip_kind == "learned":
            self.skip_scale = nn.Sequential(TimeEmbedding(32), nn.SiLU(), nn.Linear(32, 1))
            nn.init.constant_(self.skip_scale[-1].bias, math.log(math.expm1(2.0)))  # softplus of it is 2

    @property
    def n_classes(self) -> int:
        """Return the number of classes, which is also the label of the null class; 0 without conditions."""
        return int(getattr(getattr(self.backbone, "time", None), "n_classes", 0))

    @property
    def time_free(self) -> bool:
        """Return whether the output ignores time, so that a sampler may keep it while x_t stays the same."""
        return bool(getattr(self.backbone, "time_free", False) and self.skip_kind != "learned")

    def forward(
        self, x_t: Tensor, time: Tensor, condition: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Return logits (*x_t.shape, K); what is at padding, where the mask is False, means nothing."""
        out = self.out(self.backbone(x_t, time, condition, attention_mask))  # (B, *space, C · K or C · 2)
        out = out.reshape(*x_t.shape, -1)  # (B, *space[, C], K or 2)
        if self.head_kind == "logistic":
            out = out.float()
            centre = 2 * x_t.to(out.dtype) / (self.n_states - 1) - 1
            logits = truncated_logistic_logits(torch.tanh(centre + out[..., 0]), out[..., 1], self.n_states)
        else:
            logits = out
        if self.skip_kind != "none" and self.head_kind == "logits":
            logits = logits.scatter_add(-1, x_t[..., None], self._skip(x_t, time, logits.dtype))
        if self.forbid is not None:
            logits = logits.index_fill(-1, torch.tensor([self.forbid], device=logits.device), FLOOR)
        return logits

    def _skip(self, x_t: Tensor, time: Tensor, dtype: torch.dtype) -> Tensor:
        if self.skip_kind == "constant":
            return torch.ones_like(x_t, dtype=dtype)[..., None]
        embedding, activation, linear = self.skip_scale
        scale = F.softplus(linear(activation(embedding(time, None))))  # (B, 1)
        return scale.to(dtype).reshape(-1, *(1,) * x_t.ndim).expand(*x_t.shape, 1)


def truncated_logistic_logits(mu: Tensor, log_scale: Tensor, n_states: int) -> Tensor:
    """Return logits of a logistic density cut into K bins on [−1, 1] and renormalised [A.8].

    Parameters
    ----------
    mu, log_scale : tensors of one shape (...)
        Centre, and log of the scale less 2.

    Returns
    -------
    tensor of shape (..., K)

    Notes
    -----
    log(σ(u) − σ(l)) = log σ(u) + log σ(−l) + log(1 − e^{l−u}), and u − l is the same for all bins, so the last summand
    is dropped: no subtraction of near-equal numbers, no epsilon (the official code adds 1e-6).
    """
    width = 2 / (n_states - 1)
    centres = torch.linspace(-1, 1, n_states, device=mu.device, dtype=mu.dtype)
    sharpness = torch.exp(-(log_scale - 2))[..., None]
    distance = centres - mu[..., None]  # (..., K)
    upper, lower = sharpness * (distance + width / 2), sharpness * (distance - width / 2)
    return F.logsigmoid(upper) + F.logsigmoid(-lower)
