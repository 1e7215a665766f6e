"""Processes that decode and preprocess while the model computes, or compute beside each other."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transferability.features.prepare import Batch, Promised
from transferability.features.shared import Shared

__all__ = ["PART", "WorkerLostError", "Workers", "are_there_spare_workers", "keep_workers"]

_START = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # Ctrl-C is for the parent, whose end ends these
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from transferability.features.prepare import serve; serve()"
)
PART = 64
"""Rows of a batch that a process is asked for at once: a large batch is the work of all of them."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


_Place = Callable[[str, tuple[int, ...]], npt.NDArray[Any]]
"""Returns where an array of this dtype and shape is to lie."""


def _new_place(dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.empty(shape, dtype)


class _Spare(NamedTuple):
    """A process, and what it was sent last where it has not answered yet."""

    process: subprocess.Popen[bytes]
    greeting: Future[None] | None = None


_spare: list[_Spare] = []  # processes of a run that wait for its next encoder or data set
_keepers = 0
_changing = threading.Lock()


@contextmanager
def keep_workers() -> Iterator[None]:
    """Keep worker processes for the next encoder and data set until the block ends; also a decorator.

    A process takes seconds to start, most of them for the libraries of the preprocessing.
    """
    global _keepers
    with _changing:
        _keepers += 1
    try:
        yield
    finally:
        with _changing:
            _keepers -= 1
            ended = [] if _keepers else list(_spare)
            _spare[:] = _spare if _keepers else []
        _end([each.process for each in ended], [each.greeting for each in ended if each.greeting is not None])


def are_there_spare_workers() -> bool:
    """Tell whether worker processes of before wait for data."""
    return bool(_spare)


class WorkerLostError(RuntimeError):
    """A worker process that ended before it answered: killed for its memory, most likely."""


class Workers:
    """A pool of worker processes, one request at a time each.

    Within `keep_workers` they are those of before, as far as there are any. They are started as commands and not
    through `multiprocessing`, which would run the user's script once more in each of them unless the script guards
    itself. They end when this process does, however it ends, because then their input does.

    Parameters
    ----------
    count : int
        How many.
    payload : Shared
        A callable that answers requests; a `Preparation` for `submit`.
    """

    def __init__(self, count: int, payload: Shared) -> None:
        self._payload = payload
        self._idle: SimpleQueue[subprocess.Popen[bytes] | None] = SimpleQueue()  # None: there will be none
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lost: list[subprocess.Popen[bytes]] = []
        self._starting: list[Future[None]] = []
        self._asked: list[Future[Batch]] = []
        try:
            for _ in range(count):
                spare = _taken() or _Spare(_start())
                self._processes.append(spare.process)
                self._starting.append(self._threads.submit(self._greet, spare))
        except OSError:
            self.close()
            raise

    @property
    def ready(self) -> bool:
        """Whether every worker waits for rows."""
        return all(each.done() for each in self._starting) and self.failure() is None

    def failure(self) -> BaseException | None:
        """Return why a worker could not start, or None."""
        errors = (each.exception() for each in self._starting if each.done())
        return next((error for error in errors if error is not None), None)

    def wait(self) -> BaseException | None:
        """Wait until the workers are ready; return why one of them could not start, or None."""
        wait(self._starting)
        return self.failure()

    def submit(self, rows: Sequence[int]) -> Promised:
        """Return what will be the items of these rows, as the encoder takes them.

        Its result raises what reading them raised, or `WorkerLostError` if a worker died.
        """
        self._asked = [each for each in self._asked if not each.done()]
        room = _Room(len(rows))
        parts = [
            self._threads.submit(self._ask, rows[start : start + PART], partial(room.part, start))
            for start in range(0, len(rows), PART)
        ]
        self._asked += parts
        return _Whole(parts, room)

    def ask(self, request: Any) -> Future[Any]:
        """Return what will be the answer to a request, which must not be None.

        Its result raises the answer if that is an exception, or `WorkerLostError` if a worker died.
        """
        self._asked = [each for each in self._asked if not each.done()]
        self._asked.append(self._threads.submit(self._ask, request))
        return self._asked[-1]

    def close(self) -> None:
        """Keep processes that are idle or starting, where they are wanted (`keep_workers`), and end the others."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        spare: list[_Spare] = []
        with _changing, suppress(Empty):
            if _keepers:
                started = zip(self._processes, self._starting, strict=False)
                spare += [_Spare(process, greeting) for process, greeting in started if not greeting.done()]
            while _keepers:
                idle = self._idle.get_nowait()
                if idle is not None and idle not in self._lost and idle not in [each.process for each in spare]:
                    spare.append(_Spare(idle))
        for _ in self._processes:  # whoever waits for a process waits for nothing
            self._idle.put(None)
        kept = [each for each in spare if each.process.poll() is None]
        ended = [process for process in self._processes if process not in [each.process for each in kept]]
        theirs = [greeting for greeting in self._starting if greeting not in [each.greeting for each in kept]]
        _end(ended, [*theirs, *self._asked])
        with _changing:
            _spare.extend(kept if _keepers else ())
        if not _keepers:
            _end([each.process for each in kept], [each.greeting for each in kept if each.greeting is not None])

    def _greet(self, spare: _Spare) -> None:
        if spare.greeting is not None:
            wait([spare.greeting])
        try:
            _exchange(spare.process, pickle.dumps(None) + pickle.dumps(_search_path()) + self._payload.message)
        except BaseException:
            self._idle.put(None)
            raise
        self._idle.put(spare.process)

    def _ask(self, request: Any, room: _Place = _new_place) -> Any:
        process = self._idle.get()
        if process is None:
            self._idle.put(None)  # for whoever waits beside this one
            message = "the worker processes were ended"
            raise WorkerLostError(message)
        try:
            answer = _exchange(process, pickle.dumps(request), room)
        except WorkerLostError:
            self._lost.append(process)
            if len(self._lost) >= len(self._processes):
                self._idle.put(None)  # nobody is left for whoever waits
            raise
        except BaseException:
            self._idle.put(process)
            raise
        self._idle.put(process)
        return answer


def _taken() -> _Spare | None:
    with _changing:
        return _spare.pop() if _spare else None


def _end(processes: Sequence[subprocess.Popen[bytes]], waiting: Sequence[Future[Any]]) -> None:
    """End processes, and wait for whoever waits for them."""
    for process in processes:
        process.kill()
    wait([each for each in waiting if not each.cancelled()])  # these would be waited for without end
    for process in processes:
        process.communicate()  # reaps it and closes its pipes


def _start() -> subprocess.Popen[bytes]:
    """Start a process that is told where modules are: isolated, it looks at no folder of its own accord."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pipesize=1 << 20,  # a batch of pictures is several megabytes
        env={**os.environ, **_ONE_THREAD},
    )
    assert process.stdin is not None  # a pipe
    process.stdin.write(pickle.dumps(_search_path()))
    return process


