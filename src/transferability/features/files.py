"""Feature files written row by row, for outputs that need not fit into memory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from transferability._files import SUFFIXES
from transferability._tensors import TensorWriter, check_metadata
from transferability._writing import output_errors, temporary_sibling
from transferability.datasets import Dataset
from transferability.errors import OptionError

__all__ = ["FeatureWriter", "feature_writer"]

Rows = npt.NDArray[np.float32]


class FeatureWriter(Protocol):
    """Takes the rows of a data set in order."""

    def add(self, rows: Rows) -> None:
        """Append rows, (n, n_features)."""


@contextmanager
def feature_writer(path: Path, dataset: Dataset) -> Iterator[FeatureWriter]:
    """Give a writer of a feature file, as `write_features` would write it with all rows in memory.

    The file appears under its name when the block ends without an error.

    Raises
    ------
    OptionError
        If the suffix is neither .npz nor .safetensors, or if the ids are too long for the header of the latter.
    OutputError
        If the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        message = f"`path` must end in .npz or .safetensors; got {path.name!r}."
        raise OptionError(message)
    with temporary_sibling(path) as temporary:
        with output_errors(path):
            writer = (_Npz if path.suffix == ".npz" else _Safetensors)(temporary, dataset)
        try:
            yield _Guarded(writer, path)
            with output_errors(path):
                writer.finish()
                writer.stack.close()
        finally:  # after an error too, and then whatever closing adds to it: a full disk has no room for the rest
            with suppress(OSError):
                writer.stack.close()


class _Guarded:
    """A writer whose errors name the file that was asked for; those of whoever computes the rows are not touched."""

    def __init__(self, writer: _Npz | _Safetensors, path: Path) -> None:
        self._writer = writer
        self._path = path

    def add(self, rows: Rows) -> None:
        with output_errors(self._path):
            self._writer.add(rows)


class _Safetensors:
    """Arrays with a checksum; texts are JSON in the header."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self.stack = ExitStack()
        self._path = path
        self._n_rows = len(dataset)
        self._arrays = _arrays(dataset)
        self._metadata = {key: json.dumps(value.tolist()) for key, value in _texts(dataset).items()}
        check_metadata(self._metadata)  # now, and not after hours of extraction
        self._writer: TensorWriter | None = None

    def add(self, rows: Rows) -> None:
        if self._writer is None:
            shapes = {"features": (np.dtype("<f4"), (self._n_rows, rows.shape[1]))}
            shapes |= {key: (array.dtype, array.shape) for key, array in self._arrays.items()}
            self._writer = TensorWriter(self.stack.enter_context(self._path.open("wb")), shapes, self._metadata)
        self._writer.write("features", rows)

    def finish(self) -> None:
        assert self._writer is not None  # a data set has rows
        for key, array in self._arrays.items():
            self._writer.write(key, array)
        self._writer.finish()


class _Npz:
    """A zip archive of `.npy` files, not compressed, as `numpy.savez` makes it."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self.stack = ExitStack()
        self._archive = self.stack.enter_context(zipfile.ZipFile(path, "w"))
        self._dataset = dataset
        self._stream: IO[bytes] | None = None

    def add(self, rows: Rows) -> None:
        if self._stream is None:
            # In the stack, so that it is closed before the archive even when something fails: zipfile insists.
            self._stream = self.stack.enter_context(self._archive.open("features.npy", "w", force_zip64=True))
            shape = (len(self._dataset), rows.shape[1])
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self._stream, header)
        self._stream.write(np.ascontiguousarray(rows, dtype="<f4").data)

    def finish(self) -> None:
        if self._stream is not None:
            self._stream.close()
        for key, array in (_arrays(self._dataset) | _texts(self._dataset)).items():
            with self._archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def _arrays(dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Return labels and targets, contiguous and little-endian."""
    found: dict[str, npt.NDArray[Any]] = {}
    if dataset.labels is not None:
        found["labels"] = np.ascontiguousarray(dataset.labels, dtype="<i8")
    if dataset.targets is not None:
        kind = "<f4" if dataset.targets.dtype == np.float32 else "<f8"
        found["targets"] = np.ascontiguousarray(dataset.targets, dtype=kind)
    return found


def _texts(dataset: Dataset) -> dict[str, npt.NDArray[np.str_]]:
    names = {} if dataset.class_names is None else {"class_names": np.asarray(dataset.class_names, dtype=np.str_)}
    return {**names, "ids": dataset.ids}
