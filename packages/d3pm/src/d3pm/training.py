"""The training loop, from a recipe to a checkpoint.

Every random number of step n is a function of (seed, n, rank), so that a run that was stopped and resumed gives the
numbers of one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d3pm.build import build_denoiser, build_process, n_states_of
from d3pm.checkpoint import load_checkpoint, save_checkpoint
from d3pm.config import Config, TrainConfig
from d3pm.data import Dataset, load_data
from d3pm.errors import CheckpointError, ConfigError, DataError, check_choice, require_extra
from d3pm.losses import training_loss

__all__ = ["Average", "learning_rate", "train"]

Reporter = Callable[[int, dict[str, float]], None]


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then constant, cosine to zero, or 1/√step."""
    check_choice(config.decay, ("constant", "cosine", "inverse_sqrt"), "decay")
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.decay == "cosine":
        done = (step - config.warmup) / max(1, config.steps - config.warmup)
        return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    if config.decay == "inverse_sqrt":
        return config.lr * math.sqrt(max(1, config.warmup) / (step + 1))
    return config.lr


class Average:
    """An exponential moving average of the weights, with a short memory at first: min(decay, (1 + n)/(10 + n))."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {key: value.detach().clone() for key, value in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the weights after a step."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        state = model.state_dict()
        torch._foreach_lerp_(list(self.values.values()), [state[key].detach() for key in self.values], weight)


@dataclass
class _Alone:
    """One process, one device. `accelerate.Accelerator` takes its place where there are several."""

    device: torch.device
    rank: int = 0
    world: int = 1

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        return model, optimizer

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def mean(self, value: Tensor) -> float:
        return float(value)

    def wait(self) -> None:
        pass


class _Several:
    """Data-parallel training through accelerate: start with `accelerate launch -m d3pm train …`."""

    def __init__(self) -> None:
        accelerate = require_extra("accelerate", "distributed", "training on several devices")
        self._accelerator = accelerate.Accelerator()
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        prepared: tuple[nn.Module, torch.optim.Optimizer] = self._accelerator.prepare(model, optimizer)
        return prepared

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def mean(self, value: Tensor) -> float:
        return float(self._accelerator.reduce(value, reduction="mean"))

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()


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
        Folder: `checkpoint.safetensors`, `metrics.jsonl`, `config.json`, and with `tensorboard` its event files.
    data : Dataset, optional
        In place of what the recipe names.
    device : str, optional
        CUDA where there is one, by default.
    resume : bool
        Go on from the checkpoint in `out`; without one, start.
    distributed : bool
        Use accelerate, as a process that `accelerate launch` started.
    report : callable, optional
        Called with (step, metrics) every `log_every` steps.

    Raises
    ------
    ConfigError, DataError, CheckpointError
        If the recipe, its data or the checkpoint to resume do not fit together.
    """
    settings, out = config.train, Path(out)
    runtime: Any = _Several() if distributed else _Alone(torch.device(device or _default_device()))
    dataset = load_data(config.data) if data is None else data
    spec = dataset.spec
    _check(config, dataset)
    frequencies = dataset.frequencies()
    process = build_process(config.process, spec, frequencies)
    config.loss.check(process, config.conventions)
    with _seeded(settings.seed):
        denoiser: nn.Module = build_denoiser(config, spec, n_states_of(config.process, spec))
    first_step, average = 0, Average(denoiser, settings.ema)
    denoiser.to(runtime.device)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=settings.lr)
    path = out / "checkpoint.safetensors"
    if resume and path.exists():
        first_step = _restore(path, config, process, denoiser, optimizer, average)
    average.values = {key: value.to(runtime.device) for key, value in average.values.items()}
    process.to(runtime.device)
    bare = denoiser
    model, optimizer = runtime.prepare(denoiser, optimizer)
    if settings.compile:
        model = torch.compile(model)
    autocast = _autocast(settings.precision, runtime.device)

    def save(step: int) -> None:
        if runtime.rank == 0:
            sections = {
                "model": bare.state_dict(),
                "ema": average.values,
                "optimizer": _optimizer_tensors(optimizer),
            }
            save_checkpoint(path, config, spec, process, step, sections, frequencies)
        runtime.wait()

    logger = _Logger(out, tensorboard, report) if runtime.rank == 0 else None
    if logger is not None:
        (out / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")

    def denoise(x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        with autocast():
            return model(x_t, t, condition)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        x_0, labels = dataset.batch(step, settings.batch, settings.seed, runtime.rank, runtime.world)
        labels = labels if labels is None else labels.to(runtime.device)
        seed = _step_seed(settings.seed, step, runtime.rank)
        generator = torch.Generator(runtime.device).manual_seed(seed)
        with _seeded(seed, runtime.device):  # for dropout
            x_0 = x_0.to(runtime.device)
            return training_loss(config.loss, process, denoise, x_0, generator, labels, config.conventions)

    model.train()
    sums: dict[str, Tensor] = {}
    counted = 0
    for step in range(first_step, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        loss, metrics = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        runtime.backward(loss)
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip or math.inf)
        if bool(torch.isfinite(norm)):  # as the authors' text trainer: skip an update that is not finite
            optimizer.step()
            average.update(bare, step)
            counted += 1
            for key, value in {**metrics, "loss": loss.detach(), "gradient_norm": norm.detach()}.items():
                sums[key] = sums.get(key, 0.0) + value
        done = step + 1
        if done % settings.log_every == 0 or done == settings.steps:
            if not counted:
                message = f"`loss` must be finite; it was not in any step up to {done}. Lower train.lr or train.clip."
                raise ConfigError(message)
            values = {key: runtime.mean(value / counted) for key, value in sums.items()}
            sums, counted = {}, 0
            if logger is not None:
                logger.log(done, {**values, "learning_rate": learning_rate(settings, step)})
        if done % settings.checkpoint_every == 0 and done < settings.steps:
            save(done)
    save(settings.steps)
    if logger is not None:
        logger.close()
    return path


def _check(config: Config, dataset: Dataset) -> None:
    """Refuse data out of range, and objectives that do not fit the mask."""
    largest = int(max(dataset.train.max(), dataset.test.max()))
    if largest >= dataset.spec.n_tokens:
        message = f"`data` must hold tokens below {dataset.spec.n_tokens}; got {largest}."
        raise DataError(message)
    if config.loss.kind in ("masked", "simple") and config.process.mask != "extra":
        message = (
            f"`kind` = {config.loss.kind} needs mask = extra; a mask that is a value of the data may be x_0 itself."
        )
        raise ConfigError(message)


def _restore(
    path: Path,
    config: Config,
    process: Any,
    denoiser: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average,
) -> int:
    checkpoint = load_checkpoint(path, process=process)
    theirs = checkpoint.config
    if (theirs.net, theirs.data, theirs.conventions) != (config.net, config.data, config.conventions):
        message = f"`resume` needs the recipe that {path} was trained with; its [net], [data] or [conventions] differ."
        raise CheckpointError(message)
    denoiser.load_state_dict(checkpoint.section("model"))
    average.values = checkpoint.section("ema")
    tensors = checkpoint.section("optimizer")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        names = ("step", "exp_avg", "exp_avg_sq")
        if f"{index}.step" not in tensors:
            continue
        state = {name: tensors[f"{index}.{name}"] for name in names}
        optimizer.state[parameter] = {
            name: value if name == "step" else value.to(parameter.device) for name, value in state.items()
        }
    return checkpoint.step


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{index}.{name}": value
        for index, parameter in enumerate(parameters)
        for name, value in optimizer.state.get(parameter, {}).items()
    }


def _step_seed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step) * 1024 + rank


@contextmanager
def _seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators inside, and leave them as they were."""
    devices = [device.index or 0] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    if check_choice(precision, ("float32", "bf16"), "precision") == "float32":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


def _default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


class _Logger:
    """Metrics to a file of JSON lines, to TensorBoard if asked for, and to whoever listens."""

    def __init__(self, out: Path, tensorboard: bool, report: Reporter | None) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path, self._report, self._start = out / "metrics.jsonl", report, time.perf_counter()
        self._writer = None
        if tensorboard:
            require_extra("tensorboard", "tensorboard", "`--tensorboard`")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(out))

    def log(self, step: int, values: dict[str, float]) -> None:
        values = {**values, "seconds": round(time.perf_counter() - self._start, 2)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self._writer is not None:
            for key, value in values.items():
                self._writer.add_scalar(key, value, step)
        if self._report is not None:
            self._report(step, values)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
