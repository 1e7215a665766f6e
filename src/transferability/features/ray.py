"""The executor of a cluster: Ray Data spreads the shards over actors that keep the model loaded.

An actor is the executor of one process, given some shards at a time. It writes them itself, into a cache folder that
all machines see, and returns no more than the names of the files. A worker that is lost costs the shards in its hands;
Ray gives them to another.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transferability import errors
from transferability.encoders import Encoder, FeatureFiles, OutputView
from transferability.errors import EncoderError, OptionError, TransferabilityError, require_extra
from transferability.features.job import Counts, Done, Job, Parts, Progress
from transferability.features.local import run
from transferability.features.preprocessing import n_processors
from transferability.features.shards import Shard

__all__ = ["Places", "RayExecutor", "connect", "connected", "places"]

_SHARDS_PER_CALL = 4  # reading ahead stops at the end of a call; what is lost with a worker begins there


@dataclass(frozen=True)
class RayExecutor:
    """Runs a job on the Ray cluster that this process is connected to, or on one that it starts on this machine.

    Parameters
    ----------
    load : callable
        Returns the job's encoder; called once by each actor. It must be picklable:
        ``functools.partial(load_encoder, "timm:resnet50.a1_in1k")``.
    actors : int, optional
        How many; by default as many as the cluster has room for, and never more than there are shards. An actor has a
        GPU if the encoder runs on CUDA, and else as many processors as this process has threads: with another number
        of threads sums are rounded in another order, and files would differ in their last digits.
    """

    load: Callable[[], Encoder | FeatureFiles]
    actors: int | None = None

    def __call__(self, job: Job, shards: Sequence[Shard], progress: Progress | None = None) -> Iterator[Done]:
        """Yield `Done`, one for each shard, in any order.

        Raises
        ------
        MissingExtraError
            If Ray is not installed.
        OptionError
            Without a cache.
        EncoderError
            If an actor's encoder is not the one of this process: other weights, libraries or devices.
        """
        ray = connected("`executor` 'ray'")
        if job.cache is None:
            message = "`executor` must be 'local' for features that are not kept: the actors write into the cache."
            raise OptionError(message)
        on_gpu = "cuda" in str((job.encoder.identity() or {}).get("device", "")).lower()
        place = places(ray, on_gpu)
        n_actors = max(1, min(self.actors or place.n_fit, len(shards)))
        per_call = max(1, min(_SHARDS_PER_CALL, len(shards) // n_actors))
        calls = [list(range(start, min(start + per_call, len(shards)))) for start in range(0, len(shards), per_call)]
        rest = (job.dataset, job.outputs, job.options, job.batch_size, job.cache, job.grows)
        results = (
            ray.data.from_items([{"call": call} for call in calls], override_num_blocks=len(calls))
            .map_batches(
                _Actor,
                fn_constructor_args=(self.load, ray.put(rest), job.encoder.identity(), tuple(shards)),
                batch_size=1,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(size=n_actors),
                num_cpus=place.n_cpus or None,
                num_gpus=place.n_gpus or None,
            )
            .iter_rows()
        )
        n_rows, n_done = sum(len(shard.rows) for shard in shards), 0
        for row in results:
            if row["error"]:
                name, message = json.loads(row["error"])
                raise getattr(errors, name)(message)
            for position, parts, counts in json.loads(row["done"]):
                n_done += len(shards[position].rows)
                if progress is not None:
                    progress(n_done, n_rows)
                files: Parts = {output: Path(path) for output, path in parts.items()}
                yield Done(shards[position], files, None if counts is None else Counts(*counts))


def connect(ray: Any) -> bool:
    """Start a cluster on this machine unless there is one; return whether it was started, and its settings are ours."""
    if ray.is_initialized():
        return False
    ray.init(include_dashboard=False, logging_level="warning", log_to_driver=False)
    return True


class Places(NamedTuple):
    """What an actor needs, and how many of them a cluster has room for."""

    n_cpus: int
    n_gpus: int
    n_fit: int


def connected(what: str) -> Any:
    """Return Ray, connected to the cluster that this process knows of or to one started on this machine.

    Raises
    ------
    MissingExtraError
        If it is not installed; `what` needs it.
    """
    ray = require_extra("ray", "ray", what)
    require_extra("ray.data", "ray", what)
    if connect(ray):
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False  # there is `progress`
    return ray


def places(ray: Any, on_gpu: bool | None) -> Places:
    """Return what an actor needs: a GPU, if the cluster has any where that is not said, or this process's threads.

    Raises
    ------
    OptionError
        If no machine of the cluster has that: Ray would wait for one for ever.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if on_gpu is None:
        on_gpu = any(resources.get("GPU", 0) >= 1 for resources in alive)
    n_threads = int(os.environ.get("OMP_NUM_THREADS") or n_processors())
    kind, needed = ("GPU", 1) if on_gpu else ("CPU", n_threads)
    n_fit = sum(int(resources.get(kind, 0)) // needed for resources in alive)
    if n_fit == 0:
        message = f"`executor` 'ray' must find a machine with {needed} {kind} in the cluster; it has none. "
        message += "Name a device that is there." if on_gpu else "Set OMP_NUM_THREADS to what its machines have."
        raise OptionError(message)
    return Places(0 if on_gpu else n_threads, int(on_gpu), n_fit)


class _Actor:
    """Holds an encoder and a data set; computes the shards it is told to.

    What is wrong with them is returned, not raised: Ray would try again, and print a page each time.
    """

    def __init__(
        self,
        load: Callable[[], Encoder],
        rest: Any,
        identity: dict[str, Any],
        shards: tuple[Shard, ...],
    ) -> None:
        import ray

        self._shards = shards
        self._error: TransferabilityError | None = None
        try:
            loaded = load()
            encoder: Encoder = loaded.base if isinstance(loaded, OutputView) else loaded
            _check_same(encoder, identity)
            self._job = Job(encoder, *ray.get(rest))
        except TransferabilityError as error:
            self._error = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        done: list[tuple[int, dict[str, str], Counts | None]] = []
        try:
            if self._error is not None:
                raise self._error
            done.extend(self._compute([int(position) for position in batch["call"][0]]))
            error = ""
        except TransferabilityError as raised:
            error = json.dumps((type(raised).__name__, str(raised)))
        return {"done": np.array([json.dumps(done)]), "error": np.array([error])}

    def _compute(self, positions: list[int]) -> Iterator[tuple[int, dict[str, str], Counts | None]]:
        for shard, parts, counts in run(self._job, [self._shards[position] for position in positions]):
            if not all(isinstance(part, Path) for part in parts.values()):
                message = f"the cache folder must have room on every machine; shard {shard.number} could not be kept. "
                message += "Free some, or set TRANSFERABILITY_CACHE to a folder that has it."
                raise OptionError(message)
            yield self._shards.index(shard), {output: str(part) for output, part in parts.items()}, counts


def _check_same(encoder: Encoder, identity: dict[str, Any]) -> None:
    """Refuse an encoder that would put other features under the same key."""
    there = encoder.identity() or {}
    differ = sorted(key for key in {**identity, **there} if identity.get(key) != there.get(key))
    if differ:
        message = f"encoder {encoder.name!r} must be the same on all machines; "
        message += "; ".join(f"{key} is {there.get(key)} on a worker and {identity.get(key)} here" for key in differ)
        raise EncoderError(message + ". Install the same versions, and name the device.")
