"""The training loop, from a recipe to a checkpoint.

Every random number of step n is a function of (seed, n, rank), so that a run that was stopped and resumed gives the
numbers of one that was not.
"""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d3pm.build import build_denoiser, build_process, n_states_of
from d3pm.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from d3pm.config import Config
from d3pm.data import Batch, Dataset, load_data
from d3pm.errors import ConfigError, DataError, OptionError, TrainingError
from d3pm.huggingface import load_pretrained, resolve_net
from d3pm.importance import TimeImportance
from d3pm.losses import training_loss
from d3pm.metrics import Means, MetricsLog, Reporter
from d3pm.optimization import Average, learning_rate
from d3pm.processes.base import Process
from d3pm.resumption import (
    SETTINGS,
    check_folder,
    check_same,
    optimizer_tensors,
    own_net,
    own_process,
    own_spec,
    restore_optimizer,
)
from d3pm.runtime import choose_runtime, tensor_float
from d3pm.seeds import dropout_seed, seeded, step_seed

__all__ = ["train"]


def train(
    config: Config,
    out: str | Path,
    *,
    data: Dataset | None = None,
    device: str | None = None,
    resume: bool = False,
    distributed: bool = False,
    tensorboard: bool = False,
    report: Reporter | None = None,
) -> Path:
    """Train a denoiser and return the path of its checkpoint.

    Parameters
    ----------
    config : Config
    out : str or Path
        A folder without a run, or with the one to resume: `checkpoint.safetensors`, `metrics.jsonl`, `config.json`,
        and with `tensorboard` its event files.
    data : Dataset, optional
        In place of what the recipe names.
    device : str, optional
        CUDA where there is one, by default.
    resume : bool
        Go on from the checkpoint in `out`; without one, start. A finished run is left as it is.
    distributed : bool
        Use accelerate, as a process that `accelerate launch` started.
    report : callable, optional
        Called with (step, metrics) every `log_every` steps.

    Raises
    ------
    ConfigError, DataError, CheckpointError
        If the recipe, its data or the checkpoint to resume do not fit together.
    OptionError
        If `out` holds a run and `resume` is false, or the config.json of another model.
    """
    path = Path(out) / CHECKPOINT
    check_folder(path, resume)
    resumed = path.exists()
    run = _prepare(config, path, data, choose_runtime(device, distributed))
    if resumed and run.finished:
        return path
    log = run.open_log(tensorboard, report)
    run.begin()
    means = Means(run.runtime)
    while not run.finished:
        means.add(run.update())
        if run.due(run.settings.log_every) or run.finished:
            values = means.take(run.step)
            if log is not None:
                log.log(run.step, {**values, "learning_rate": learning_rate(run.settings, run.step - 1)})
        if run.due(run.settings.checkpoint_every) and not run.finished:
            run.save()
    run.save()
    if log is not None:
        log.close()
    return path


def _prepare(config: Config, path: Path, data: Dataset | None, runtime: Any) -> _Run:
    """Return a new run, or the one whose checkpoint `path` is, as it was when that was written."""
    known = load_checkpoint(path) if path.exists() else None
    config = resolve_net(config if known is None else own_net(known, config))
    spec = None if known is None else own_spec(known, config)
    dataset = load_data(config.data, spec) if data is None else data
    _check(config, dataset)
    run = _Run(config, dataset, runtime, path, None if known is None else own_process(known, config))
    if known is not None:
        run.resume()
    elif config.net.get("kind") == "masked_lm":
        run.start_from(config.net.get("path", ""))
    return run