def _search_path() -> list[str]:
    """Return where this process finds modules, the working folder last.

    A command does not look there. A script that lies there, or an interpreter that was started there, may need its own
    modules; but nothing beside the user's data may take the name of a library's module.
    """
    entries = list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path))  # noqa: PTH100 - "" is this folder
    return sorted(entries, key=lambda entry: entry == os.getcwd())  # noqa: PTH109


class _Room:
    """The array of a batch, which is made when the first part of it tells dtype and shape."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows
        self._making = threading.Lock()
        self.whole: npt.NDArray[Any] | None = None

    def part(self, start: int, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return where rows from `start` on belong; a place of their own if they are of another kind than the first."""
        with self._making:
            if self.whole is None:
                self.whole = np.empty((self._n_rows, *shape[1:]), dtype)
        if (self.whole.dtype, self.whole.shape[1:]) == (np.dtype(dtype), tuple(shape[1:])):
            return self.whole[start : start + shape[0]]
        return np.empty(shape, dtype)


class _Whole:
    """A batch whose parts are being prepared."""

    def __init__(self, parts: Sequence[Future[Batch]], room: _Room) -> None:
        self._parts, self._room = parts, room

    def result(self, timeout: float | None = None) -> Batch:
        """Return one array, or a list where items differ in shape."""
        found = [part.result(timeout) for part in self._parts]
        whole = self._room.whole
        if whole is not None and all(isinstance(part, np.ndarray) and part.base is whole for part in found):
            return whole
        return found[0] if len(found) == 1 else [item for part in found for item in part]


def _exchange(
    process: subprocess.Popen[bytes],
    request: bytes,
    room: _Place = _new_place,
) -> Any:
    """Send a request and return the answer, an array in the place that `room` gives; raise it if it is an exception."""
    assert process.stdin is not None  # they are pipes
    assert process.stdout is not None
    try:
        process.stdin.write(request)
        process.stdin.flush()
        dtype, answer = pickle.load(process.stdout)
        if dtype:
            array = room(dtype, answer)
            view = array.data.cast("B")
            if process.stdout.readinto(view) != len(view):  # type: ignore[attr-defined]
                raise EOFError
            return array
    except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        message = f"a worker process ended early ({error})"
        raise WorkerLostError(message) from error
    if isinstance(answer, Exception):
        raise answer
    return answer
