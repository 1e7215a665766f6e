"""What a training run reports: JSON lines, TensorBoard events, a callback."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from d3pm.errors import TrainingError, require_extra

__all__ = ["Means", "MetricsLog", "Reporter", "progress_line", "to_json"]

Reporter = Callable[[int, dict[str, float]], None]


def to_json(values: dict[str, Any]) -> str:
    """Return one line of JSON; what is not finite is null, since JSON has no word for it.

    Examples
    --------
    >>> to_json({"bits": 1.5, "error": float("nan")})
    '{"bits": 1.5, "error": null}'
    """
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return json.dumps(finite, allow_nan=False)


def progress_line(kind: str, step: int, steps: int, values: dict[str, float]) -> str:
    """Return what the command shows of a step, "bits" of kinds of loss that are no bound by its own name.

    Examples
    --------
    >>> values = {"bits": 1.25, "cross_entropy": 0.5, "gradient_norm": 2.0, "seconds": 3.0}
    >>> progress_line("bound", 10, 20, values)
    'step 10/20  bits 1.250  cross-entropy 0.500  gradient 2  3 s'
    >>> progress_line("simple", 10, 20, values)
    'step 10/20  cross-entropy at masks 1.250  cross-entropy 0.500  gradient 2  3 s'
    """
    names = {"simple": "cross-entropy at masks", "cross_entropy": None}  # of the latter both are one number
    name = names.get(kind, "bits")
    shown = ([f"{name} {values['bits']:.3f}"] if name else []) + [f"cross-entropy {values['cross_entropy']:.3f}"]
    rest = [f"gradient {values['gradient_norm']:.3g}", f"{values['seconds']:.0f} s"]
    return "  ".join([f"step {step}/{steps}", *shown, *rest])


class MetricsLog:
    """Metrics to `metrics.jsonl`, to TensorBoard if asked for, and to whoever listens.

    Parameters
    ----------
    out : Path
        The run's folder.
    first_step : int
        Steps already taken: rows of later ones, of a run that was cut off after its last checkpoint, are dropped.
    """

    def __init__(self, out: Path, first_step: int, tensorboard: bool, report: Reporter | None) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path, self._report = out / "metrics.jsonl", report
        kept = [row for row in _rows(self._path) if row["step"] <= first_step] if first_step else []
        self._path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._start = time.perf_counter() - (kept[-1]["seconds"] if kept else 0.0)
        self._writer = None
        if tensorboard:
            require_extra("tensorboard", "tensorboard", "`--tensorboard`")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(out), purge_step=first_step + 1)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Write the metrics of a step."""
        values = {**values, "seconds": round(time.perf_counter() - self._start, 2)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(to_json({"step": step, **values}) + "\n")
        if self._writer is not None:
            for key, value in values.items():
                self._writer.add_scalar(key, value, step)
        if self._report is not None:
            self._report(step, values)

    def close(self) -> None:
        """Write out what is still held back."""
        if self._writer is not None:
            self._writer.close()


class Means:
    """Means of metrics since they were last taken."""

    def __init__(self, runtime: Any) -> None:
        self._runtime, self._sums, self._counted = runtime, dict[str, Tensor](), 0

    def add(self, metrics: dict[str, Tensor] | None) -> None:
        """Count a step, unless it was skipped."""
        if metrics is not None:
            self._counted += 1
            for key, value in metrics.items():
                self._sums[key] = self._sums.get(key, 0.0) + value

    def take(self, step: int) -> dict[str, float]:
        """Return the means, and begin anew."""
        if not self._counted:
            message = f"`loss` must be finite; it was not in any step up to {step}. Lower train.lr or train.clip."
            raise TrainingError(message)
        values = {key: self._runtime.mean(value / self._counted) for key, value in self._sums.items()}
        self._sums, self._counted = {}, 0
        return values


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the whole rows of a log; a run that was killed may have left half a line."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
