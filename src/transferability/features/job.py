"""What an executor is asked to do, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from transferability.datasets import Dataset
from transferability.encoders import Encoder
from transferability.features.fingerprints import describe
from transferability.features.shards import SHARD_ROWS, Shard, plan
from transferability.features.store import DType, Entry, FeatureCache

__all__ = ["Done", "Executor", "Job", "Progress"]


Progress = Callable[[int, int], None]
"""Called with the number of rows done and the number of all."""


class Done(NamedTuple):
    """A shard that is finished: each output as a file of the store or, where none is kept, as rows."""

    shard: Shard
    parts: dict[str, Path | npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True, eq=False)
class Job:
    """Outputs of an encoder, wanted for a data set."""

    encoder: Encoder
    dataset: Dataset
    outputs: tuple[str, ...]
    batch_size: int
    dtype: DType = "float32"
    workers: int | None = None
    cache: FeatureCache | None = None  # None: nothing is kept

    def shards(self) -> list[Shard]:
        """Return all shards."""
        return plan(len(self.dataset), SHARD_ROWS if self.cache is None else self.cache.shard_rows)

    def entries(self) -> dict[str, Entry]:
        """Return the place of each output in the store; none without a store."""
        if self.cache is None:
            return {}
        about = {
            "encoder": self.encoder.identity(),
            "dtype": self.dtype,
            "data": describe(self.dataset, self.shards()[0]),
        }
        names = {"encoder_name": self.encoder.name, "data_name": self.dataset.name}
        return {output: self.cache.entry({**about, "output": output}, names) for output in self.outputs}


class Executor(Protocol):
    """Whatever finds or computes shards of a job; all make the same files."""

    def __call__(self, job: Job, shards: Sequence[Shard], progress: Progress | None = None) -> Iterator[Done]:
        """Yield `Done`, one for each shard, in any order."""
