"""NumPy archives from anywhere: no pickle, and no member that says it is larger than its bytes."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability.errors import FileDamagedError

__all__ = ["read_npz"]

_DEFLATE_AT_MOST = 1100  # times smaller than what it packs: 1,032, and a little
_NPY, _ZIP, _PICKLE = b"\x93NUMPY", b"PK", b"\x80"


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read every array of an `.npz` archive.

    Raises
    ------
    FileDamagedError
        If the file is truncated, of another format, or holds anything but plain arrays.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(6)
        if start.startswith(_NPY):
            message = f"file {path} is a single array, not an .npz archive. "
            raise FileDamagedError(message + "Save it: numpy.savez(path, features=array).")
        if start.startswith(_PICKLE):
            raise FileDamagedError(_pickled(path))
        if not start.startswith(_ZIP):
            message = f"file {path} is damaged or not an .npz archive: it does not begin like one. "
            raise FileDamagedError(message + "Write or copy it again.")
        with zipfile.ZipFile(path) as archive:
            return {info.filename.removesuffix(".npy"): _member(path, archive, info) for info in archive.infolist()}
    except FileDamagedError:
        raise
    except Exception as error:  # of the archive, of three decompressors, of NumPy's header, of memory
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        message = f"file {path} is damaged or not an .npz archive: {reason}. Write or copy it again."
        raise FileDamagedError(message) from error


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        start = stream.tell()
    if dtype.hasobject:
        raise FileDamagedError(_pickled(path))
    size = math.prod(shape) * dtype.itemsize
    packed = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else _DEFLATE_AT_MOST)
    too_large = info.compress_type <= zipfile.ZIP_DEFLATED and size > packed
    if size != info.file_size - start or too_large or not dtype.itemsize:
        message = (
            f"file {path} is damaged or not an .npz archive: {info.filename!r:.100} says it holds {dtype} of shape "
        )
        message += f"{shape!s:.100}, and its {info.compress_size:,} bytes do not. Write or copy it again."
        raise FileDamagedError(message)
    with archive.open(info) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read()  # nothing; at the end the archive compares its checksum
    return array


def _pickled(path: Path) -> str:
    return (
        f"file {path} holds pickled objects, which can run code when they are read. "
        "Save plain arrays of numbers or strings: numpy.savez(path, features=…, labels=…)."
    )
