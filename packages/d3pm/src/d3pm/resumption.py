"""When may a run go on, and from what: its folder, its settings, the optimiser's state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d3pm.checkpoint import Checkpoint
from d3pm.config import Config
from d3pm.errors import CheckpointError, ConfigError, DataError, OptionError
from d3pm.processes.base import Process
from d3pm.spec import DataSpec

__all__ = [
    "SETTINGS",
    "check_folder",
    "check_same",
    "optimizer_tensors",
    "own_net",
    "own_process",
    "own_spec",
    "restore_optimizer",
]

# What a resumed run may change: where the data lie, how often it reports, how fast it computes; beside these, how it
# is evaluated and sampled.
FREE = (("data", "path"), ("train", "log_every"), ("train", "checkpoint_every"), ("train", "compile"))
# Files that the run started from: what is in them is in the checkpoint, so that they may move or go.
ORIGINS = (("net", "path"), ("data", "tokenizer"), ("process", "embeddings"))
SETTINGS = "config.json"  # beside the checkpoint, for readers
LEARNED = ("bpe", "sentencepiece")  # names of methods in the place of a tokenizer's folder


def check_folder(path: Path, resume: bool) -> None:
    """Refuse to write over a run, or over the configuration of another model."""
    if path.exists() and not resume:
        message = (
            f"`out` must be a folder without a run; {path} is the checkpoint of one. Choose another folder, or go on "
            "from there: --resume."
        )
        raise OptionError(message)
    settings = path.parent / SETTINGS
    if settings.is_file() and not _is_ours(settings):
        message = (
            f"`out` must be a folder without another model; {settings} is not of a run of d3pm train and would be "
            "overwritten. Choose another folder."
        )
        raise OptionError(message)


def _is_ours(settings: Path) -> bool:
    try:
        values = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"data", "process", "train"} <= set(values)


def check_same(checkpoint: Checkpoint, config: Config, frequencies: np.ndarray, digest: str) -> None:
    """Refuse to resume a run with other settings or data: its numbers would be those of neither."""
    if checkpoint.step and not checkpoint.section("optimizer"):
        message = (
            f"`resume` needs a checkpoint of this version; {checkpoint.path} is of an earlier one, which can be used "
            "but not trained on. Start a new run."
        )
        raise CheckpointError(message)
    theirs, ours = _fixed(checkpoint.config), _fixed(config)
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    different = [key for key in keys if key not in ORIGINS or {theirs.get(key), ours.get(key)} & {*LEARNED, "", None}]
    if different:
        changes = ", ".join(f"[{a}] {b} was {theirs.get((a, b))!r}, now {ours.get((a, b))!r}" for a, b in different)
        message = f"`resume` needs the recipe that {checkpoint.path} was trained with: {changes}."
        raise ConfigError(message)
    known = checkpoint.tensors["frequencies"].numpy()
    if known.shape != frequencies.shape or not np.allclose(known, frequencies, rtol=1e-9, atol=0):
        message = f"`resume` needs the data that {checkpoint.path} was trained on; these have other frequencies."
        raise DataError(message)
    if checkpoint.digest and checkpoint.digest != digest:
        message = (
            f"`resume` needs the data that {checkpoint.path} was trained on; these are others, or in another order "
            "(of their tokens, labels, lengths and test part, one differs)."
        )
        raise DataError(message)


def own_net(checkpoint: Checkpoint, config: Config) -> Config:
    """Return the recipe with the net's configuration of the checkpoint, if the folder that it was read from is gone."""
    path, own = config.net.get("path"), checkpoint.config.net.get("config")
    if own is None or "config" in config.net or (isinstance(path, str) and Path(path).is_dir()):
        return config
    return replace(config, net={**config.net, "config": own})


def own_spec(checkpoint: Checkpoint, config: Config) -> DataSpec | None:
    """Return the spec of the checkpoint, to read texts with, if the folder of their tokenizer is gone; else None."""
    stored = checkpoint.config.data.tokenizer
    gone = stored not in LEARNED and config.data.tokenizer not in LEARNED and not Path(config.data.tokenizer).is_dir()
    return checkpoint.spec if gone and checkpoint.spec.tokenizer else None


def own_process(checkpoint: Checkpoint, config: Config) -> Process | None:
    """Return the process of the checkpoint, if the embeddings that it was made of are gone; else None."""
    gone = bool(config.process.embeddings) and not Path(config.process.embeddings).is_file()
    return checkpoint.process if gone else None


def _fixed(config: Config) -> dict[tuple[str, str], Any]:
    """Return the settings that a run keeps, by section and key."""
    kept = {(section, key): value for section, values in config.to_dict().items() for key, value in values.items()}
    # A longer run with the same rates is the same run, longer.
    free = [*FREE, *([("train", "steps")] if config.train.decay != "cosine" else [])]
    return {name: value for name, value in kept.items() if name not in free and name[0] not in ("evaluate", "sample")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of Adam by parameter and name."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{index}.{name}": value
        for index, parameter in enumerate(parameters)
        for name, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take up what `optimizer_tensors` returned."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        if f"{index}.step" in tensors:
            state = {name: tensors[f"{index}.{name}"] for name in ("step", "exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {
                name: value if name == "step" else value.to(parameter.device) for name, value in state.items()
            }
