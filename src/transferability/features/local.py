"""The executor of one process: reads ahead, computes, writes behind, and shares shards with processes beside it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability.datasets import Dataset
from transferability.encoders import preprocess_of
from transferability.encoders.identity import hash_json
from transferability.errors import EncoderError, TransferabilityError
from transferability.features.ahead import ahead
from transferability.features.decoder import Decoder
from transferability.features.fingerprints import fingerprint
from transferability.features.job import Done, Job, Progress
from transferability.features.model import Model, Rows, where
from transferability.features.prepare import Batch
from transferability.features.shards import Shard
from transferability.features.store import Entry, FeatureCache

__all__ = ["run"]

_log = logging.getLogger(__name__)

_POLL = 0.1  # seconds between two looks at a shard that another process computes

Request = tuple["_Claim", Sequence[int], Future[Batch]]


def run(job: Job, shards: Sequence[Shard], progress: Progress | None = None) -> Iterator[Done]:
    """Find or compute shards of a job.

    Shards that another process is computing come last: by then it has finished them, or was killed and left them.

    Parameters
    ----------
    job : Job
    shards : sequence of Shard
    progress : callable, optional
        Called after each batch with the rows done and the rows of all these shards.

    Yields
    ------
    Done
        One for each shard, in any order.

    Raises
    ------
    EncoderError
        If the encoder fails, or returns anything but one finite row per item.
    DatasetError
        If an item cannot be read.
    OptionError
        If the folder of the cache cannot be written.
    """
    n_rows = sum(len(shard.rows) for shard in shards)
    n_done = 0
    model = Model(job.encoder, job.dataset, job.outputs, job.dtype)
    decoder = Decoder(job.dataset, preprocess_of(job.encoder), job.workers)
    writer = ThreadPoolExecutor(1, thread_name_prefix="write")
    writing: deque[Future[Done]] = deque()
    claims: set[_Claim] = set()
    stop = threading.Event()
    try:
        with ahead(_requests(job, shards, decoder, claims, stop), lambda: decoder.ahead) as requests:
            try:
                for each in requests:
                    if isinstance(each, Done):
                        n_done += len(each.shard.rows)
                        yield each
                    else:
                        claim, rows, future = each
                        batch = _decoded(job, decoder, future, rows, n_rows - n_done - len(rows))
                        claim.add(rows, model(rows, batch))
                        n_done += len(rows)
                        if claim.complete:
                            writing.append(writer.submit(claim.finish))
                            claims.discard(claim)
                    if progress is not None:
                        progress(n_done, n_rows)
                    while writing and (writing[0].done() or len(writing) > 1):  # one in memory beside the one in work
                        yield writing.popleft().result()
            finally:
                stop.set()
        while writing:
            yield writing.popleft().result()
    finally:
        decoder.close()
        writer.shutdown()
        for claim in claims:
            claim.release()


def _requests(
    job: Job, shards: Sequence[Shard], decoder: Decoder, claims: set[_Claim], stop: threading.Event
) -> Iterator[Done | Request]:
    """Yield shards that are there, and batches of those that are not, being decoded."""
    entries = job.entries()
    name = hash_json({"encoder": job.encoder.identity(), "dtype": job.dtype}) if entries else ""
    others: list[tuple[Shard, str]] = []

    def batches(claim: _Claim) -> Iterator[Request]:
        claims.add(claim)
        for rows in claim.shard.batches(job.batch_size, _order(job.dataset, claim.shard)):
            yield claim, rows, decoder.submit(rows)

    marks = ((shard, fingerprint(job.dataset, shard) if entries else "") for shard in shards)
    with ahead(marks, lambda: 2) as marked:  # reads a shard's bytes while the one before is decoded
        for shard, mark in marked:
            found = _claim(job, entries, name, shard, mark)
            if found is None:
                others.append((shard, mark))
            elif isinstance(found, Done):
                yield found
            else:
                yield from batches(found)
    for shard, mark in others:
        while (found := _claim(job, entries, name, shard, mark)) is None and not stop.wait(_POLL):
            pass
        if isinstance(found, Done):
            yield found
        elif found is not None:
            yield from batches(found)


def _order(dataset: Dataset, shard: Shard) -> list[int] | None:
    """Return rows of texts by falling length; None for other data.

    Texts of one length need no padding: of mixed ones that halved the time of a small encoder. And the longest show at
    once whether memory suffices.
    """
    if dataset.modality != "text":
        return None
    lengths = [len(item) if isinstance(item, str) else sum(map(len, item)) for item in dataset.items(shard.rows)]
    return sorted(shard.rows, key=lambda row: -lengths[row - shard.start])


def _claim(job: Job, entries: dict[str, Entry], name: str, shard: Shard, mark: str) -> Done | _Claim | None:
    """Return a shard that is there, or the right to compute it, or None if another process has that."""
    if job.cache is None:
        return _Claim(job, shard)
    found = _find(entries, shard, mark)
    if len(found) == len(entries):
        return Done(shard, dict(found))
    lock = job.cache.acquire(f"{name[:32]}-{mark[:32]}")
    if lock is None:
        return None
    found = _find(entries, shard, mark)  # finished just now, perhaps
    claim = _Claim(job, shard, mark, {each: entries[each] for each in entries if each not in found}, found, lock)
    if claim.missing:
        return claim
    claim.release()
    return Done(shard, dict(found))


def _find(entries: dict[str, Entry], shard: Shard, mark: str) -> dict[str, Path]:
    paths = {output: entry.find(shard.number, mark) for output, entry in entries.items()}
    return {output: path for output, path in paths.items() if path is not None}


def _decoded(job: Job, decoder: Decoder, future: Future[Batch], rows: Sequence[int], n_left: int) -> Batch:
    try:
        return decoder.result(future, rows, n_left)
    except TransferabilityError:
        raise
    except Exception as error:
        message = f"the preprocessing of encoder {job.encoder.name!r} failed on {where(job.dataset, rows)}: "
        message += f"{type(error).__name__}: {error}"
        raise EncoderError(message) from error


class _Claim:
    """A shard that this process computes, and nobody else while it is not released."""

    def __init__(
        self,
        job: Job,
        shard: Shard,
        mark: str = "",
        missing: dict[str, Entry] | None = None,
        found: dict[str, Path] | None = None,
        lock: Any = None,
    ) -> None:
        self.shard = shard
        self.missing = missing
        self._cache: FeatureCache | None = job.cache
        self._outputs = job.outputs
        self._mark = mark
        self._found = found or {}
        self._lock = lock
        self._n_left = len(shard.rows)
        self._rows: dict[str, npt.NDArray[np.floating[Any]]] = {}

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return self._n_left == 0

    def add(self, rows: Sequence[int], values: Rows) -> None:
        """Take the rows of a batch, as many numbers each as those before."""
        for output in self._outputs if self.missing is None else self.missing:
            part = values[output]
            if output not in self._rows:
                self._rows[output] = np.empty((len(self.shard.rows), part.shape[1]), dtype=part.dtype)
            self._rows[output][np.array(rows) - self.shard.start] = part
        self._n_left -= len(rows)

    def finish(self) -> Done:
        """Write what was computed; a disk that is full costs a line in the log, not the features."""
        parts: dict[str, Path | npt.NDArray[np.floating[Any]]] = {**self._found, **self._rows}
        try:
            for output, entry in (self.missing or {}).items():
                try:
                    parts[output] = entry.write(self.shard.number, self._mark, self._rows[output])
                except OSError as error:
                    _log.warning("features could not be kept in %s: %s", entry.folder, error)
        finally:
            self._rows = {}
            self.release()
        return Done(self.shard, parts)

    def release(self) -> None:
        """Let other processes have the shard."""
        if self._lock is not None and self._cache is not None:
            self._cache.release(self._lock)
            self._lock = None
