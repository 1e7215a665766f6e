"""Features that were computed elsewhere: in files, `features:PATTERN`, or in memory."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import FloatArray, IntArray, as_numpy
from transferability._files import Features, read_features
from transferability._validate import check_features
from transferability.encoders.base import Identity
from transferability.encoders.family import Family
from transferability.errors import DatasetError, EncoderError, FeatureError

__all__ = ["FAMILY", "FeatureArrays", "FeatureFiles", "load"]

FAMILY = Family("features:PATTERN", "feature files; `{data}` is replaced by the data's name")


def load(spec: str, *, device: str | None) -> FeatureFiles:
    """Return the feature files of one encoder.

    Parameters
    ----------
    spec : str
        Path of a feature file, in which `{data}` stands for the name of the data set: `zoo/resnet50/{data}.npz`.
    device : str or None
        Not used.
    """
    return FeatureFiles(f"features:{spec}", spec)


class FeatureFiles:
    """In place of an encoder: one feature file per data set.

    It encodes no items and so is no `Encoder`; `extract_features` takes either.
    """

    modality = None
    n_parameters = None
    ignores_device = "features that are computed already are only read"

    def __init__(self, name: str, pattern: str) -> None:
        self.name = name
        self._pattern = pattern

    def identity(self) -> Identity:
        """Return hashes of the files of all data sets."""
        pattern = glob.escape(self._pattern).replace("{data}", "*")
        paths = sorted(glob.glob(str(Path(pattern).expanduser())))  # noqa: PTH207 - the pattern may be absolute
        return {"source": self.name, "files": {Path(path).name: _hash(path) for path in paths if Path(path).is_file()}}

    def path(self, data: str) -> Path:
        """Return the file of a data set."""
        return Path(self._pattern.replace("{data}", data)).expanduser()

    def lookup(self, data: str, ids: npt.NDArray[np.str_], rows: IntArray, n_all: int) -> Features:
        """Return the features of the rows of a data set, with labels and class names as the file has them.

        Parameters
        ----------
        data : str
            Its name, for `{data}`.
        ids : array of str of shape (n,)
            What its rows are. A file with `ids` of its own is searched for them.
        rows : array of int of shape (n,)
            Their positions in the whole data set. A file without `ids` must have `n_all` rows, in the same order.
        n_all : int
            Number of rows of the whole data set.

        Raises
        ------
        EncoderError
            If there is no file for these data.
        FeatureError
            If rows are missing, or the number of rows differs.
        FileDamagedError
            If the file cannot be read.
        """
        path = self.path(data)
        try:
            table = read_features(path)
        except DatasetError as error:
            message = f"encoder {self.name!r} has no features of data {data!r}: {error} Extract them first."
            raise EncoderError(message) from error
        where = _find(table.ids, ids, path, data) if table.ids is not None else rows
        if table.ids is None and len(table) != n_all:
            message = f"{path} must have one row for each of data {data!r}; it has {len(table)} for {n_all} rows. "
            message += "Add `ids` to say which rows it has."
            raise FeatureError(message)
        known = None if table.labels is None else table.labels[where]
        return Features(table.features[_in_one_piece(where)], known, table.class_names, ids, data)


class FeatureArrays(FeatureFiles):
    """Features in memory in place of an encoder: one array, or one for each data set.

    Parameters
    ----------
    name : str
        Shown in results.
    arrays : array of shape (n, n_features), or mapping of names of data sets to such arrays
        Rows in the order of the data. One array serves the data set that has its number of rows.

    Raises
    ------
    FeatureError
        If an array is not two-dimensional, real and finite.
    """

    def __init__(self, name: str, arrays: Any) -> None:
        super().__init__(name, "")
        given = arrays if isinstance(arrays, Mapping) else {None: arrays}
        self._arrays: dict[str | None, FloatArray] = {
            data: check_features(as_numpy(each), f"features of {name!r}{f' for data {data!r}' if data else ''}")
            for data, each in given.items()
        }

    def identity(self) -> Identity:
        """Return hashes of the arrays."""
        hashes = {str(data or ""): hashlib.sha256(each.tobytes()).hexdigest() for data, each in self._arrays.items()}
        return {"source": "arrays", "arrays": hashes}

    def lookup(self, data: str, ids: npt.NDArray[np.str_], rows: IntArray, n_all: int) -> Features:
        """Return the features of the rows of a data set; see `FeatureFiles.lookup`.

        Raises
        ------
        EncoderError
            If there is no array for these data.
        FeatureError
            If the number of rows differs.
        """
        found = self._arrays.get(data, self._arrays.get(None))
        if found is None:
            known = ", ".join(repr(each) for each in self._arrays)
            message = f"encoder {self.name!r} has no features of data {data!r}; it has those of {known}. Give an array "
            raise EncoderError(message + f"for each data set: {{{data!r}: array, …}}.")
        if len(found) != n_all:
            message = f"features of {self.name!r} must have one row for each of data {data!r}; got {len(found):,} rows "
            message += f"for {n_all:,}. With references, give an array for each data set: {{{data!r}: array, …}}."
            raise FeatureError(message)
        return Features(found[rows], None, None, ids, data)


def _hash(path: str) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _find(known: npt.NDArray[np.str_], wanted: npt.NDArray[np.str_], path: Path, data: str) -> IntArray:
    position = {each: row for row, each in enumerate(known.tolist())}
    missing = [each for each in wanted.tolist() if each not in position]
    if missing:
        message = f"{path} has no features of {len(missing)} rows of data {data!r}, the first {missing[0]!r}. "
        message += "Extract them again."
        raise FeatureError(message)
    return np.array([position[each] for each in wanted.tolist()], dtype=np.int64)


def _in_one_piece(rows: IntArray) -> slice | IntArray:
    """Return rows that follow one another as a slice, which copies nothing."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
