"""Files of features: read and written without pickle, never half-written.

A feature file is an `.npz` archive or a `.safetensors` file that holds `features` (n_samples, n_features) and, where
they are known, `labels` (n_samples,), `class_names` (n_classes,), `ids` (n_samples,), `targets` (n_samples,) or
(n_samples, n_outputs). In safetensors, which knows no
strings, the names and ids are JSON lists in the header's metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._archives import read_npz
from transferability._array import FloatArray, IntArray
from transferability._class_numbers import storable_labels
from transferability._tensors import Arrays, read_tensors, write_tensors
from transferability._validate import check_features, check_targets
from transferability._writing import output_errors
from transferability._writing import temporary_sibling as temporary_sibling
from transferability._writing import to_disk as to_disk
from transferability._writing import write_through_temporary as write_through_temporary
from transferability.errors import (
    DatasetError,
    FeatureError,
    FileDamagedError,
    NoSuchFileError,
    OptionError,
    no_such_file,
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


def read_features(path: str | os.PathLike[str]) -> Features:
    """Read a feature file.

    Parameters
    ----------
    path : path
        A `.npz` archive or a `.safetensors` file with at least `features`.

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
    arrays = read_arrays(path)
    if "features" not in arrays:
        message = f"`{path}` must hold an array `features`; it holds {_listing(arrays)}. "
        raise FeatureError(message + HOW_TO_SAVE)
    features = check_features(arrays["features"], f"features of {path}")
    labels, ids, names = (arrays.get(key) for key in ("labels", "ids", "class_names"))
    if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    for key, array, n_entries in (
        ("labels", labels, len(features)),
        ("ids", ids, len(features)),
        ("class_names", names, None),
    ):
        if array is not None and (array.ndim != 1 or len(array) != (n_entries or len(array))):
            message = f"`{key}` of {path} must be a list, of one entry per row or class; "
            message += f"got shape {array.shape} for {len(features)} rows."
            if key == "labels" and array.ndim == 2:
                message += " Several labels per row are saved as `targets`, of 0 and 1."
            raise FeatureError(message)
    targets = arrays.get("targets")
    if targets is not None:
        targets = check_targets(targets, len(features), f"targets of {path}")
    return Features(
        features,
        labels,
        None if names is None else tuple(map(str, _as_texts(names, f"`class_names` of {path}").tolist())),
        None if ids is None else _distinct(_as_texts(ids, f"`ids` of {path}"), path),
        path.stem,
        targets,
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
    labels : array of shape (n_samples,), optional
        Classes: numbers, or names, which are written as numbers and `class_names`.
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
    LabelError
        If there are more or fewer labels than rows, or labels that are neither numbers nor names.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    checked = np.ascontiguousarray(check_features(features))
    arrays: Arrays = {"features": checked}
    if labels is not None:
        arrays["labels"], class_names = storable_labels(labels, class_names, len(checked))
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


def read_arrays(path: Path) -> Arrays:
    """Read every array of an `.npz` or `.safetensors` file into memory.

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
        return _read_safetensors(path)
    return read_npz(path)


def _read_safetensors(path: Path) -> Arrays:
    arrays, metadata = read_tensors(path, "a safetensors file")
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
