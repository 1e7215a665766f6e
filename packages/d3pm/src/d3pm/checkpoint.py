"""One safetensors file: weights, averaged weights, the optimiser's state, and in its header how all of it was made."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from d3pm.build import build_denoiser, build_process, n_states_of
from d3pm.config import Config
from d3pm.errors import CheckpointError, ConfigError, NoSuchFileError
from d3pm.nets.head import Denoiser
from d3pm.processes.base import Process
from d3pm.spec import DataSpec
from d3pm.upgrade import FIRST_FORMAT, upgraded_config, upgraded_tensors

__all__ = ["CHECKPOINT", "FORMAT", "Checkpoint", "load_checkpoint", "save_checkpoint"]

CHECKPOINT = "checkpoint.safetensors"
FORMAT = "d3pm-checkpoint-2"


@dataclass(frozen=True)
class Checkpoint:
    """A model read back: `denoiser` has the averaged weights.

    Attributes
    ----------
    config, spec, process, denoiser
    step : int
        Training steps taken.
    tensors : dict
        All tensors of the file: "model.…", "ema.…", "optimizer.…", "process.…", "frequencies".
    path : Path
    digest : str
        Of the data that it was trained on (`Dataset.digest`); empty in checkpoints that were written without.
    """

    config: Config
    spec: DataSpec
    process: Process
    denoiser: Denoiser
    step: int
    tensors: dict[str, Tensor]
    path: Path
    digest: str = ""

    def section(self, name: str) -> dict[str, Tensor]:
        """Return the tensors under a prefix, without it."""
        return {key[len(name) + 1 :]: value for key, value in self.tensors.items() if key.startswith(name + ".")}


def save_checkpoint(
    path: Path,
    config: Config,
    spec: DataSpec,
    process: Process,
    step: int,
    sections: dict[str, dict[str, Tensor]],
    frequencies: np.ndarray,
    digest: str,
) -> None:
    """Write the file in full beside its place and then move it there: a crash leaves the old one whole."""
    tensors = {
        f"{section}.{key}": value.detach().cpu().contiguous().clone()
        for section, values in {**sections, "process": process.stored}.items()
        for key, value in values.items()
    }
    tensors["frequencies"] = torch.from_numpy(np.ascontiguousarray(frequencies))
    header = {
        "format": FORMAT,
        "step": str(step),
        "config": json.dumps(config.to_dict()),
        "data": json.dumps(spec.to_dict()),
        "process": json.dumps(process.describe()),
        "digest": digest,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    save_file(tensors, temporary, metadata=header)
    temporary.replace(path)


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu", process: Process | None = None) -> Checkpoint:
    """Read a checkpoint and build its process and its denoiser, with averaged weights, on a device.

    Parameters
    ----------
    path : str or Path
        The file, or the folder of a training run.
    process : Process, optional
        The process it is meant for.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged or none of ours.
    ConfigError
        If it was trained on another process than the one it is meant for.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CHECKPOINT
    if not path.is_file():
        message = f"`checkpoint` must be a file written by d3pm train, or its folder; there is none at {path}."
        raise NoSuchFileError(message)
    header, tensors = _read(path)
    try:
        values, spec = json.loads(header["config"]), DataSpec.from_dict(json.loads(header["data"]))
        if header["format"] == FIRST_FORMAT:
            values = upgraded_config(values)
            tensors = upgraded_tensors(tensors, values["net"].get("kind", "unet"), spec.n_classes)
        config = Config.from_dict(values, str(path))
        step, described = int(header["step"]), json.loads(header["process"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"`checkpoint` {path} has a damaged header ({error}). Train or copy it again."
        raise CheckpointError(message) from error
    stored = {key: tensors[f"process.{key}"] for key in ("betas", "alphas", "rate") if f"process.{key}" in tensors}
    if "rate" in tensors:  # of the first format
        stored["rate"] = tensors["rate"]
    own = build_process(config.process, spec, tensors["frequencies"].numpy(), stored)
    for other, whose in ((own, "this version builds"), (process, "was asked for")):
        if other is not None and other.describe() != described:
            message = (
                f"`checkpoint` {path} was trained on the process {described}, not on the one that {whose}, "
                f"{other.describe()}. Use the recipe that it was trained with."
            )
            raise CheckpointError(message) if other is own else ConfigError(message)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn only to be replaced
        denoiser = build_denoiser(config, spec, n_states_of(config.process, spec))
    checkpoint = Checkpoint(config, spec, own.to(device), denoiser, step, tensors, path, header.get("digest", ""))
    try:
        denoiser.load_state_dict(checkpoint.section("ema"))
    except RuntimeError as error:
        message = f"`checkpoint` {path} holds weights of another net: {str(error).splitlines()[-1].strip()}"
        raise CheckpointError(message) from error
    denoiser.to(device).eval()
    return checkpoint


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        message = f"`checkpoint` {path} is damaged or no safetensors file: {error}. Train or copy it again."
        raise CheckpointError(message) from error
    if header.get("format") not in (FORMAT, FIRST_FORMAT) or "frequencies" not in tensors:
        message = f"`checkpoint` {path} was not written by this d3pm (format {header.get('format')!r}, not {FORMAT!r})."
        raise CheckpointError(message)
    return header, tensors
