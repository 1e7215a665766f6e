"""Items decoded and preprocessed, and what a worker process does. See `workers` for the other end."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from transferability.datasets import Dataset
from transferability.encoders.base import Preprocess
from transferability.features.shared import receive

__all__ = ["Batch", "Preparation", "Promised", "prepare", "serve"]

Batch = Any
"""What `forward` gets: a sequence. Arrays of one shape lie together in one array."""


class Promised(Protocol):
    """A batch that is being prepared; a future is one."""

    def result(self, timeout: float | None = None) -> Batch:
        """Return it; waits for it."""


def prepare(dataset: Dataset, preprocess: Preprocess | None, rows: Sequence[int]) -> Batch:
    """Return the items of these rows as the encoder takes them."""
    if preprocess is None:
        return dataset.items(rows)
    # One by one: a batch of decoded photographs may be larger than memory, what the model sees of them is not.
    arrays = [np.asarray(preprocess(item)) for row in rows for item in dataset.items([row])]
    if all(each.shape == arrays[0].shape and each.dtype == arrays[0].dtype for each in arrays):
        return np.stack(arrays)
    return arrays


class Preparation(NamedTuple):
    """What worker processes do for an extraction: `prepare` rows that they are asked for."""

    dataset: Dataset
    preprocess: Preprocess | None

    def __call__(self, rows: Sequence[int]) -> Batch:
        """Return the items of these rows as the encoder takes them."""
        return prepare(self.dataset, self.preprocess, rows)


def serve() -> None:
    """Answer requests on standard input until it ends: what a worker process does.

    What answers them is a callable of one argument, the request. The request None comes before another callable: where
    modules are, then the callable. It answers each with a pair: the dtype and the shape of an array whose bytes follow,
    or an empty string and a value, which may be an exception.
    """
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not run into the answers
    do: Callable[[Any], Any] | None = None
    try:
        while True:
            request = pickle.load(source)
            if request is None:
                sys.path[:] = pickle.load(source)
                do = None  # two data sets need not fit into memory together
                try:
                    do = receive(source)
                except Exception as error:  # noqa: BLE001 - a class that only the parent's script defines, say
                    _answer(sink, error)
                    return  # in the middle of what was sent
                _answer(sink, None)
                continue
            assert do is not None  # it came first
            try:
                value: Any = do(request)
            except Exception as error:  # noqa: BLE001 - raised again in the parent
                value = error
            _answer(sink, value)
    except (EOFError, BrokenPipeError):  # the parent has what it wanted, or is gone
        os._exit(0)  # at once: nothing here needs to be put away


def _answer(sink: BinaryIO, value: Any) -> None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size:
        pickle.dump((value.dtype.str, value.shape), sink)
        sink.write(np.ascontiguousarray(value).data.cast("B"))  # as they are: a pickle would copy them
    else:
        try:
            content = pickle.dumps(("", value))
            pickle.loads(content)  # some exceptions can be written but not read again
        except Exception:  # noqa: BLE001 - whatever pickle says
            content = pickle.dumps(("", RuntimeError(f"{type(value).__name__}: {value}")))
        sink.write(content)
    sink.flush()
