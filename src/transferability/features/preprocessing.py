"""Decides who decodes: a thread of this process, until worker processes pay."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from transferability.datasets import Dataset
from transferability.encoders.base import Preprocess
from transferability.features.prepare import Batch, Preparation, Promised, prepare
from transferability.features.shared import Shared
from transferability.features.workers import PART, WorkerLostError, Workers, are_there_spare_workers

__all__ = ["Decoder", "most_workers", "n_processors"]

_PAYS = 40.0  # seconds that the model would still wait, by processors; starting workers takes seconds of each
_PAYS_AT_LEAST = 3.0
_MANY_ROWS, _MANY = 2048, 4  # for as many rows on a GPU, and as many processors, they are started at once
_WARM_UP = 24  # rows that tell nothing about those after them: libraries are imported, files opened
_MOST_WORKERS = 16

_log = logging.getLogger(__name__)


def n_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_workers() -> int:
    """Return how many worker processes may be asked for: beyond a few per processor they wait for each other."""
    return max(64, 8 * n_processors())


class Decoder:
    """Gives batches of a data set, as the encoder takes them, while the encoder computes.

    Parameters
    ----------
    dataset : Dataset
    preprocess : callable or None
    workers : int, optional
        Processes; 0 for a thread of this one. By default a thread, and a process per processor (16 at most) from the
        moment when the model has waited so long for its batches that they pay: without them it would wait 20 seconds
        more on two processors, and 3 on a dozen.
    """

    def __init__(
        self, dataset: Dataset, preprocess: Preprocess | None, workers: int | None = None, *, for_gpu: bool = False
    ) -> None:
        self._dataset = dataset
        self._preprocess = preprocess
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._count = min(n_processors(), _MOST_WORKERS) if workers is None else workers
        self._undecided = workers is None and self._count > 1
        self._at_once = for_gpu and preprocess is not None and len(dataset) >= _MANY_ROWS and self._count >= _MANY
        self._workers: Workers | None = None
        self._n_rows = 0
        self._n_parts = 1  # that the last batch was asked for in
        self._waited = 0.0
        self._n_waited_for = 0
        if workers or (self._undecided and are_there_spare_workers()):
            self._start()

    @property
    def ahead(self) -> int:
        """How many batches to ask for before the first of them is needed."""
        if self._workers is None or not (self._workers.ready or self._at_once):
            return 2  # of the thread's; what waits for it waits for long
        return max(2, math.ceil((self._count + 2) / self._n_parts))

    def submit(self, rows: Sequence[int]) -> Promised:
        """Return what will be the items of these rows."""
        if self._undecided and self._at_once:
            self._start()
        if self._workers is not None and self._workers.failure() is not None:
            _log.info("decoding stays in this process: %s", self._workers.failure())
            self._workers.close()
            self._workers = None
        self._n_parts = math.ceil(len(rows) / PART)
        if self._workers is not None and (self._workers.ready or self._at_once):
            return self._workers.submit(rows)
        return self._thread.submit(prepare, self._dataset, self._preprocess, rows)

    def result(self, future: Promised, rows: Sequence[int], n_left: int) -> Batch:
        """Wait for a batch; `n_left` rows are to come after it."""
        started = time.perf_counter()
        try:
            batch = future.result()
        except WorkerLostError as error:
            if self._workers is not None and self._workers.failure() is None:  # else `submit` says it
                _log.warning("%s; its rows are decoded in this process. Fewer workers need less memory.", error)
            batch = prepare(self._dataset, self._preprocess, rows)
        self._n_rows += len(rows)
        if self._n_rows <= max(_WARM_UP, len(rows)):
            return batch
        self._waited += time.perf_counter() - started
        self._n_waited_for += len(rows)
        pays = max(_PAYS_AT_LEAST, _PAYS / n_processors())
        if self._undecided and self._waited / self._n_waited_for * n_left > pays:
            self._start()
        return batch

    def close(self) -> None:
        """Stop all that is under way."""
        self._thread.shutdown(cancel_futures=True)
        if self._workers is not None:
            self._workers.close()

    def _start(self) -> None:
        self._undecided = False
        try:
            payload = Shared(Preparation(self._dataset, self._preprocess))
        except Exception as error:  # noqa: BLE001 - pickle raises what it likes
            _log.info("decoding stays in this process: the data cannot be sent to others (%s)", error)
            return
        try:
            self._workers = Workers(self._count, payload)
        except OSError as error:
            _log.warning("decoding stays in this process: %d others cannot be started (%s)", self._count, error)
