"""The quality of a model's pictures: inception score and Fréchet inception distance, by torch-fidelity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d3pm.checkpoint import Checkpoint
from d3pm.data import Dataset
from d3pm.errors import OptionError, require_extra
from d3pm.generation import generate
from d3pm.guidance import class_labels

__all__ = ["check_quality", "measure_quality", "require_fidelity", "sample_quality"]

_SPLITS = 10  # over which the inception score is averaged, as everywhere


def check_quality(model: Checkpoint, n: int) -> None:
    """Refuse, before anything is computed, to measure what cannot be."""
    if model.spec.modality != "image":
        message = "`quality` is measured on pictures; this model writes text."
        raise OptionError(message)
    require_fidelity(n)


def measure_quality(
    model: Checkpoint, dataset: Dataset, n: int, seed: int, options: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """Return IS and FID of n samples, drawn as `run_sample` does, against the training pictures."""
    generation = model.config.sample.override(**options or {})
    device = next(model.denoiser.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    labels = class_labels(model, None, n)
    batches = []
    for start in range(0, n, 128):
        size = min(128, n - start)
        x = generate(
            model.process,
            model.denoiser,
            (size, *model.spec.shape),
            generation,
            condition=None if labels is None else labels[start : start + size],
            generator=generator,
            device=device,
        )
        batches.append(x.cpu().numpy())
    folder = Path(torch.hub.get_dir())
    return sample_quality(_rgb(model, np.concatenate(batches)), _rgb(model, dataset.train), folder)


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


def _rgb(model: Checkpoint, tokens: np.ndarray) -> np.ndarray:
    pixels = model.spec.to_pixels(tokens.astype(np.int64))
    return pixels if pixels.ndim == 4 else np.repeat(pixels[..., None], 3, -1)


class _Pictures(torch.utils.data.Dataset):
    """Pictures as torch-fidelity wants them: (3, H, W) uint8."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.pictures[index].transpose(2, 0, 1)))
