"""Training on a Ray cluster: each job of a round is a task, on a GPU of its own where the cluster has any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from transferability.errors import OptionError, require_extra
from transferability.features.ray import connect
from transferability.validation.confirm import Job, train

__all__ = ["run_on_ray"]


def run_on_ray(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Run jobs as tasks of the Ray cluster that this process is connected to, or of one that it starts here.

    Parameters
    ----------
    jobs : sequence of Job
        With encoders named by identifiers: a worker loads its own.

    Returns
    -------
    list of dict
        As `transferability.validation.confirm.train` returns, in their order. A task that is lost with its machine is
        started again, and is a failure after three times.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    OptionError
        If an encoder is an object.
    """
    ray = require_extra("ray", "ray", "`executor` 'ray'")
    for job in jobs:
        if not isinstance(job.encoder, str):
            message = "`executor` must be 'local' for encoders that are objects: the workers load them by name; got "
            raise OptionError(message + f"{job.encoder.name!r}.")
    connect(ray)
    has_gpus = ray.cluster_resources().get("GPU", 0) >= 1
    on_gpu = has_gpus and all(job.settings.device in (None, "cuda") for job in jobs)
    # Sums are rounded in another order by another number of threads.
    n_threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    task = ray.remote(_train).options(num_cpus=n_threads, num_gpus=1 if on_gpu else 0, max_retries=3)
    waiting = [task.remote(job, n_threads) for job in jobs]
    results = []
    for job, each in zip(jobs, waiting, strict=True):
        try:
            results.append(ray.get(each))
        except ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[0]
            results.append({"reason": f"encoder {job.encoder!r} could not be trained on the cluster: {first}"})
    return results


def _train(job: Job, n_threads: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(n_threads)
    return train(job)
