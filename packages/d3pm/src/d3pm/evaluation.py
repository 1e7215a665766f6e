"""How well does a checkpoint do? Its bound on test data. `d3pm.quality` measures its pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from d3pm.checkpoint import Checkpoint
from d3pm.config import EvaluateConfig
from d3pm.data import Dataset, check_fits
from d3pm.errors import DataError
from d3pm.likelihood import Likelihood, negative_log_likelihood

__all__ = ["evaluate"]


def evaluate(
    checkpoint: Checkpoint,
    dataset: Dataset,
    settings: EvaluateConfig | None = None,
    seed: int = 0,
    times: Sequence[float] | None = None,
) -> Likelihood:
    """Return the bound of the test data, one entry per example: of the model that samples at `times` where given.

    Raises
    ------
    DataError
        If the data have other tokens or another shape than the model, or no labels that it needs. Where a conditional
        model has learned to do without, it is told the null class.
    """
    settings = settings or checkpoint.config.evaluate
    spec = checkpoint.spec
    check_fits(dataset.spec, spec)
    device = next(checkpoint.denoiser.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    examples = dataset.test_examples(settings.examples)
    if spec.n_classes and examples.labels is None and not checkpoint.config.train.class_dropout:
        message = (
            "`data` must have labels for this checkpoint, a conditional one that was trained with "
            "train.class_dropout = 0: it cannot do without."
        )
        raise DataError(message)
    parts = []
    for start in range(0, len(examples.tokens), settings.batch):
        batch = examples.rows(slice(start, start + settings.batch)).to(device)
        parts.append(
            negative_log_likelihood(
                checkpoint.process,
                checkpoint.denoiser,
                batch.tokens,
                step=settings.step if times is None else 1,
                times=times,
                n_times=settings.times or None,
                condition=batch.labels,
                generator=generator,
                attention_mask=batch.attention_mask,
            )
        )
    return Likelihood.concatenate(parts)
