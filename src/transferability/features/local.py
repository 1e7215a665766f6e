"""The executor of one process: reads ahead, computes, writes behind, and shares shards with processes beside it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transferability.datasets import Dataset
from transferability.encoders import Encoder, preprocess_of
from transferability.encoders.base import TextReader
from transferability.encoders.identity import hash_json
from transferability.features.ahead import ahead
from transferability.features.decoder import Decoder
from transferability.features.fingerprints import fingerprint
from transferability.features.job import Counts, Done, Job, Progress
from transferability.features.model import Model, Rows, preparing, where
from transferability.features.prepare import Batch
from transferability.features.shards import Shard
from transferability.features.store import Entry, FeatureCache, read_counts
from transferability.features.trial import try_encoder

__all__ = ["run"]

_log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds after which is said whom it waits for
_POLL = 0.1  # seconds between two looks at a shard that another process computes


class Request(NamedTuple):
    """A batch that is being decoded, and the shards that its rows belong to."""

    claims: list[_Claim]
    rows: Sequence[int]
    batch: Future[Batch]


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
    n_rows, n_done = sum(len(shard.rows) for shard in shards), 0
    model = Model(job.encoder, job.dataset, job.outputs, job.dtype)
    decoder = Decoder(job.dataset, preprocess_of(job.encoder), job.workers)
    writer = ThreadPoolExecutor(1, thread_name_prefix="write")
    writing: deque[Future[Done]] = deque()
    claims: set[_Claim] = set()
    stop = threading.Event()
    stack = ExitStack()
    try:
        if job.cache is not None:
            stack.enter_context(job.cache.locks.lease([entry.key for entry in job.entries().values()]))
        with ahead(_requests(job, shards, decoder, claims, stop), lambda: decoder.ahead) as requests:
            try:
                for each in requests:
                    if isinstance(each, Done):
                        n_done += len(each.shard.rows)
                        yield each
                    else:
                        try_encoder(job.encoder, job.dataset, job.outputs, one_by_one=job.batch_size == 1)
                        rows = each.rows
                        batch = _decoded(job, decoder, each.batch, rows, n_rows - n_done - len(rows))
                        _share(each, batch, model(rows, batch), job.encoder)
                        n_done += len(rows)
                        for claim in each.claims:
                            if claim.complete and claim in claims:
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
        stack.close()


def _requests(
    job: Job, shards: Sequence[Shard], decoder: Decoder, claims: set[_Claim], stop: threading.Event
) -> Iterator[Done | Request]:
    """Yield shards that are there, and batches of those that are not, being decoded."""
    entries = job.entries()
    name = hash_json({"encoder": job.encoder.identity(), "dtype": job.dtype}) if entries else ""
    others: list[tuple[Shard, str]] = []

    def batches() -> Iterator[Request]:
        claimed, group[:] = list(group), []
        rows = _order(job.dataset, claimed)
        for start in range(0, len(rows), job.batch_size):
            part = rows[start : start + job.batch_size]
            yield Request(claimed, part, decoder.submit(part))

    group: list[_Claim] = []  # as many shards as a batch needs
    marks = ((shard, fingerprint(job.dataset, shard) if entries else "") for shard in shards)
    with ahead(marks, lambda: 2) as marked:  # reads a shard's bytes while the one before is decoded
        for shard, mark in marked:
            found = _claim(job, entries, name, shard, mark)
            if found is None:
                others.append((shard, mark))
            elif isinstance(found, Done):
                yield found
            else:
                claims.add(found)
                group.append(found)
                if sum(len(claim.shard.rows) for claim in group) >= job.batch_size:
                    yield from batches()
    yield from batches()
    for shard, mark in others:
        since = time.monotonic()
        while (found := _claim(job, entries, name, shard, mark)) is None and not stop.wait(_POLL):
            if time.monotonic() - since > _PATIENCE:
                _say_whom(job, _lock_name(name, mark), shard)
                since = math.inf
        if isinstance(found, Done):
            yield found
        elif found is not None:
            claims.add(found)
            group.append(found)
            yield from batches()


def _lock_name(name: str, mark: str) -> str:
    return f"{name[:32]}-{mark[:32]}"


def _say_whom(job: Job, lock: str, shard: Shard) -> None:
    assert job.cache is not None  # else nobody is waited for
    _log.warning(
        "waiting for %s, which computes %s with encoder %r.",
        job.cache.locks.owner(lock),
        where(job.dataset, shard.rows),
        job.encoder.name,
    )


def _order(dataset: Dataset, claims: Sequence[_Claim]) -> Sequence[int]:
    """Return the rows of shards: texts by falling length, other data as they are.

    Texts of one length need no padding: of mixed ones that halved the time of a small encoder. And the longest show at
    once whether memory suffices.
    """
    if len(claims) == 1 and dataset.modality != "text":
        return claims[0].shard.rows
    rows = [row for claim in claims for row in claim.shard.rows]
    if dataset.modality != "text":
        return rows
    lengths = [len(item) if isinstance(item, str) else sum(map(len, item)) for item in dataset.items(rows)]
    return [row for _, row in sorted(zip((-length for length in lengths), rows, strict=True))]


def _share(request: Request, batch: Batch, values: Rows, encoder: Encoder) -> None:
    """Give each shard its rows of a batch."""
    rows = np.asarray(request.rows)
    for claim in request.claims:
        own = np.flatnonzero((rows >= claim.shard.start) & (rows < claim.shard.stop))
        if len(own):
            reading = encoder.reading([batch[place] for place in own]) if isinstance(encoder, TextReader) else None
            counts = None if reading is None else Counts(len(own), reading.longer, reading.limit)
            claim.add(rows[own], {output: part[own] for output, part in values.items()}, counts)


def _claim(job: Job, entries: dict[str, Entry], name: str, shard: Shard, mark: str) -> Done | _Claim | None:
    """Return a shard that is there, or the right to compute it, or None if another process has that."""
    if job.cache is None:
        return _Claim(job, shard)
    found = _find(entries, shard, mark)
    if len(found) == len(entries):
        return _done(shard, found)
    lock = job.cache.acquire(_lock_name(name, mark))
    if lock is None:
        return None
    found = _find(entries, shard, mark)  # finished just now, perhaps
    claim = _Claim(job, shard, mark, {each: entries[each] for each in entries if each not in found}, found, lock)
    if claim.missing:
        return claim
    claim.release()
    return _done(shard, found)


def _done(shard: Shard, paths: dict[str, Path]) -> Done:
    counts = next(filter(None, map(read_counts, paths.values())), None)
    return Done(shard, dict(paths), None if counts is None else Counts(**counts))


def _find(entries: dict[str, Entry], shard: Shard, mark: str) -> dict[str, Path]:
    paths = {output: entry.find(shard.number, mark) for output, entry in entries.items()}
    return {output: path for output, path in paths.items() if path is not None}


def _decoded(job: Job, decoder: Decoder, future: Future[Batch], rows: Sequence[int], n_left: int) -> Batch:
    with preparing(job.encoder, job.dataset, rows):
        return decoder.result(future, rows, n_left)


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
        self._counts: Counts | None = None

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return self._n_left == 0

    def add(self, rows: npt.NDArray[np.intp], values: Rows, counts: Counts | None) -> None:
        """Take rows of a batch, as many numbers each as those before."""
        for output in self._outputs if self.missing is None else self.missing:
            part = values[output]
            if output not in self._rows:
                self._rows[output] = np.empty((len(self.shard.rows), part.shape[1]), dtype=part.dtype)
            self._rows[output][rows - self.shard.start] = part
        if counts is not None:
            self._counts = counts if self._counts is None else self._counts + counts
        self._n_left -= len(rows)

    def finish(self) -> Done:
        """Write what was computed; a disk that is full costs a line in the log, not the features."""
        parts: dict[str, Path | npt.NDArray[np.floating[Any]]] = {**self._found, **self._rows}
        try:
            for output, entry in (self.missing or {}).items():
                try:
                    counts = None if self._counts is None else self._counts._asdict()
                    parts[output] = entry.write(self.shard.number, self._mark, self._rows[output], counts)
                except OSError as error:
                    _log.warning("features could not be kept in %s: %s", entry.folder, error)
        finally:
            self._rows = {}
            self.release()
        return Done(self.shard, parts, self._counts)

    def release(self) -> None:
        """Let other processes have the shard."""
        if self._lock is not None and self._cache is not None:
            self._cache.release(self._lock)
            self._lock = None
