"""What an executor is asked to do, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Unpack, get_args

import numpy as np
import numpy.typing as npt

from transferability._validate import check_choice
from transferability.datasets import Dataset
from transferability.encoders import Encoder, accepts, outputs_of
from transferability.encoders.base import Modality
from transferability.encoders.registry import prefixes_of
from transferability.errors import EncoderError, OptionError, nearest_names, one_line, passes_through
from transferability.features.cache_admin import size_limit
from transferability.features.fingerprints import describe, forget_changed
from transferability.features.preprocessing import most_workers
from transferability.features.shards import SHARD_ROWS, Shard, plan
from transferability.features.store import DType, Entry, FeatureCache
from transferability.settings import ExtractionArguments, ExtractionOptions

__all__ = ["NOUNS", "Counts", "Done", "Executor", "Job", "Parts", "Progress", "encoders_for", "make_job"]

_BATCH_SIZE = 32
_ON_GPU = 128  # to begin with: doubled while that makes it faster, halved where memory does not suffice
_PICTURES_ON_CPU = 8  # larger batches of activations leave the processor's cache: 32 was measured 2.5 times slower
NOUNS = {
    "image": "pictures",
    "text": "texts",
    "array": "arrays, such as features",
    "tokens": "words of sentences",
}


Progress = Callable[[int, int], None]
"""Called with the number of rows done and the number of all."""


Parts = dict[str, Path | npt.NDArray[np.floating[Any]]]


class Counts(NamedTuple):
    """What an encoder of texts did not read of them."""

    texts: int
    longer: int
    limit: int

    def __add__(self, other: object) -> Counts:  # of two sets of texts; a tuple would be joined
        assert isinstance(other, Counts)
        return Counts(self.texts + other.texts, self.longer + other.longer, max(self.limit, other.limit))


class Done(NamedTuple):
    """A shard that is finished: each output as a file of the store or, where none is kept, as rows."""

    shard: Shard
    parts: Parts
    counts: Counts | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """Outputs of an encoder, wanted for a data set."""

    encoder: Encoder
    dataset: Dataset
    outputs: tuple[str, ...]
    options: ExtractionOptions
    batch_size: int  # to begin with
    cache: FeatureCache | None = None  # None: nothing is kept
    grows: bool = False  # the batch size, while the encoder gets faster with it
    on_gpu: bool = False

    def shards(self) -> list[Shard]:
        """Return all shards."""
        return plan(len(self.dataset), SHARD_ROWS if self.cache is None else self.cache.shard_rows)

    def decides(self) -> dict[str, Any]:
        """Return what features depend on beside the items: the encoder, and options that say what is computed."""
        changed = {
            each.name: getattr(self.options, each.name)
            for each in fields(self.options)
            if not each.metadata["of_machine"] and getattr(self.options, each.name) != each.default
        }
        return {"encoder": self.encoder.identity(), "dtype": self.options.dtype, **changed}

    def entries(self) -> dict[str, Entry]:
        """Return the place of each output in the store; none without a store."""
        if self.cache is None:
            return {}
        about = {**self.decides(), "data": describe(self.dataset, self.shards()[0])}
        names = {"encoder_name": self.encoder.name, "data_name": self.dataset.name}
        return {output: self.cache.entry({**about, "output": output}, names) for output in self.outputs}


class Executor(Protocol):
    """Whatever finds or computes shards of a job; all make the same files."""

    def __call__(self, job: Job, shards: Sequence[Shard], progress: Progress | None = None) -> Iterator[Done]:
        """Yield `Done`, one for each shard, in any order."""


def _identity(encoder: Encoder) -> dict[str, Any] | None:
    try:
        return encoder.identity()
    except BaseException as error:
        if passes_through(error):
            raise
        message = f"encoder {encoder.name!r} cannot tell its identity: {type(error).__name__}: {one_line(error)}."
        raise EncoderError(message) from error


def encoders_for(modality: Modality) -> str:
    """Return the sentence that says which encoders take these data."""
    if modality == "array":
        return "Features need no encoder."
    return f"For {NOUNS[modality]}: {prefixes_of(lambda family: modality in family.modalities)}."


def make_job(
    encoder: Encoder,
    dataset: Dataset,
    outputs: tuple[str, ...],
    cache: FeatureCache | bool,
    **arguments: Unpack[ExtractionArguments],
) -> Job:
    """Return a checked job, with the defaults filled in."""
    options = _checked(ExtractionOptions(**arguments))
    forget_changed(dataset)
    if not accepts(encoder, dataset.modality):
        message = f"encoder {encoder.name!r} takes {NOUNS[encoder.modality or 'array']}; data {dataset.name!r} are "
        message += f"{NOUNS[dataset.modality]}. {encoders_for(dataset.modality)}"
        raise EncoderError(message)
    known = outputs_of(encoder)
    for output in outputs:
        if output not in known:
            message = f"`outputs` must be among those of encoder {encoder.name!r}; got {output!r}. "
            raise OptionError(message + nearest_names(output, known))
    identity = _identity(encoder)
    device = str((identity or {}).get("device", "")).lower()
    size = _PICTURES_ON_CPU if "cpu" in device and dataset.modality == "image" else _BATCH_SIZE
    on_gpu = "cuda" in device
    size = _ON_GPU if on_gpu else size
    size_limit()  # said now if it is none, and not when all is done
    store = (cache if isinstance(cache, FeatureCache) else FeatureCache()) if cache and identity is not None else None
    grows = on_gpu and options.batch_size is None
    return Job(encoder, dataset, outputs, options, options.batch_size or size, store, grows, on_gpu)


def _checked(options: ExtractionOptions) -> ExtractionOptions:
    """Return the options; raise for one outside the range that its declaration says."""
    check_choice(options.dtype, get_args(DType), "dtype")
    for each in fields(options):
        value, least = getattr(options, each.name), each.metadata["min"]
        if value is not None and least is not None and value < least:
            message = f"`{each.name}` must be at least {least}; got {value}."
            raise OptionError(message)
    if options.workers is not None and options.workers > most_workers():
        message = f"`workers` must be at most {most_workers()} on this machine; got {options.workers}. "
        raise OptionError(message + "By default there are as many as pay.")
    return options
