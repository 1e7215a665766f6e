"""Encoders whose features are computed already, measured at once: one to a core, in processes or on threads."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from threadpoolctl import threadpool_limits

from transferability.encoders import FeatureFiles
from transferability.features.shared import Shared
from transferability.features.workers import WorkerLostError, Workers, are_there_spare_workers
from transferability.pipeline.data import AnyEncoder

__all__ = ["are_computed", "in_parallel", "side_by_side"]

T = TypeVar("T")

_AHEAD = 2  # encoders per core that are begun before the first one is done: results wait in memory
_WORTH_STARTING = 16  # encoders: a process takes a second and more to start
_log = logging.getLogger(__name__)


def are_computed(encoders: Sequence[AnyEncoder]) -> bool:
    """Tell whether the features of all encoders are computed already."""
    return all(
        isinstance(each, FeatureFiles)
        or (isinstance(each, str) and each.partition(":")[0].rpartition("=")[2] == "features")
        for each in encoders
    )


def in_parallel(encoders: Sequence[AnyEncoder]) -> bool:
    """Tell whether encoders are measured side by side: there are several, of features that are computed already."""
    return _n_cores() > 1 and len(encoders) > 1 and are_computed(encoders)


def side_by_side(do: Callable[[AnyEncoder], T], encoders: Sequence[AnyEncoder]) -> Iterator[Callable[[], T]]:
    """Yield for each encoder, in order, what returns `do` of it, or raises what that raises.

    In processes of one core each: much of the work on few rows is Python, of which one thread runs at a time. A process
    takes a second to start, so a few encoders are measured on threads, unless there are processes of before
    (`keep_workers`). So are arrays in memory, which would have to be sent, and what cannot be sent. A process that is
    lost costs time: its encoder is measured by this one.
    """
    worth_it = len(encoders) >= _WORTH_STARTING or are_there_spare_workers()
    workers = (
        _workers(do, len(encoders)) if worth_it and all(type(e) in (str, FeatureFiles) for e in encoders) else None
    )
    if workers is None:
        yield from _on_threads(do, encoders)
        return
    try:
        asked = [(each, workers.ask(each)) for each in encoders]
        for encoder, answer in asked:
            yield partial(_answer_or_own, do, encoder, answer)
    finally:
        workers.close()


def _workers(do: Callable[[AnyEncoder], T], n_encoders: int) -> Workers | None:
    """Return processes that know what to do; None where they cannot: a class of the user's script, say."""
    try:
        workers = Workers(min(_n_cores(), n_encoders), Shared(do))
    except Exception as error:  # noqa: BLE001 - pickle raises what it likes
        _log.info("encoders are measured on threads: processes cannot be started for them (%s)", error)
        return None
    failure = workers.wait()
    if failure is None:
        return workers
    workers.close()
    _log.info("encoders are measured on threads: processes do not know how to (%s)", failure)
    return None


def _on_threads(do: Callable[[AnyEncoder], T], encoders: Sequence[AnyEncoder]) -> Iterator[Callable[[], T]]:
    n_cores = _n_cores()
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(n_cores) as pool:
        begun: deque[Future[T]] = deque()
        try:
            for encoder in encoders:
                begun.append(pool.submit(do, encoder))
                if len(begun) >= _AHEAD * n_cores:
                    yield begun.popleft().result
            while begun:
                yield begun.popleft().result
        finally:
            for waiting in begun:
                waiting.cancel()


def _answer_or_own(do: Callable[[AnyEncoder], T], encoder: AnyEncoder, answer: Future[T]) -> T:
    try:
        return answer.result()
    except WorkerLostError as error:
        _log.warning("an encoder is measured in this process: %s", error)
        return do(encoder)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
