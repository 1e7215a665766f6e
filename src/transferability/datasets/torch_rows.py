"""Data sets of torch, and whatever has a length and rows like them: pictures, texts or features with their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from transferability._array import as_numpy
from transferability.datasets._ids import NumberedRows
from transferability.datasets.arrays import feature_arrays, labels_of
from transferability.datasets.base import Dataset, Item, Modality, text_bytes
from transferability.datasets.images import as_rgb, as_uint8
from transferability.datasets.vision import targets_of
from transferability.errors import DatasetError, TransferabilityError, require_extra

__all__ = ["torch_data"]

_ITEMS = ("image", "img", "picture", "pixel_values", "text", "sentence")
_LABELS = ("label", "labels", "target", "class")
_KINDS = "Its items must be pictures, texts or arrays, alone or in pairs with a class, or dicts with image and label."


def torch_data(data: Any, name: str) -> Dataset:
    """Return the rows of a torch data set; pictures are decoded when they are needed.

    Raises
    ------
    DatasetError, LabelError
        If its items are none of these.
    """
    try:
        reader, first = _reader(data), data[0]
        item = reader.item(0)
        modality: Modality = "text" if isinstance(item, str) else "array" if _is_row(item) else "image"
        labels = _labels(data, first, reader)
        if modality == "array":
            rows = np.stack([as_numpy(reader.item(row)) for row in range(len(data))])
            return feature_arrays(name, rows, None if labels is None else np.asarray(labels), f"data {name!r}")
        if modality == "image":
            require_extra("PIL", "images", f"data {name!r}")
        reader.read(0)
    except TransferabilityError:
        raise
    except Exception as error:  # of somebody else's code
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
        message = f"data {name!r} cannot be read: {reason}. {_KINDS}"
        raise DatasetError(message) from error
    known = _class_names(data)
    values = None if labels is None else labels if any(isinstance(each, str) for each in labels) else np.array(labels)
    numbers, class_names = labels_of(values, known, f"data {name!r}", len(data))
    return Dataset(
        name=name,
        modality=modality,
        all_ids=NumberedRows(np.arange(len(data))),
        read=reader.read,
        content=reader.content,
        all_labels=numbers,
        class_names=class_names,
    )


def _reader(data: Any) -> _TorchRows:
    first = data[0]
    if not isinstance(first, dict):
        return _TorchRows(data, None, None)
    key = next((each for each in _ITEMS if each in first), None)
    if key is None:
        message = f"items of the data must have one of the keys {', '.join(_ITEMS)}; got {', '.join(map(str, first))}. "
        raise DatasetError(message + "Or give a pair (items, labels).")
    return _TorchRows(data, key, next((each for each in _LABELS if each in first), None))


def _labels(data: Any, first: Any, reader: _TorchRows) -> list[Any] | None:
    if isinstance(first, dict):
        return None if reader.label is None else [_plain(data[row][reader.label]) for row in range(len(data))]
    if not (isinstance(first, tuple | list) and len(first) == 2):
        return None
    return [_plain(each) for each in targets_of(data)]


def _plain(label: Any) -> Any:
    """Return a label as Python has it: tensors of one number are numbers."""
    return label.item() if hasattr(label, "item") and getattr(label, "ndim", 0) == 0 else label


def _class_names(data: Any) -> list[str] | None:
    """Return the names that a data set has for its classes, one that it is a part of too."""
    while data is not None:
        names = getattr(data, "classes", None)
        if isinstance(names, list | tuple):
            return [str(each) for each in names]
        parts = getattr(data, "datasets", None)  # one after the other
        if isinstance(parts, list) and parts:
            of_parts = [_class_names(part) for part in parts]
            return of_parts[0] if all(each == of_parts[0] for each in of_parts) else None
        data = getattr(data, "dataset", None)
    return None


def _is_row(item: Any) -> bool:
    """Tell whether an item is a row of numbers, features already."""
    return not isinstance(item, str | bytes) and getattr(item, "ndim", None) == 1


@dataclass(frozen=True)
class _TorchRows:
    data: Any
    key: str | None
    label: str | None

    def item(self, row: int) -> Any:
        """Return what is encoded of a row, as the data set gives it."""
        found = self.data[row]
        if self.key is not None:
            return found[self.key]
        return found[0] if isinstance(found, tuple | list) and len(found) == 2 else found

    def read(self, row: int) -> Item:
        from PIL import Image

        picture = self.item(row)
        if isinstance(picture, str):
            return picture
        if isinstance(picture, Image.Image):
            return as_rgb(picture)
        pixels = as_numpy(picture)
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):  # tensors have them first
            pixels = pixels.transpose(1, 2, 0)
        if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "fiub":
            message = f"item {row} must be a picture; got {type(picture).__name__} of shape {pixels.shape}. "
            raise DatasetError(message + "Leave transforms out.")
        try:
            return as_rgb(Image.fromarray(as_uint8(pixels[None], f"item {row}")[0]))
        except DatasetError as error:
            message = f"{error} Leave out the transforms of the data set: the encoder brings its own."
            raise DatasetError(message) from error

    def content(self, row: int) -> bytes:
        item = self.read(row)
        if isinstance(item, str):
            return text_bytes(item)
        return b"".join((str(item.size).encode(), item.tobytes()))
