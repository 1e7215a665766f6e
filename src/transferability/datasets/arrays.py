"""Data in arrays: pictures in an `.npz` archive, and files that hold features already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import FloatArray, IntArray
from transferability._files import read_arrays, read_features
from transferability._identifiers import split_fragment
from transferability._validate import check_features
from transferability.datasets._ids import NumberedRows
from transferability.datasets.base import Dataset, Item, number_labels
from transferability.datasets.images import as_uint8
from transferability.errors import DatasetError, DatasetNameError, LabelError, nearest_names, require_extra

__all__ = ["feature_arrays", "labels_of", "load_features", "load_npz", "picture_arrays"]


def load_npz(spec: str) -> Dataset:
    """Return the pictures of `FILE` or `FILE#PART`.

    Without a part the archive holds `images` or `x`, and perhaps `labels` or `y`; with one, `x_PART` and `y_PART`.
    Pictures are (n, height, width) or (n, height, width, 3), uint8 or floats in 0..1; labels are integers from 0 or
    strings; `class_names` names the classes.
    """
    path, part = split_fragment(spec)
    arrays = read_arrays(path)
    if part:
        keys, label_keys, fix = [f"x_{part}"], [f"y_{part}"], ""
    else:
        keys, label_keys = ["images", "x"], ["labels", "y"]
        parts = sorted(key[2:] for key in arrays if key.startswith("x_"))
        fix = f" Choose a part: {', '.join(f'npz:{path}#{each}' for each in parts)}." if parts else ""
        if "features" in arrays:
            fix = f" It holds features already: features:{path}."
    key = next((each for each in keys if each in arrays), None)
    if key is None:
        held = ", ".join(sorted(arrays)) or "nothing"
        message = f"{path} must hold pictures as {' or '.join(map(repr, keys))}; it holds {held}.{fix}"
        if not part and not fix:
            fix = " Pictures are saved so: numpy.savez(FILE, images=array, labels=labels); features: "
            fix += "numpy.savez(FILE, features=array, labels=labels)."
            message += fix
        message += f" {nearest_names(keys[0], arrays)}" if part else ""
        raise (DatasetNameError if part or fix.startswith(" Choose") else DatasetError)(message.rstrip())
    labels = next((arrays[each] for each in label_keys if each in arrays), None)
    name = f"{path.stem}_{part}" if part else path.stem
    return picture_arrays(name, arrays[key], labels, arrays.get("class_names"), str(path))


def load_features(spec: str) -> Dataset:
    """Return the rows of a feature file as data of modality "array": they are features already."""
    path, part = split_fragment(spec)
    if part:
        message = f"features:{spec}: there is no file {path}#{part}, and feature files have no parts."
        raise DatasetNameError(message)
    table = read_features(path)
    labels, class_names = labels_of(table.labels, table.class_names, str(path), len(table))
    dataset = _feature_data(path.stem, table.features, labels, class_names)
    return replace(dataset, all_ids=dataset.all_ids if table.ids is None else table.ids, all_targets=table.targets)


def feature_arrays(
    name: str, features: npt.NDArray[Any], labels: Any | None, source: str, class_names: Any | None = None
) -> Dataset:
    """Return a data set of rows that are features already; row ids are row numbers.

    Parameters
    ----------
    name : str
        Name of the data set.
    features : array of shape (n, n_features)
        Real, finite.
    labels : array of shape (n,), or None
        Integers from 0, or strings.
    source : str
        What to call it in messages.
    class_names : sequence of str, or None
        One per class.
    """
    checked = check_features(features, f"features of {source}")
    return _feature_data(name, checked, *labels_of(labels, class_names, source, len(checked)))


def _feature_data(
    name: str, features: FloatArray, labels: IntArray | None, class_names: tuple[str, ...] | None
) -> Dataset:
    reader = _FeatureRows(features)
    return Dataset(
        name=name,
        modality="array",
        all_ids=NumberedRows(np.arange(len(features))),
        read=reader.read,
        content=reader.content,
        pieces=reader.pieces,
        all_labels=labels,
        class_names=class_names,
    )


def picture_arrays(
    name: str, pixels: npt.NDArray[Any], labels: Any | None, class_names: npt.ArrayLike | None, source: str
) -> Dataset:
    """Return a data set of pictures that lie in one array; row ids are row numbers.

    Parameters
    ----------
    name : str
        Name of the data set.
    pixels : array of shape (n, height, width) or (n, height, width, 3)
        uint8, or floats in 0..1.
    labels : array of shape (n,), or None
        Integers from 0, or strings.
    class_names : sequence of str, or None
        One per class.
    source : str
        What to call it in messages.
    """
    require_extra("PIL", "images", f"data {name!r}")
    pictures = as_uint8(pixels, source)
    numbers, names = labels_of(labels, class_names, source, len(pictures))
    reader = _PictureRows(pictures)
    return Dataset(
        name=name,
        modality="image",
        all_ids=NumberedRows(np.arange(len(pictures))),
        read=reader.read,
        content=reader.content,
        pieces=reader.pieces,
        all_labels=numbers,
        class_names=names,
    )


@dataclass(frozen=True)
class _PictureRows:
    pictures: npt.NDArray[np.uint8]

    def read(self, row: int) -> Item:
        from PIL import Image

        picture = Image.fromarray(self.pictures[row])
        return picture if picture.mode == "RGB" else picture.convert("RGB")

    def content(self, row: int) -> bytes:
        return b"".join(self.pieces(row))

    def pieces(self, row: int) -> tuple[Any, ...]:
        return str(self.pictures.shape[1:]).encode(), np.ascontiguousarray(self.pictures[row]).reshape(-1)


@dataclass(frozen=True)
class _FeatureRows:
    features: FloatArray

    def read(self, row: int) -> Item:
        return self.features[row]

    def content(self, row: int) -> bytes:
        return b"".join(self.pieces(row))

    def pieces(self, row: int) -> tuple[Any, ...]:
        return self.features.dtype.str.encode(), np.ascontiguousarray(self.features[row]).view(np.uint8)


def labels_of(
    values: Any | None, class_names: npt.ArrayLike | None, source: str, n_rows: int
) -> tuple[IntArray | None, tuple[str, ...] | None]:
    """Return labels as numbers, and the names of the classes; None and None without labels."""
    given = None if class_names is None else _names(class_names, source)
    if values is None:
        return None, None if given is None else tuple(given)
    numbers, names = number_labels(values, source, given)
    if len(numbers) != n_rows:
        message = f"labels of {source} must have one entry per row; got {len(numbers)} for {n_rows} rows."
        raise LabelError(message)
    return numbers, tuple(names)


def _names(class_names: npt.ArrayLike, source: str) -> list[str]:
    names = np.asarray(class_names)
    if names.ndim != 1 or names.dtype.kind not in "SUiu":
        message = f"`class_names` of {source} must be a list of texts; got {names.dtype} of shape {names.shape}."
        raise LabelError(message)
    try:
        return [each.decode("utf-8") if isinstance(each, bytes) else str(each) for each in names.tolist()]
    except UnicodeDecodeError as error:
        message = f"`class_names` of {source} must be texts; got bytes that are not UTF-8: {error}. Save them as texts."
        raise LabelError(message) from error
