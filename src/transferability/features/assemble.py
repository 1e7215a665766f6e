"""Shards put together: in order, checked against each other, with what the data set knows of their rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import FloatArray
from transferability._files import Features
from transferability.datasets import Dataset
from transferability.errors import EncoderError, FileDamagedError
from transferability.features.cache_admin import prune, size_limit
from transferability.features.inference import where
from transferability.features.job import Counts, Done, Job
from transferability.features.local import run
from transferability.features.shards import Shard
from transferability.features.store import read_shard

__all__ = ["as_float32", "assemble", "check_width", "finish", "in_order", "notes_of", "rows_of", "with_rows"]

_log = logging.getLogger(__name__)


def in_order(done: Iterable[Done]) -> Iterator[Done]:
    """Yield shards by their rows, each as soon as those before it are there."""
    waiting: dict[int, Done] = {}
    position = 0
    for each in done:
        waiting[each.shard.number] = each
        while position in waiting:
            yield waiting.pop(position)
            position += 1


def assemble(job: Job, done: Iterable[Done]) -> dict[str, Features]:
    """Return whole outputs, their shards put together."""
    whole: dict[str, npt.NDArray[np.float32]] = {}
    counts: list[Counts] = []
    for each in done:
        shard = each.shard
        counts += [] if each.counts is None else [each.counts]
        for output, rows in rows_of(job, each).items():
            if output not in whole:
                whole[output] = np.empty((len(job.dataset), rows.shape[1]), dtype=np.float32)
            check_width(job, shard, rows.shape[1], whole[output].shape[1])
            whole[output][shard.start : shard.stop] = rows
    finish(job)
    keys = {output: entry.key for output, entry in job.entries().items()}
    notes = notes_of(job, counts)
    return {
        output: replace(with_rows(whole[output], job.dataset), key=keys.get(output), notes=notes)
        for output in job.outputs
    }


def rows_of(job: Job, done: Done) -> dict[str, npt.NDArray[np.float32]]:
    """Return the rows of a shard; where its files have vanished meanwhile, it is computed once more."""
    try:
        return {output: as_float32(part) for output, part in done.parts.items()}
    except FileDamagedError:
        (again,) = run(replace(job, cache=None), [done.shard])
        return {output: as_float32(part) for output, part in again.parts.items()}


def notes_of(job: Job, counts: Sequence[Counts]) -> tuple[str, ...]:
    """Return what must be said of the features of a data set: that texts were cut."""
    texts, longer = sum(each.texts for each in counts), sum(each.longer for each in counts)
    if longer == 0:
        return ()
    limit = max(each.limit for each in counts)
    share = f"{100 * longer / texts:.0f}" if 100 * longer >= texts else "less than 1"
    note = f"{share} % of the texts of data {job.dataset.name!r} ({longer:,} of {texts:,}) are longer than the "
    note += f"{limit:,} tokens that encoder {job.encoder.name!r} reads; the rest of them is cut off."
    return (note,)


def check_width(job: Job, shard: Shard, width: int, before: int) -> None:
    """Within one run the model has checked it; here shards of other runs come in."""
    if width != before:
        message = f"encoder {job.encoder.name!r} must return rows of one length; it returned {before} numbers for some "
        message += f"rows and {width} for {where(job.dataset, shard.rows)}. "
        message += "An input size that follows the picture's is the usual cause."
        raise EncoderError(message)


def finish(job: Job) -> None:
    """Note that a job's entries were used, and keep the cache within its limit, if there is one."""
    if job.cache is None:
        return
    entries = job.entries().values()
    for entry in entries:
        entry.touch()
    limit = size_limit()
    if limit is not None:
        try:
            prune(job.cache, limit, spare=[entry.key for entry in entries])
        except OSError as error:  # never at the cost of a result
            _log.warning("the cache could not be kept within its limit: %s", error)


def as_float32(part: Path | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the rows of a part of a `Done`, wherever they are."""
    rows = read_shard(part) if isinstance(part, Path) else part
    return rows.astype(np.float32, copy=False)


def with_rows(features: FloatArray, dataset: Dataset) -> Features:
    """Return features with what a data set knows of its rows."""
    return Features(features, dataset.labels, dataset.class_names, dataset.ids, dataset.name, dataset.targets)
