"""Files of features: read and written without pickle, never half-written.

A feature file is an `.npz` archive or a `.safetensors` file that holds `features` (n_samples, n_features) and, where
they are known, `labels` (n_samples,), `class_names` (n_classes,), `ids` (n_samples,), `targets` (n_samples,) or
(n_samples, n_outputs). In safetensors, which knows no
strings, the names and ids are JSON lists in the header's metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._archives import read_arrays as read_arrays
from transferability._array import FloatArray, IntArray
from transferability._stored_rows import StoredRows
from transferability._tensors import Arrays, write_tensors
from transferability._validate import check_features, check_targets
from transferability._writing import output_errors
from transferability._writing import temporary_sibling as temporary_sibling
from transferability._writing import to_disk as to_disk
from transferability._writing import write_through_temporary as write_through_temporary
from transferability.errors import (
    FeatureError,
    OptionError,
)
from transferability.task import Task

__all__ = [
    "SUFFIXES",
    "Features",
    "read_arrays",
    "read_features",
    "temporary_sibling",
    "to_disk",
    "write_features",
    "write_through_temporary",
]

SUFFIXES = (".npz", ".safetensors")
_FEW = 2  # times fewer rows than all: the whole is read as fast as more of them, and its checksum compared


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a data set, with what is known of its rows.

    Attributes
    ----------
    features : array of shape (n_samples, n_features)
        float32 or float64, finite.
    labels : array of int of shape (n_samples,), or None
        As they were found; `task()` checks them.
    class_names : tuple of str, or None
        One per class.
    ids : array of str of shape (n_samples,), or None
        What each row is: a path within a folder, a row number.
    name : str
        Name of the data set.
    targets : array of float of shape (n_samples,) or (n_samples, n_outputs), or None
        Numbers to predict, or 0 and 1 for each of several labels, in place of classes.
    key : str or None
        What they are kept under in the cache; None where they are not.
    notes : tuple of str
        What must be said of them: that an encoder read the beginnings of some texts only.
    """

    features: FloatArray
    labels: IntArray | None = None
    class_names: tuple[str, ...] | None = None
    ids: npt.NDArray[np.str_] | None = None
    name: str = "features"
    targets: FloatArray | None = None
    key: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.features)

    def task(self) -> Task:
        """Return features and labels as a checked `Task`."""
        return Task(self.features, self.labels, self.name, self.class_names)


Choice = Callable[[npt.NDArray[np.str_] | None, int], IntArray]
"""From the ids of a file, if it has any, and its number of rows to the rows that are wanted."""


def read_features(path: str | os.PathLike[str], choose: Choice | None = None) -> Features:
    """Read a feature file, or some rows of it.

    Parameters
    ----------
    path : path
        A `.npz` archive or a `.safetensors` file with at least `features`.
    choose : callable (ids, n_rows), optional
        Returns the rows to read, an array of int. Up to half of the rows are read without the others, where the
        file is not compressed, 300 of 10,000 in a twentieth of the time. Checksums are of whole arrays and are not
        compared then. Rows of zeros, which a crash leaves of what was being written, and numbers that are not finite
        make that the whole is read, and compared.

    Returns
    -------
    Features
        float16 features become float32; the name is the file's.

    Raises
    ------
    DatasetError
        If there is no such file.
    FileDamagedError
        If the file is truncated, of another format, or holds pickled objects.
    FeatureError
        If it holds no `features`, if these are not a finite 2-D array, or if the other arrays differ in length.
    """
    path = Path(path)
    if choose is not None and (found := _read_rows(path, choose)) is not None:
        return found
    arrays = read_arrays(path)
    if "features" not in arrays:
        message = f"`{path}` must hold an array `features`; it holds {_listing(arrays)}. "
        raise FeatureError(message + HOW_TO_SAVE)
    values = check_features(arrays.pop("features"), f"features of {path}")
    described = _described(path, len(values), arrays)
    if choose is None:
        return replace(described, features=values)
    return _of_rows(described, values, choose(described.ids, len(values)))


def _read_rows(path: Path, choose: Choice) -> Features | None:
    """Return a small share of the rows, read without the others; None where the whole is to be read."""
    stored = StoredRows.find(path, "features")
    if stored is None:
        return None
    n_rows = stored.shape[0]
    described = _described(path, n_rows, read_arrays(path, without="features"))
    rows = choose(described.ids, n_rows)
    if not 0 < len(rows) * _FEW <= n_rows:
        return None
    try:
        values = stored.read(rows)
        looks_sound = bool(values.any(axis=1).all())
        values = check_features(values)
    except (OSError, FeatureError):
        return None
    found = _of_rows(described, np.empty((n_rows, 0)), rows)
    return replace(found, features=values) if looks_sound else None


