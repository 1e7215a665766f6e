"""One share of an extraction: for several machines or shells that see one cache folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

from transferability.datasets import Dataset
from transferability.encoders import FEATURES, Encoder
from transferability.errors import OptionError, OutputError
from transferability.features.assemble import finish
from transferability.features.extract import base_and_output
from transferability.features.job import Progress, make_job
from transferability.features.local import run
from transferability.features.shards import Shard, parse_share, pick
from transferability.features.store import FeatureCache
from transferability.settings import ExtractionArguments

__all__ = ["ShareDone", "extract_share"]


class ShareDone(NamedTuple):
    """What of a data set's shards is there after one share was worked on."""

    done: int
    total: int
    missing: tuple[Shard, ...]


def extract_share(
    encoder: Encoder,
    dataset: Dataset,
    share: str,
    outputs: Sequence[str] = (FEATURES,),
    *,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    **options: Unpack[ExtractionArguments],
) -> ShareDone:
    """Compute one share of the shards into the cache: for several machines or shells with one folder.

    When all shares are done, `extract_features` and its like find everything there.

    Parameters
    ----------
    encoder : Encoder
    dataset : Dataset
    share : str
        ``i/n``: the i-th of n shares, counted from 1.
    outputs : sequence of str
        As for `extract_outputs`.
    batch_size, cache, progress, workers, dtype
        As for `extract_features`. A cache must be there.

    Returns
    -------
    ShareDone
        Number of shards that are there now, number of all, and those that are missing.

    Raises
    ------
    OptionError
        If the share is no ``i/n`` or nothing can be kept: without a cache, or for an encoder without identity.
    OutputError
        If the cache has no room.
    EncoderError, DatasetError
        As `extract_features`.
    """
    number, n_shares = parse_share(share)
    base, output = base_and_output(encoder)
    wanted = tuple(output if each == FEATURES else each for each in outputs)
    job = make_job(base, dataset, wanted, cache, **options)
    if job.cache is None:
        message = "`shard` must go with a cache, where the shares meet; "
        message += f"encoder {encoder.name!r} cannot tell its identity." if cache else "got none. Leave it on."
        raise OptionError(message)
    for done in run(job, pick(job.shards(), number, n_shares), progress):
        if not all(isinstance(part, Path) for part in done.parts.values()):
            message = f"the cache folder must have room for shard {done.shard.number}, which could not be kept in "
            message += f"{job.cache.folder}. Free some, or set TRANSFERABILITY_CACHE to a folder that has it."
            raise OutputError(message)
    finish(job)
    there = set.intersection(*(entry.numbers() for entry in job.entries().values()))
    missing = tuple(shard for shard in job.shards() if shard.number not in there)
    return ShareDone(len(there), len(job.shards()), missing)
