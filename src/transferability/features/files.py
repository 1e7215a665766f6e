"""Feature files written row by row, for outputs that need not fit into memory."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from transferability._files import temporary_sibling
from transferability.datasets import Dataset
from transferability.errors import OptionError

__all__ = ["FeatureWriter", "feature_writer"]

_LONGEST_HEADER = 90_000_000  # bytes; readers of safetensors refuse 100 MB
_SAFETENSORS_TYPES = {"f4": "F32", "f8": "F64", "i8": "I64"}

Rows = npt.NDArray[np.float32]


class FeatureWriter(Protocol):
    """Takes the rows of a data set in order."""

    def add(self, rows: Rows) -> None:
        """Append rows, (n, n_features)."""


@contextmanager
def feature_writer(path: Path, dataset: Dataset) -> Iterator[FeatureWriter]:
    """Give a writer of a feature file, as `write_features` would write it with all rows at hand.

    The file appears under its name when the block ends without an error.

    Raises
    ------
    OptionError
        If the suffix is neither .npz nor .safetensors, or if the ids are too long for the header of the latter.
    """
    if path.suffix not in (".npz", ".safetensors"):
        message = f"`path` must end in .npz or .safetensors; got {path.name!r}."
        raise OptionError(message)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_sibling(path) as temporary:
        writer = (_Npz if path.suffix == ".npz" else _Safetensors)(temporary, dataset)
        with writer.stack:
            yield writer
            writer.finish()


class _Safetensors:
    """A length, a JSON header, the bytes of the arrays; texts are JSON in the header."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self.stack = ExitStack()
        self._n_rows = len(dataset)
        self._arrays = _arrays(dataset)
        self._metadata = {key: json.dumps(value.tolist()) for key, value in _texts(dataset).items()}
        n_bytes = sum(map(len, self._metadata.values()))
        if n_bytes > _LONGEST_HEADER:
            message = f"`path` must end in .npz for {self._n_rows:,} rows with ids of {n_bytes / 1e6:.0f} MB, "
            message += f"which no safetensors header holds; got {path.suffix}."
            raise OptionError(message)
        self._stream: IO[bytes] = self.stack.enter_context(path.open("wb"))
        self._begun = False

    def add(self, rows: Rows) -> None:
        if not self._begun:
            self._begin(rows.shape[1])
        self._stream.write(np.ascontiguousarray(rows, dtype="<f4").data)

    def finish(self) -> None:
        for array in self._arrays.values():
            self._stream.write(array.data)

    def _begin(self, n_features: int) -> None:
        shapes = {"features": ("f4", (self._n_rows, n_features))}
        shapes |= {key: (array.dtype.str[1:], array.shape) for key, array in self._arrays.items()}
        header: dict[str, Any] = {"__metadata__": self._metadata} if self._metadata else {}
        end = 0
        for key, (kind, shape) in shapes.items():
            start, end = end, end + int(np.prod(shape)) * int(kind[1])
            header[key] = {"dtype": _SAFETENSORS_TYPES[kind], "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 8)  # arrays begin at a multiple of eight
        self._stream.write(len(text).to_bytes(8, "little") + text)
        self._begun = True


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
