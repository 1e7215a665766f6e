"""How long sampled texts are: as the training texts were, or as asked for.

A net of texts of different lengths is told by an attention mask how long a text is; it does not say so itself. The
model of a text is therefore p(length) p(text | length), where p(length) is the law of lengths in the training data,
whatever the class (`DataSpec.lengths`).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from d3pm.checkpoint import Checkpoint
from d3pm.errors import LengthWarning, OptionError, check_number
from d3pm.processes.base import draw, log_positive
from d3pm.spec import DataSpec

__all__ = ["choose_lengths", "draw_lengths", "mask_of_lengths"]


def choose_lengths(
    model: Checkpoint, n: int, length: int | None, prompted: bool, generator: torch.Generator
) -> Tensor | None:
    """Return the lengths of n samples, (n,) int64: drawn, or all `length`; None for a model of whole examples.

    Raises
    ------
    OptionError
        If the model has no lengths to choose from; or if tokens are given without a length: how long a text is given
        some of its tokens, the model does not say.
    """
    spec = model.spec
    of_lines = spec.modality == "text" and model.config.data.lines  # of an earlier version, where there are no lengths
    if not spec.differs_in_length and (spec.lengths or not of_lines):
        if length is not None:
            message = (
                "`length` needs a model of texts that differ in length (data.lines=true); the training examples of "
                f"this one are all of shape {spec.shape}."
            )
            raise OptionError(message)
        return None
    whole = spec.shape[0]
    if length is not None:
        length = check_number(length, "length", max(1, len(spec.frame)), whole, whole=True)
        return torch.full((n,), length, device=generator.device)
    if spec.lengths and prompted:
        message = f"`prompt` needs `length` with this model, whose texts differ in length: --length N, at most {whole}."
        raise OptionError(message)
    if not spec.lengths:
        message = (
            f"All samples have the full length of {whole} tokens: this checkpoint, of an earlier version, does not "
            "know how long its training texts were. Choose another with --length N."
        )
        warnings.warn(message, LengthWarning, stacklevel=2)
        return torch.full((n,), whole, device=generator.device)
    return draw_lengths(spec, n, generator)


def draw_lengths(spec: DataSpec, n: int, generator: torch.Generator) -> Tensor:
    """Draw n lengths, (n,) int64, by the law of those of the training texts."""
    counts = torch.tensor(spec.lengths, dtype=torch.float64, device=generator.device)
    return draw(log_positive(counts / counts.sum()).expand(n, -1), generator) + 1


def mask_of_lengths(lengths: Tensor, spec: DataSpec) -> Tensor:
    """Return the attention mask (n, N) of texts of these lengths, True where they have tokens."""
    return torch.arange(spec.shape[0], device=lengths.device) < lengths[:, None]
