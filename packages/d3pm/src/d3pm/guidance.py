"""Classes of samples, and classifier-free guidance (arXiv 2207.12598): a class shows more clearly, and varies less."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from d3pm.checkpoint import Checkpoint
from d3pm.errors import OptionError, check_number
from d3pm.processes.base import FLOOR

__all__ = ["Guided", "class_labels", "guided"]


class Guided:
    r"""A conditional denoiser whose opinion is pushed away from that of the null class.

    .. math:: \log p̃_w(x_0 | x_t, c) = (1 + w) \log p̃(x_0 | x_t, c) - w \log p̃(x_0 | x_t) + \text{const}

    It takes the denoiser's place in `sample`: every reverse step is then made of the guided p̃, whatever the process.

    Parameters
    ----------
    denoiser : Denoiser
        Trained with a null class (`train.class_dropout` above 0).
    scale : float
        w ≥ 0; 0 changes nothing.
    """

    def __init__(self, denoiser: Any, scale: float) -> None:
        self.denoiser, self.scale = denoiser, check_number(scale, "scale", 0)

    def __getattr__(self, name: str) -> Any:
        """Return what a sampler asks of the denoiser: `forbid`, `time_free` and the like are the same."""
        if name == "denoiser":  # not there yet: copying and unpickling ask before __init__ has run
            raise AttributeError(name)
        return getattr(self.denoiser, name)

    def __call__(
        self, x_t: Tensor, time: Tensor, condition: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Return guided logits (*x_t.shape, K); the net runs once, on both."""
        if condition is None:
            message = "`condition` must hold class labels for guidance; got None. Pass (B,) integers."
            raise OptionError(message)
        null = torch.full_like(condition, self.denoiser.n_classes)
        twice = [torch.cat([value, value]) for value in (x_t, time)]
        options = {} if attention_mask is None else {"attention_mask": torch.cat([attention_mask, attention_mask])}
        told, untold = self.denoiser(*twice, torch.cat([condition, null]), **options).chunk(2)
        guided = told + self.scale * (told - untold)
        return guided.masked_fill(told <= FLOOR / 2, FLOOR)  # what is impossible stays so


def guided(model: Checkpoint, scale: float) -> Any:
    """Return the denoiser, guided if that is asked for and it can be."""
    if not scale:
        return model.denoiser
    if not model.spec.n_classes:
        message = "`guidance` needs a class-conditional model; train with data.conditional=true."
        raise OptionError(message)
    if not model.config.train.class_dropout:
        message = (
            "`guidance` needs a model that knows the null class; this one was trained with train.class_dropout = 0. "
            "Train with train.class_dropout above 0."
        )
        raise OptionError(message)
    return Guided(model.denoiser, scale)


def class_labels(model: Checkpoint, label: int | None, n: int) -> Tensor | None:
    """Return the classes of n samples, (n,): all of one `label`, or one class after the other; None without classes."""
    n_classes, device = model.spec.n_classes, next(model.denoiser.parameters()).device
    if not n_classes:
        if label is not None:
            message = "`label` needs a class-conditional model; train with data.conditional=true."
            raise OptionError(message)
        return None
    if label is None:
        return torch.arange(n, device=device) % n_classes
    if not 0 <= label < n_classes:
        message = f"`label` must be from 0 to {n_classes - 1}; got {label}."
        raise OptionError(message)
    return torch.full((n,), label, device=device)
