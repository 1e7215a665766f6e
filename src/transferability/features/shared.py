"""What worker processes are sent: a pickle, with the arrays in it in memory that all of them map."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["Shared", "receive"]

_MOST_BYTES = 1 << 28  # that each process would hold a copy of
_SHARE = 0.5  # of the memory that is free now, for the one copy that all of them map


class Shared:
    """A value for other processes on this machine: they unpickle `message` by `receive`.

    Parameters
    ----------
    value : object
        Anything that can be pickled.
    most_bytes : int, optional
        Of arrays; half of the memory that is free, or 256 MB, at most anyway.

    Raises
    ------
    ValueError
        If it is too large to be sent.
    Exception
        Whatever pickling it raises.
    """

    def __init__(self, value: Any, most_bytes: int | None = None) -> None:
        buffers: list[pickle.PickleBuffer] = []
        content = _Bounded()
        pickle.dump(value, content, protocol=5, buffer_callback=buffers.append)
        self._file: BinaryIO | None = None
        sizes = [buffer.raw().nbytes for buffer in buffers]
        path = ""
        if sum(sizes):
            if most_bytes is not None and sum(sizes) > most_bytes:
                message = f"their {sum(sizes) / 1e9:.1f} GB are not worth a copy"
                raise ValueError(message)
            if sum(sizes) > max(_MOST_BYTES, _SHARE * _free_memory()):
                message = f"their {sum(sizes) / 1e9:.1f} GB do not fit into the free memory twice"
                raise ValueError(message)
            self._file, path = _memory_file()
            weakref.finalize(self, self._file.close)
            for buffer in buffers:
                self._file.write(buffer.raw())
            self._file.flush()
        self.message = pickle.dumps((path, sizes)) + content.getvalue()


def receive(source: BinaryIO) -> Any:
    """Return the value of a `Shared` whose message is read from a stream; pages of arrays are copied when changed."""
    path, sizes = pickle.load(source)
    return pickle.load(source, buffers=_buffers(path, sizes))


def _buffers(path: str, sizes: Sequence[int]) -> list[memoryview]:
    if not path:
        return [memoryview(bytearray())] * len(sizes)
    with Path(path).open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), sum(sizes), access=mmap.ACCESS_COPY))
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [whole[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def _memory_file() -> tuple[BinaryIO, str]:
    """Return a file that is gone with the last process that has it, and where others find it while this one has it."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        file = os.fdopen(os.memfd_create("transferability"), "w+b")
        return file, f"/proc/{os.getpid()}/fd/{file.fileno()}"
    named = tempfile.NamedTemporaryFile()  # noqa: SIM115 - for as long as the object lives
    return named, named.name  # type: ignore[return-value]  # a wrapper of what is declared


def _free_memory() -> int:
    """Return bytes that are free; none where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


class _Bounded(io.BytesIO):
    """A buffer that refuses data of a size that no process should have a copy of."""

    def write(self, content: Any, /) -> int:
        if self.tell() + memoryview(content).nbytes > _MOST_BYTES:
            message = f"they are larger than {_MOST_BYTES / 1e6:.0f} MB"
            raise ValueError(message)
        return super().write(content)
