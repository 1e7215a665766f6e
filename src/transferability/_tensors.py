"""Safetensors files that carry a checksum of all that they hold, so that a flipped bit is noticed.

The format is a length, a JSON header and the bytes of the arrays; texts are in the header's metadata. There, under
`sha256`, is a hash of the other metadata and of each array's name, dtype, shape and bytes. It says nothing about the
order in the file: what another program copies with its metadata still fits. Files without one are read unchecked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from transferability._writing import output_errors, temporary_sibling
from transferability.errors import FileDamagedError, OptionError

__all__ = ["Arrays", "TensorWriter", "check_metadata", "read_tensors", "write_tensors"]

Arrays = dict[str, npt.NDArray[Any]]
Shapes = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
"""Name of an array to its dtype and shape, in the order of the file."""

_CHECKSUM = "sha256"
_BLANK = "0" * 64
_LONGEST_HEADER = 90_000_000  # bytes; readers of safetensors refuse 100 MB
_LETTERS = {"f": "F", "i": "I", "u": "U"}


class TensorWriter:
    """Writes arrays to a stream in the order of `shapes`, each at once or in blocks of rows.

    Parameters
    ----------
    stream : binary file
        Opened for writing, and empty.
    shapes : mapping of str to (dtype, shape)
    metadata : mapping of str to str

    Raises
    ------
    OptionError
        If the metadata are too long for a header.
    """

    def __init__(self, stream: IO[bytes], shapes: Shapes, metadata: Mapping[str, str]) -> None:
        self._stream = stream
        self._shapes = {name: (_little_endian(dtype), tuple(shape)) for name, (dtype, shape) in shapes.items()}
        self._metadata = dict(metadata)
        self._hashes = {name: hashlib.sha256() for name in self._shapes}
        header: dict[str, Any] = {"__metadata__": {_CHECKSUM: _BLANK, **self._metadata}}  # the checksum comes first
        end = 0
        for name, (dtype, shape) in self._shapes.items():
            start, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            header[name] = {"dtype": _safetensors_type(dtype), "shape": list(shape), "data_offsets": [start, end]}
        check_metadata(self._metadata)
        text = json.dumps(header, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 8)  # arrays begin at a multiple of eight
        self._checksum_at = 8 + text.index(_BLANK.encode())
        stream.write(len(text).to_bytes(8, "little") + text)

    def write(self, name: str, rows: npt.NDArray[Any]) -> None:
        """Append rows of an array."""
        content = np.ascontiguousarray(rows, dtype=self._shapes[name][0]).reshape(-1).view(np.uint8).data
        self._hashes[name].update(content)
        self._stream.write(content)

    def finish(self) -> None:
        """Put the checksum in its place, and wait until the disk has everything."""
        arrays = {
            name: (_safetensors_type(dtype), shape, self._hashes[name].hexdigest())
            for name, (dtype, shape) in self._shapes.items()
        }
        self._stream.seek(self._checksum_at)
        self._stream.write(_checksum(arrays, self._metadata).encode())
        self._stream.flush()
        os.fsync(self._stream.fileno())


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raise `OptionError` if texts are too long for the header of a file."""
    n_bytes = len(json.dumps(metadata))
    if n_bytes > _LONGEST_HEADER:
        message = f"`path` must end in .npz for names and ids of {n_bytes / 1e6:.0f} MB, which no safetensors header "
        message += "holds; got .safetensors."
        raise OptionError(message)


def write_tensors(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a file; it appears under its name only when it is complete. Folders that are missing are made.

    Raises
    ------
    OutputError
        If it cannot be written.
    OptionError
        If the metadata are too long for a header.
    """
    with temporary_sibling(path) as temporary, output_errors(path), temporary.open("wb") as stream:
        writer = TensorWriter(stream, {name: (array.dtype, array.shape) for name, array in arrays.items()}, metadata)
        for name, array in arrays.items():
            writer.write(name, array)
        writer.finish()


def read_tensors(path: Path, what: str) -> tuple[Arrays, dict[str, str]]:
    """Read all arrays of a file and its metadata, and compare them with the checksum if there is one.

    Parameters
    ----------
    path : Path
    what : str
        What the file should be, for messages: "a safetensors file", "a reference pack".

    Raises
    ------
    FileDamagedError
        If the file is damaged, or none of this format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"file {path} is damaged or not {what}: {error}. Write or copy it again."
        raise FileDamagedError(message) from error
    # A checksum under another name is one whose name was damaged.
    renamed = next((value for value in metadata.values() if re.fullmatch("[0-9a-f]{64}", value)), None)
    expected = metadata.pop(_CHECKSUM, renamed)
    if expected is not None:
        found = {
            name: (_safetensors_type(array.dtype), array.shape, hashlib.sha256(_bytes(array)).hexdigest())
            for name, array in arrays.items()
        }
        if _checksum(found, metadata) != expected:
            message = f"file {path} is damaged: its content does not fit its checksum. Write or copy it again."
            raise FileDamagedError(message)
    return arrays, metadata


def _checksum(arrays: Mapping[str, tuple[str, tuple[int, ...], str]], metadata: Mapping[str, str]) -> str:
    """Return the hash of metadata and of (type, shape, hash of the bytes) of each array, whatever their order."""
    text = json.dumps([dict(arrays), dict(metadata)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array, dtype=_little_endian(array.dtype)).reshape(-1).view(np.uint8).data


def _little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def _safetensors_type(dtype: np.dtype[Any]) -> str:
    return "BOOL" if dtype.kind == "b" else f"{_LETTERS.get(dtype.kind, dtype.kind)}{8 * dtype.itemsize}"