def _described(path: Path, n_rows: int, arrays: Arrays) -> Features:
    """Return what a file says of its rows, without their features."""
    labels, ids, names = (arrays.get(key) for key in ("labels", "ids", "class_names"))
    if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    for key, array, n_entries in (("labels", labels, n_rows), ("ids", ids, n_rows), ("class_names", names, None)):
        if array is not None and (array.ndim != 1 or len(array) != (n_entries or len(array))):
            message = f"`{key}` of {path} must be a list, of one entry per row or class; "
            message += f"got shape {array.shape} for {n_rows} rows."
            if key == "labels" and array.ndim == 2:
                message += " Several labels per row are saved as `targets`, of 0 and 1."
            raise FeatureError(message)
    targets = arrays.get("targets")
    if targets is not None:
        targets = check_targets(targets, n_rows, f"targets of {path}")
    return Features(
        np.empty((n_rows, 0)),
        labels,
        None if names is None else tuple(map(str, _as_texts(names, f"`class_names` of {path}").tolist())),
        None if ids is None else _distinct(_as_texts(ids, f"`ids` of {path}"), path),
        path.stem,
        targets,
    )


def _of_rows(whole: Features, values: FloatArray, rows: IntArray) -> Features:
    """Return the features of some rows, which follow one another without a copy, and what is known of them."""
    in_turn = len(rows) > 0 and bool((np.diff(rows) == 1).all())
    taken = slice(int(rows[0]), int(rows[-1]) + 1) if in_turn else rows
    return replace(
        whole,
        features=values[taken],
        labels=None if whole.labels is None else whole.labels[taken],
        ids=None if whole.ids is None else whole.ids[taken],
        targets=None if whole.targets is None else whole.targets[taken],
    )


def write_features(
    path: str | os.PathLike[str],
    features: Any,
    labels: Any | None = None,
    class_names: Sequence[str] | None = None,
    ids: Sequence[str] | npt.NDArray[np.str_] | None = None,
    targets: Any | None = None,
) -> Path:
    """Write a feature file; the suffix, `.npz` or `.safetensors`, decides the format.

    The file appears under its name only when it is complete, and replaces one that is there.

    Parameters
    ----------
    path : path
        Folders that are missing are made.
    features : array of shape (n_samples, n_features)
        Real, finite.
    labels : array of int of shape (n_samples,), optional
        Classes.
    class_names : sequence of str, optional
        One per class.
    ids : sequence of str of shape (n_samples,), optional
        What each row is.
    targets : array of float of shape (n_samples,) or (n_samples, n_outputs), optional
        Numbers to predict, or 0 and 1 for each of several labels, in place of classes.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    OptionError
        If the suffix is another.
    FeatureError
        If the features are not a finite 2-D array, or the targets do not fit them.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    checked = np.ascontiguousarray(check_features(features))
    arrays: Arrays = {"features": checked}
    if labels is not None:
        arrays["labels"] = np.ascontiguousarray(labels)
    if targets is not None:
        arrays["targets"] = check_targets(targets, len(checked), "targets")
    texts = {
        key: [str(each) for each in value]
        for key, value in (("class_names", class_names), ("ids", ids))
        if value is not None
    }
    if path.suffix not in SUFFIXES:
        message = f"`path` must end in .npz or .safetensors; got {path.name!r}."
        raise OptionError(message)
    if path.suffix == ".safetensors":
        write_tensors(path, arrays, {key: json.dumps(value) for key, value in texts.items()})
        return path
    named = {key: np.asarray(value, dtype=np.str_) for key, value in texts.items()}
    with temporary_sibling(path) as temporary, output_errors(path), temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays, **named)
        stream.flush()
        os.fsync(stream.fileno())
    return path


def _as_texts(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.str_]:
    """Return names or ids as texts; bytes are UTF-8."""
    try:
        if array.dtype.kind == "S":
            return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if array.dtype.kind in "Uiub":
            return array.astype(np.str_)
    message = f"{where} must be texts; got {array.dtype}. Save them: numpy.asarray(names, dtype=str)."
    raise FeatureError(message)


def _distinct(ids: npt.NDArray[np.str_], path: Path) -> npt.NDArray[np.str_]:
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        message = f"`ids` of {path} must differ from each other; {str(values[counts.argmax()])!r} is there "
        message += f"{counts.max()} times. Leave repeated rows out."
        raise FeatureError(message)
    return ids


HOW_TO_SAVE = "Save it so: numpy.savez(FILE, features=array, labels=labels)."
"""What to do with features in a file of another form."""


def _listing(arrays: Mapping[str, Any]) -> str:
    return ", ".join(sorted(arrays)) or "nothing"
