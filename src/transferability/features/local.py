"""The executor of one process: reads ahead, computes, writes behind, and shares shards with processes beside it."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from transferability.datasets import Dataset
from transferability.encoders import preprocess_of
from transferability.features.batch_size import BatchSize
from transferability.features.claims import Claim, Claims
from transferability.features.inference import Model, Rows, Started, preparing, where
from transferability.features.job import Done, Job, Progress
from transferability.features.prefetch import prefetch
from transferability.features.prepare import Batch, Promised
from transferability.features.preprocessing import Decoder
from transferability.features.shards import SHARD_ROWS, Shard
from transferability.features.trial import try_encoder

__all__ = ["run"]

_log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds after which is said whom it waits for
_MOST_ROWS = 16 * SHARD_ROWS  # in memory beside a batch, where shards have few rows each that are to be encoded
_POLL = 0.1  # seconds between two looks at a shard that another process computes


class Request(NamedTuple):
    """A batch that is being decoded, and the shards that its rows belong to."""

    claims: list[Claim]
    rows: Sequence[int]
    batch: Promised


class InWork(NamedTuple):
    """A batch that is being computed."""

    request: Request
    batch: Batch
    started: Started


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
    n_rows, n_done, n_told = sum(len(shard.rows) for shard in shards), 0, 0
    model = Model(job.encoder, job.dataset, job.outputs, job.options.dtype)
    decoder = Decoder(job.dataset, preprocess_of(job.encoder), job.options.workers, for_gpu=job.on_gpu)
    size = BatchSize(job.batch_size, job.grows)
    writer = ThreadPoolExecutor(1, thread_name_prefix="write")
    writing: deque[Future[Done]] = deque()
    taken: set[Claim] = set()
    computing: deque[InWork] = deque()
    stop = threading.Event()
    stack = ExitStack()
    try:
        if job.cache is not None:
            stack.enter_context(job.cache.locks.lease([entry.key for entry in job.entries().values()]))
        with prefetch(_requests(job, shards, size, decoder, taken, stop), lambda: decoder.ahead) as requests:
            try:
                for each in itertools.chain(requests, [None]):
                    complete: list[Claim] = []
                    if isinstance(each, Done):
                        n_done += len(each.shard.rows)
                        yield each
                    elif isinstance(each, Claim):
                        each.count_reused()  # here: some tokenisers must not be asked by two threads at once
                        n_done += len(each.reused)
                        complete = [each] if each.complete else []
                    elif each is not None:
                        try_encoder(job.encoder, job.dataset, job.outputs, one_by_one=job.batch_size == 1)
                        n_left = n_rows - n_done - sum(len(other.request.rows) for other in computing)
                        batch = _decoded(job, decoder, each.batch, each.rows, n_left - len(each.rows))
                        computing.append(InWork(each, batch, model.start(each.rows, batch)))
                    # One is given to a GPU before the one before it is waited for; with None there is none to come.
                    while computing and (each is None or len(computing) > 1 or computing[0].started.finished):
                        request, batch, started = computing.popleft()
                        _share(request, batch, started.result())
                        size.saw(len(request.rows), started.seconds, model.fits)
                        n_done += len(request.rows)
                        complete += [claim for claim in request.claims if claim.complete and claim in taken]
                    for claim in complete:
                        writing.append(writer.submit(claim.finish))
                        taken.discard(claim)
                    if progress is not None and n_done > n_told:
                        n_told = n_done
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
        for claim in taken:
            claim.release()
        stack.close()


def _requests(
    job: Job, shards: Sequence[Shard], size: BatchSize, decoder: Decoder, taken: set[Claim], stop: threading.Event
) -> Iterator[Done | Claim | Request | None]:
    """Yield shards that are there, those of which some rows are, and batches of what is not, being decoded.

    None comes before it waits for another process, which may wait for what this one has in work.
    """
    claims = Claims(job)
    others: list[tuple[Shard, str]] = []
    group: list[Claim] = []  # as many shards as a batch needs

    def batches() -> Iterator[Request]:
        claimed, group[:] = list(group), []
        rows = _order(job.dataset, claimed)
        while rows:
            part, rows = rows[: size.current], rows[size.current :]
            yield Request(claimed, part, decoder.submit(part))

    def begin(claim: Claim) -> Iterator[Claim]:
        taken.add(claim)
        if not claim.complete:
            group.append(claim)
        if len(claim.reused):
            yield claim

    marks = ((shard, claims.mark(shard)) for shard in shards)
    with prefetch(marks, lambda: 2) as marked:  # reads a shard's bytes while the one before is decoded
        for shard, mark in marked:
            found = claims.take(shard, mark)
            if found is None:
                others.append((shard, mark))
            elif isinstance(found, Done):
                yield found
            else:
                yield from begin(found)
                if _is_enough(group, size.current):
                    yield from batches()
    yield from batches()
    for shard, mark in others:
        yield None
        since = time.monotonic()
        while (found := claims.take(shard, mark)) is None and not stop.wait(_POLL):
            if time.monotonic() - since > _PATIENCE:
                _say_whom(job, claims.lock_name(mark), shard)
                since = math.inf
        claims.forget()
        if isinstance(found, Done):
            yield found
        elif found is not None:
            yield from begin(found)
            yield from batches()


def _is_enough(group: Sequence[Claim], batch_size: int) -> bool:
    """Tell whether a group of shards fills a batch, or more memory than it should."""
    n_rows = sum(len(claim.shard.rows) for claim in group)
    return sum(len(claim.rows_left) for claim in group) >= batch_size or n_rows >= _MOST_ROWS + batch_size


def _say_whom(job: Job, lock: str, shard: Shard) -> None:
    assert job.cache is not None  # else nobody is waited for
    _log.warning(
        "waiting for %s, which computes %s with encoder %r.",
        job.cache.locks.owner(lock),
        where(job.dataset, shard.rows),
        job.encoder.name,
    )


def _order(dataset: Dataset, claims: Sequence[Claim]) -> Sequence[int]:
    """Return the rows of shards that are to be encoded: texts by falling length, other data as they are.

    Texts of one length need no padding: of mixed ones that halved the time of a small encoder. And the longest show at
    once whether memory suffices.
    """
    if len(claims) == 1 and dataset.modality != "text":
        return claims[0].rows_left
    rows = [row for claim in claims for row in claim.rows_left]
    if dataset.modality != "text":
        return rows
    lengths = [len(item) if isinstance(item, str) else sum(map(len, item)) for item in dataset.items(rows)]
    return [row for _, row in sorted(zip((-length for length in lengths), rows, strict=True))]


def _share(request: Request, batch: Batch, values: Rows) -> None:
    """Give each shard its rows of a batch."""
    rows = np.asarray(request.rows)
    for claim in request.claims:
        own = np.flatnonzero((rows >= claim.shard.start) & (rows < claim.shard.stop))
        if len(own):
            claim.add(rows[own], {output: part[own] for output, part in values.items()}, [batch[at] for at in own])


def _decoded(job: Job, decoder: Decoder, future: Promised, rows: Sequence[int], n_left: int) -> Batch:
    with preparing(job.encoder, job.dataset, rows):
        return decoder.result(future, rows, n_left)
