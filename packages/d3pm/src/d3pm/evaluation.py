"""How well does a checkpoint do? Its bound on test data, and the quality of its pictures."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d3pm.checkpoint import Checkpoint
from d3pm.config import EvaluateConfig
from d3pm.data import Dataset, check_fits
from d3pm.errors import DataError, OptionError, require_extra
from d3pm.likelihood import Likelihood, negative_log_likelihood

__all__ = ["evaluate", "require_fidelity", "sample_quality"]

_SPLITS = 10  # over which the inception score is averaged, as everywhere


def evaluate(
    checkpoint: Checkpoint, dataset: Dataset, settings: EvaluateConfig | None = None, seed: int = 0
) -> Likelihood:
    """Return the bound of the test data, one entry per example.

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
                step=settings.step,
                n_times=settings.times or None,
                condition=batch.labels,
                generator=generator,
                attention_mask=batch.attention_mask,
            )
        )
    return Likelihood.concatenate(parts)


def sample_quality(samples: np.ndarray, reference: np.ndarray, folder: Path) -> dict[str, float]:
    """Return inception score and Fréchet inception distance of pictures, by torch-fidelity.

    Parameters
    ----------
    samples, reference : uint8 arrays of shape (n, H, W, 3)
    folder : Path
        For what torch-fidelity keeps. Its Inception weights are downloaded once into ``checkpoints/`` of torch's hub
        folder (TORCH_HOME); without a network, fetch them elsewhere and put them there.
    """
    fidelity = require_fidelity(len(samples))
    result: dict[str, Any] = fidelity.calculate_metrics(
        input1=_Pictures(samples),
        input2=_Pictures(reference),
        isc=True,
        isc_splits=_SPLITS,
        fid=True,
        cuda=torch.cuda.is_available(),
        cache_root=str(folder),
        save_cpu_ram=True,  # no worker processes: the pictures are in memory
        verbose=False,
    )
    return {"inception_score": result["inception_score_mean"], "fid": result["frechet_inception_distance"]}


def require_fidelity(n: int) -> ModuleType:
    """Return the library that measures the quality of n samples, or say what is missing: before any is drawn."""
    if n < _SPLITS:
        message = f"`quality` must be at least {_SPLITS} (thousands, to compare with papers); got {n}."
        raise OptionError(message)
    return require_extra("torch_fidelity", "quality", "sample quality")


class _Pictures(torch.utils.data.Dataset):
    """Pictures as torch-fidelity wants them: (3, H, W) uint8."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.pictures[index].transpose(2, 0, 1)))
