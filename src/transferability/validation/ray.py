"""Training on a Ray cluster: each job of a round is a task, on a GPU of its own where the cluster has any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transferability.errors import OptionError
from transferability.pipeline.cluster import spread
from transferability.validation.confirm import Job, train

__all__ = ["run_on_ray"]


def run_on_ray(jobs: Sequence[Job]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run jobs as tasks of the Ray cluster that this process is connected to, or of one that it starts here.

    Parameters
    ----------
    jobs : sequence of Job
        With encoders named by identifiers: a worker loads its own.

    Returns
    -------
    iterator of (place, result)
        As `transferability.validation.confirm.train` returns it, as soon as it is there. A task that is lost with its
        machine is started again, and is a failure after three times.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    OptionError
        If an encoder is an object, or the cluster has no room.
    """
    for job in jobs:
        if not isinstance(job.encoder, str):
            message = "`executor` must be 'local' for encoders that are objects: the workers load them by name; got "
            raise OptionError(message + f"{job.encoder.name!r}.")
    return _spread(jobs)


def _spread(jobs: Sequence[Job]) -> Iterator[tuple[int, dict[str, Any]]]:
    on_gpu = False if any(job.settings.device == "cpu" for job in jobs) else None
    for done in spread(_Training(tuple(jobs)), range(len(jobs)), lambda _, tasks: tasks, on_gpu=on_gpu):
        yield done.group, done.result if done.error is None else {"reason": str(done.error)}


@dataclass(frozen=True)
class _Training:
    """What the actors do: one job is one group of one task."""

    jobs: tuple[Job, ...]

    def open(self, group: int) -> list[int]:
        """Return the only task of a job."""
        return [group]

    def run(self, group: int, task: int) -> dict[str, Any]:
        """Train."""
        return train(self.jobs[group])
