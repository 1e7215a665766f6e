"""Encoders whose features are computed already, measured at once: one to a core, in processes or on threads."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from threadpoolctl import threadpool_limits

from transferability.encoders import FeatureFiles
from transferability.features.preprocessing import n_processors
from transferability.features.shared import Shared
from transferability.features.workers import WorkerLostError, Workers, are_there_spare_workers
from transferability.pipeline.data import AnyEncoder

__all__ = ["are_computed", "in_parallel", "side_by_side"]

T = TypeVar("T")

_AHEAD = 2  # encoders per core that are begun before the first one is done: results wait in memory
_WORTH_STARTING = 10.0  # seconds of work on threads: a process takes one or two to start
_MOST_BYTES = 1 << 28  # of arrays in memory that processes get a copy of; threads share them
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
    return n_processors() > 1 and len(encoders) > 1 and are_computed(encoders)


def side_by_side(do: Callable[[AnyEncoder], T], encoders: Sequence[AnyEncoder]) -> Generator[Callable[[], T]]:
    """Yield for each encoder, in order, what returns `do` of it, or raises what that raises.

    The first few are measured on threads, and the others in processes of one core each where they would take ten
    seconds and more: a process takes one or two to start, but of threads one at a time runs Python, which much of the
    work on few rows is. Processes of before (`keep_workers`) measure all. Arrays in memory stay on threads, which need
    not be sent them, and so does what cannot be sent. A process that is lost costs time: this one measures its encoder,
    and the others go on.
    """
    sendable = all(type(each) in (str, FeatureFiles) for each in encoders)
    n_cores, n_first, seconds = n_processors(), len(encoders), [0.0]

    def timed(result: Future[T]) -> T:
        began = time.perf_counter()
        try:
            return result.result()
        finally:
            seconds.append(time.perf_counter() - began)

    if sendable:
        n_first = 0 if are_there_spare_workers() else min(_AHEAD * n_cores, len(encoders))
    first, others = encoders[:n_first], encoders[n_first:]
    for place, result in enumerate(_on_threads(do, first)):
        yield partial(timed, result) if place >= n_cores else result.result  # the first import what they need
    worth_it = not first or sum(seconds) / max(n_first - n_cores, 1) * len(others) >= _WORTH_STARTING
    workers = _workers(do, len(others)) if others and worth_it else None
    if workers is not None:
        yield from _in_processes(do, others, workers)
    else:
        yield from (result.result for result in _on_threads(do, others))


def _on_threads(do: Callable[[AnyEncoder], T], encoders: Sequence[AnyEncoder]) -> Iterator[Future[T]]:
    n_cores = n_processors()
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(n_cores) as pool:
        yield from _in_order(lambda encoder: pool.submit(do, encoder), encoders)


def _in_processes(
    do: Callable[[AnyEncoder], T], encoders: Sequence[AnyEncoder], workers: Workers
) -> Iterator[Callable[[], T]]:
    told: list[WorkerLostError] = []

    def answer_or_own(encoder: AnyEncoder, answer: Future[T]) -> T:
        try:
            return answer.result()
        except WorkerLostError as error:
            if not told:
                _log.warning("encoders of a process that was lost are measured in this one (%s)", error)
            told.append(error)
            with threadpool_limits(limits=1, user_api="blas"):
                return do(encoder)

    try:
        for encoder, answer in zip(encoders, _in_order(workers.ask, encoders), strict=True):
            yield partial(answer_or_own, encoder, answer)
    finally:
        workers.close()


def _in_order(begin: Callable[[AnyEncoder], Future[T]], encoders: Sequence[AnyEncoder]) -> Iterator[Future[T]]:
    """Begin a few ahead, and yield each in order; cancel what waits when nobody wants it."""
    begun: deque[Future[T]] = deque()
    try:
        for encoder in encoders:
            begun.append(begin(encoder))
            if len(begun) >= _AHEAD * n_processors():
                yield begun.popleft()
        while begun:
            yield begun.popleft()
    finally:
        for waiting in begun:
            waiting.cancel()


def _workers(do: Callable[[AnyEncoder], T], n_encoders: int) -> Workers | None:
    """Return processes that know what to do; None where they cannot: a class of the user's script, say."""
    try:
        workers = Workers(min(n_processors(), n_encoders), Shared(do, _MOST_BYTES))
    except Exception as error:  # noqa: BLE001 - pickle raises what it likes
        _log.info("encoders are measured on threads: processes cannot be started for them (%s)", error)
        return None
    failure = workers.wait()
    if failure is None:
        return workers
    workers.close()
    _log.info("encoders are measured on threads: processes do not know how to (%s)", failure)
    return None
