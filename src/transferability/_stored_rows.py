"""A few rows of a large array in a file, read without the others.

A sample of a race reads a few hundred of ten thousand rows. Nothing is compared with a checksum, which is of the whole:
`_files.read_features` reads the whole where the rows look damaged.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from transferability._array import IntArray

__all__ = ["StoredRows"]

_LOCAL_HEADER = 30  # bytes of a zip member's own header before its name; the lengths of name and extra end it
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


@dataclass(frozen=True)
class StoredRows:
    """A matrix of floating-point numbers whose rows lie one after the other in a file.

    Attributes
    ----------
    path : Path
    start : int
        Of the first row, in bytes.
    shape : tuple of two int
    dtype : dtype
    """

    path: Path
    start: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @classmethod
    def find(cls, path: Path, name: str) -> StoredRows | None:
        """Return where the rows of an array of an `.npz` or `.safetensors` file are; None where that is not so plain.

        It is not for a compressed archive, an array of other numbers or in another order, or a damaged file.
        """
        try:
            with path.open("rb") as stream:
                found = _in_safetensors if path.suffix == ".safetensors" else _in_archive
                start, shape, dtype = found(stream, name)
                end = stream.seek(0, 2)
        except Exception:  # noqa: BLE001 - whatever is wrong with the file, who reads the whole of it says so
            return None
        if len(shape) != 2 or min(shape) < 1 or dtype.kind != "f" or start + math.prod(shape) * dtype.itemsize > end:
            return None
        return cls(path, start, (shape[0], shape[1]), dtype)

    def read(self, rows: IntArray) -> npt.NDArray[Any]:
        """Return rows, (n, d), in the order asked for; O(n d)."""
        values = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        bytes_of_row = self.dtype.itemsize * self.shape[1]
        with self.path.open("rb", buffering=0) as stream:
            for place, row in zip(values, rows.tolist(), strict=True):
                stream.seek(self.start + row * bytes_of_row)
                if stream.readinto(place.view(np.uint8).data) != bytes_of_row:
                    message = f"{self.path} ends before row {row}."
                    raise OSError(message)
        return values


def _in_archive(stream: IO[bytes], name: str) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    with zipfile.ZipFile(stream) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(member)
            header = member.tell()
        if fortran or info.file_size != header + math.prod(shape) * dtype.itemsize:
            raise ValueError
    stream.seek(info.header_offset + _LOCAL_HEADER - 4)
    lengths = stream.read(4)
    before = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    return info.header_offset + _LOCAL_HEADER + before + header, shape, dtype


def _in_safetensors(stream: IO[bytes], name: str) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    length = int.from_bytes(stream.read(8), "little")
    array = json.loads(stream.read(length))[name]
    dtype, shape = np.dtype(_TYPES[array["dtype"]]), tuple(array["shape"])
    start, end = array["data_offsets"]
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError
    return 8 + length + start, shape, dtype
