"""Arrays in files from anywhere: no pickle, and no member of an archive that says it is larger than its bytes."""

from __future__ import annotations

import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._tensors import Arrays, read_tensors
from transferability.errors import DatasetError, FileDamagedError, NoSuchFileError, no_such_file

__all__ = ["read_arrays", "read_npz"]

_DEFLATE_AT_MOST = 1100  # times smaller than what it packs: 1,032, and a little
_NPY, _ZIP, _PICKLE = b"\x93NUMPY", b"PK", b"\x80"


def read_arrays(path: Path, without: str | None = None) -> Arrays:
    """Read every array of an `.npz` or `.safetensors` file into memory, but one that is not wanted.

    Raises
    ------
    DatasetError
        If there is no such file.
    FileDamagedError
        If the file is truncated, of another format, or holds pickled objects.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - False for names that cannot be, where Path raises
        if not os.path.exists(path):  # noqa: PTH110
            raise NoSuchFileError(no_such_file(path))
        message = f"{path} is not a file."
        raise DatasetError(message)
    if path.suffix == ".safetensors":
        return _read_safetensors(path, without)
    return read_npz(path, without)


def _read_safetensors(path: Path, without: str | None) -> Arrays:
    arrays, metadata = read_tensors(path, "a safetensors file", without)
    for key in ("class_names", "ids"):
        if key in metadata:
            arrays[key] = _text_list(metadata[key], f"`{key}` of {path}")
    return arrays


def _text_list(text: str, where: str) -> npt.NDArray[np.str_]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = (
            f"{where} must be a JSON list of texts: {error}. The file is damaged or not a safetensors file of ours."
        )
        raise FileDamagedError(message) from error
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        message = f"{where} must be a JSON list of texts. Write or copy the file again."
        raise FileDamagedError(message)
    return np.asarray(found, dtype=np.str_)


def read_npz(path: Path, without: str | None = None) -> dict[str, npt.NDArray[Any]]:
    """Read every array of an `.npz` archive, but one that is not wanted.

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
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            return {name: _member(path, archive, info) for name, info in members.items() if name != without}
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
