"""Results into an experiment tracker: one small protocol, and adapters for MLflow and Weights & Biases.

Anything with these three methods is a tracker::

    with MLflowTracker("encoders", uri="sqlite:///mlflow.db") as tracker:
        track(ranking, tracker, files=["results/report.html"])
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from transferability.errors import require_extra

__all__ = ["MLflowTracker", "Tracked", "Tracker", "WandbTracker", "track"]

_LONGEST_PARAMETER = 500  # letters; MLflow's own limit on its oldest servers


@runtime_checkable
class Tracker(Protocol):
    """Where results go."""

    def log_params(self, params: Mapping[str, str]) -> None:
        """Keep settings, by name."""

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Keep numbers, by name."""

    def log_artifact(self, path: Path) -> None:
        """Keep a file."""


class Tracked(Protocol):
    """What is sent: a ranking."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""

    def frame(self) -> list[dict[str, Any]]:
        """Return the table."""


def track(ranking: Tracked, tracker: Tracker, files: Iterable[str | Path] = ()) -> None:
    """Send a ranking to a tracker.

    Parameters
    ----------
    ranking : Ranking
        Its settings become parameters; every number of its table becomes a metric named ``encoder/column``.
    tracker : Tracker
    files : iterable of path
        To keep beside them, such as `report.html`.
    """
    record = ranking.to_dict()
    params = {"target": record["target"], "references": ", ".join(record["references"])}
    params |= {"criterion": record["criterion"], "best": record["ranking"][0]["encoder"]}
    for part in ("settings", "estimator", "versions"):
        params |= {f"{part}.{name}": str(value) for name, value in record["made"].get(part, {}).items()}
    tracker.log_params({name: value[:_LONGEST_PARAMETER] for name, value in params.items()})
    metrics: dict[str, float] = {}
    for row in ranking.frame():
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float) and value == value}
        metrics |= {f"{_name(row['encoder'])}/{key}": float(value) for key, value in numbers.items()}
    tracker.log_metrics(metrics)
    for path in files:
        tracker.log_artifact(Path(path))


class MLflowTracker:
    """A run of an MLflow experiment. Use it as a context manager: leaving it ends the run.

    Parameters
    ----------
    experiment : str, default="transferability"
        Made if it is not there.
    uri : str, optional
        Of the tracking server or store; by default MLflow's own choice.
    run_name : str, optional

    Raises
    ------
    MissingExtraError
        If MLflow is not installed.
    """

    def __init__(
        self, experiment: str = "transferability", uri: str | None = None, run_name: str | None = None
    ) -> None:
        tracking = require_extra("mlflow.tracking", "mlflow", "MLflowTracker")
        self._client: Any = tracking.MlflowClient(uri)  # a client of our own: no global run is touched
        found = self._client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self._client.create_experiment(experiment)
        self.run_id: str = self._client.create_run(number, run_name=run_name).info.run_id

    def log_params(self, params: Mapping[str, str]) -> None:
        """Keep settings, by name."""
        for name, value in params.items():
            self._client.log_param(self.run_id, name, value)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Keep numbers, by name."""
        for name, value in metrics.items():
            self._client.log_metric(self.run_id, name, value)

    def log_artifact(self, path: Path) -> None:
        """Keep a file."""
        self._client.log_artifact(self.run_id, str(path))

    def __enter__(self) -> MLflowTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.set_terminated(self.run_id, "FINISHED" if error is None else "FAILED")


class WandbTracker:
    """A run of Weights & Biases. Use it as a context manager: leaving it ends the run.

    Parameters
    ----------
    project : str, default="transferability"
    name : str, optional
        Of the run.
    folder : path, optional
        Where the run is kept; by default the library's own choice.
    mode : {"online", "offline"}, optional
        By default what the environment says (`WANDB_MODE`).

    Raises
    ------
    MissingExtraError
        If wandb is not installed.
    """

    def __init__(
        self,
        project: str = "transferability",
        name: str | None = None,
        folder: str | Path | None = None,
        mode: str | None = None,
    ) -> None:
        wandb = require_extra("wandb", "wandb", "WandbTracker")
        place = None if folder is None else str(folder)
        self._run: Any = wandb.init(project=project, name=name, dir=place, mode=mode, reinit="create_new")

    def log_params(self, params: Mapping[str, str]) -> None:
        """Keep settings, by name."""
        self._run.config.update(dict(params))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Keep numbers, by name, in the run's summary: a ranking has no steps."""
        self._run.summary.update(dict(metrics))

    def log_artifact(self, path: Path) -> None:
        """Keep a file."""
        self._run.save(str(path), base_path=str(path.parent), policy="now")

    def __enter__(self) -> WandbTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.finish(exit_code=0 if error is None else 1)


def _name(encoder: str) -> str:
    """Return a name that every tracker takes: letters, digits and a few signs."""
    return re.sub(r"[^\w.\-]", "_", encoder)[:120]
