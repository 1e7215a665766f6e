"""Processes that decode and preprocess while the model computes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np

from transferability.features.prepare import Batch

__all__ = ["WorkerLostError", "Workers"]

_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from transferability.features.prepare import serve; serve()"
)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkerLostError(RuntimeError):
    """A worker process that ended before it answered: killed for its memory, most likely."""


class Workers:
    """A pool of worker processes, one batch at a time each.

    They are started as commands and not through `multiprocessing`, which would run the user's script once more in each
    of them unless the script guards itself. They end when this process does, however it ends, because then their input
    does.

    Parameters
    ----------
    count : int
        How many.
    payload : bytes
        The data set and the preprocessing, pickled as a pair.
    """

    def __init__(self, count: int, payload: bytes) -> None:
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(count):
                self._processes.append(_start())
        except OSError:
            self.close()
            raise
        self._starting = [self._threads.submit(self._greet, process, payload) for process in self._processes]

    @property
    def ready(self) -> bool:
        """Whether every worker waits for rows."""
        return all(each.done() for each in self._starting) and self.failure() is None

    def failure(self) -> BaseException | None:
        """Return why a worker could not start, or None."""
        errors = (each.exception() for each in self._starting if each.done())
        return next((error for error in errors if error is not None), None)

    def submit(self, rows: Sequence[int]) -> Future[Batch]:
        """Return what will be the items of these rows, as the encoder takes them.

        The future raises what reading them raised, or `WorkerLostError` if the worker died.
        """
        return self._threads.submit(self._ask, rows)

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()  # reaps it and closes its pipes

    def _greet(self, process: subprocess.Popen[bytes], payload: bytes) -> None:
        _exchange(process, pickle.dumps(_search_path()) + payload)
        self._idle.put(process)

    def _ask(self, rows: Sequence[int]) -> Batch:
        process = self._idle.get()
        try:
            batch: Batch = _exchange(process, pickle.dumps(rows))
        finally:
            self._idle.put(process)  # one that is lost too: whoever gets it next is told at once
        return batch


def _start() -> subprocess.Popen[bytes]:
    """Start a process that waits to be told where modules are: isolated, it looks at no folder of its own accord."""
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pipesize=1 << 20,  # a batch of pictures is several megabytes
        env={**os.environ, **_ONE_THREAD},
    )


def _search_path() -> list[str]:
    """Return where this process finds modules, the working folder last.

    A command does not look there. A script that lies there, or an interpreter that was started there, may need its own
    modules; but nothing beside the user's data may take the name of a library's module.
    """
    entries = list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path))  # noqa: PTH100 - "" is this folder
    return sorted(entries, key=lambda entry: entry == os.getcwd())  # noqa: PTH109


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> Any:
    """Send a request and return the answer; raise it if it is an exception."""
    assert process.stdin is not None  # they are pipes
    assert process.stdout is not None
    try:
        process.stdin.write(request)
        process.stdin.flush()
        dtype, answer = pickle.load(process.stdout)
        if dtype:
            array = np.empty(answer, dtype=dtype)
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