class _Run:
    """A denoiser in training, and all that one step of it needs."""

    def __init__(
        self, config: Config, dataset: Dataset, runtime: Any, path: Path, process: Process | None = None
    ) -> None:
        self.config, self.dataset, self.runtime, self.path = config, dataset, runtime, path
        self.settings, self.step = config.train, 0
        self.frequencies, self.digest = dataset.frequencies(), dataset.digest()
        self.process = process or build_process(config.process, dataset.spec, self.frequencies)
        config.loss.check(self.process, config.conventions)
        with seeded(config.train.seed):
            self.denoiser: nn.Module = build_denoiser(config, dataset.spec, n_states_of(config.process, dataset.spec))
        try:
            config.sample.check(self.process, self.denoiser, dataset.spec.shape)
        except OptionError as error:
            message = f"[sample] must fit the model: {error} Change it with --set sample.…, or in the recipe."
            raise ConfigError(message) from error
        self.average = Average(self.denoiser, config.train.ema)
        self.importance: TimeImportance | None = None
        if config.loss.times == "importance":
            self.importance = TimeImportance(self.process.n_steps, runtime.gather)
        self.denoiser.to(runtime.device)
        self.optimizer = torch.optim.Adam(self.denoiser.parameters(), lr=config.train.lr)
        self.model = self.denoiser  # what is called: compiled, and wrapped where there are several processes

    @property
    def finished(self) -> bool:
        """Return whether all steps have been taken."""
        return self.step >= self.settings.steps

    def due(self, every: int) -> bool:
        """Return whether what is done once in so many steps is to be done now."""
        return self.step % every == 0

    def resume(self) -> None:
        """Take up the checkpoint, if it is of this recipe and these data."""
        checkpoint = load_checkpoint(self.path, process=self.process)
        check_same(checkpoint, self.config, self.frequencies, self.digest)
        self.denoiser.load_state_dict(checkpoint.section("model"))
        self.average.values = checkpoint.section("ema")
        restore_optimizer(self.optimizer, checkpoint.section("optimizer"))
        if self.importance is not None:
            history = checkpoint.section("times")
            self.importance.sums, self.importance.counts = history["sums"], history["counts"]
        self.step = checkpoint.step

    def start_from(self, folder: str) -> None:
        """Take the weights of the Hugging Face model there, if there are any."""
        load_pretrained(self.denoiser, folder, self.dataset.spec.shape[0])
        self.average = Average(self.denoiser, self.config.train.ema)

    def open_log(self, tensorboard: bool, report: Reporter | None) -> MetricsLog | None:
        """Return the log of the run's metrics, with its settings beside it; None but in the first process."""
        if self.runtime.rank:
            return None
        log = MetricsLog(self.path.parent, self.step, tensorboard, report)
        settings = json.dumps(self.config.to_dict(), indent=2)
        (self.path.parent / SETTINGS).write_text(settings + "\n", encoding="utf-8")
        return log

    def begin(self) -> None:
        """Move everything to the device and make the net ready to be called."""
        device = self.runtime.device
        self.average.values = {key: value.to(device) for key, value in self.average.values.items()}
        self.process.to(device)
        if self.importance is not None:
            self.importance.to(device)
        self.model, self.optimizer = self.runtime.prepare(self.denoiser, self.optimizer)
        if self.config.train.compile:
            self.model = torch.compile(self.model)
        self.model.train()

    def update(self) -> dict[str, Tensor] | None:
        """Take a step; return its metrics, or None if its gradient was not finite and no step was taken."""
        settings, step = self.config.train, self.step
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        self.optimizer.zero_grad(set_to_none=True)
        with tensor_float(settings.precision == "bf16" and self.runtime.device.type == "cuda"):
            metrics = self._gradients(step)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip or math.inf)
        if not bool(torch.isfinite(norm)):  # as the authors' text trainer
            return None
        self.optimizer.step()
        self.average.update(self.denoiser, step)
        return {**metrics, "gradient_norm": norm.detach()}

    def _gradients(self, step: int) -> dict[str, Tensor]:
        """Add up the gradients of a batch, part by part; return the means of its metrics.

        A loss is a mean over positions, so that a part counts by its share of the batch's, over all processes.
        """
        settings, runtime = self.config.train, self.runtime
        batch = self.dataset.batch(step, settings.batch, settings.seed, runtime.rank, runtime.world)
        n_parts, size = settings.accumulate, settings.batch // settings.accumulate
        n_positions = self._mean_positions(batch)
        totals: dict[str, Tensor] = {}
        for part in range(n_parts):
            rows = batch.rows(slice(part * size, (part + 1) * size))
            share = rows.n_positions / n_positions
            seed = step_seed(settings.seed, step * n_parts + part, runtime.rank)
            loss, metrics = self._loss(rows.to(runtime.device), seed)
            runtime.backward(loss * share)
            for key, value in {**metrics, "loss": loss.detach()}.items():
                totals[key] = totals.get(key, 0.0) + value * share
        return totals

    def _mean_positions(self, batch: Batch) -> float:
        """Return the positions of a batch, without padding; the mean over processes where their texts differ."""
        if batch.attention_mask is None:
            return batch.n_positions
        return self.runtime.mean(torch.tensor(float(batch.n_positions), device=self.runtime.device))

    def _loss(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        config, process, device = self.config, self.process, self.runtime.device
        generator = torch.Generator(device).manual_seed(seed)
        labels = batch.labels
        if labels is not None and config.train.class_dropout:
            untold = torch.rand(len(labels), device=device, generator=generator) < config.train.class_dropout
            labels = labels.masked_fill(untold, self.dataset.spec.n_classes)  # the null class
        with seeded(dropout_seed(seed), device):
            return training_loss(
                config.loss, process, self._denoise, batch.tokens, generator, labels, config.conventions,
                batch.attention_mask, importance=self.importance, fuse=config.train.compile,
            )  # fmt: skip

    def _denoise(self, *inputs: Tensor | None) -> Tensor:
        half = self.config.train.precision == "bf16"
        with torch.autocast(self.runtime.device.type, dtype=torch.bfloat16) if half else nullcontext():
            return self.model(*inputs)

    def save(self) -> None:
        """Write the checkpoint."""
        weights = [*self.denoiser.state_dict().values(), *self.average.values.values()]
        if not all(bool(torch.isfinite(value).all()) for value in weights):
            message = f"`weights` must be finite; after step {self.step} they are not. Lower train.lr."
            raise TrainingError(message)
        if self.runtime.rank == 0:
            sections = {
                "model": self.denoiser.state_dict(),
                "ema": self.average.values,
                "optimizer": optimizer_tensors(self.optimizer),
            }
            if self.importance is not None:
                sections["times"] = {"sums": self.importance.sums, "counts": self.importance.counts}
            save_checkpoint(
                self.path, self.config, self.dataset.spec, self.process, self.step, sections,
                self.frequencies, self.digest,
            )  # fmt: skip
        self.runtime.wait()


def _check(config: Config, dataset: Dataset) -> None:
    """Refuse data out of range, and objectives that do not fit the mask."""
    largest = int(max(dataset.train.max(), dataset.test.max()))
    if largest >= dataset.spec.n_tokens:
        message = f"`data` must hold tokens below {dataset.spec.n_tokens}; got {largest}."
        raise DataError(message)
    if config.loss.kind in ("masked", "simple", "counted") and config.process.mask != "extra":
        message = (
            f"`kind` = {config.loss.kind} needs mask = extra; a mask that is a value of the data may be x_0 itself."
        )
        raise ConfigError(message)
