"""Data that are in memory already: tables, lists with their labels, data sets of other libraries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transferability._array import as_numpy
from transferability.datasets._ids import NumberedRows
from transferability.datasets._listing import is_picture
from transferability.datasets.arrays import feature_arrays, labels_of, picture_arrays
from transferability.datasets.base import Dataset, Item, text_bytes
from transferability.datasets.column_roles import Roles, parse_roles
from transferability.datasets.images import as_rgb, inspect_picture, open_picture, picture_bytes
from transferability.datasets.memory_forms import as_columns_or_items, one_column, picture_column
from transferability.errors import DatasetError, OptionError, require_extra
from transferability.task import Task

__all__ = ["from_memory"]

_KINDS = (
    "a table (pandas, polars, Arrow, a dict of columns), a datasets.Dataset, a torch Dataset, a list of items, a pair "
    "(items, labels), or a Task; items are pictures (PIL, paths, arrays), texts, or rows of features"
)


def from_memory(data: Any, name: str = "data", columns: str = "") -> Dataset:
    """Return a data set of what somebody has in memory.

    Parameters
    ----------
    data : object
        A table with columns `text` or `image` and perhaps `label` (whatever speaks Arrow: pandas, polars, pyarrow,
        DuckDB; or a dict of columns); a `datasets.Dataset`; a torch `Dataset` of pictures with classes, such as
        `ImageFolder`; a list of items, or a tuple of items and labels; a `Task`, which keeps its own name. Items are
        PIL pictures, paths of pictures, texts, pairs of texts; or one array of pictures (n, height, width[, 3]) or of
        features (n, n_features). Labels may be integers from 0, whole floats, booleans or names.
    name : str, default="data"
        Of the data set.
    columns : str, default=""
        Of a table or a `datasets.Dataset`: which column is what, as behind the '#' of an identifier:
        "text=review,label=stars".

    Raises
    ------
    DatasetError, LabelError
        If it is nothing of this kind, or if a row cannot be used.
    """
    if type(data).__module__.partition(".")[0] == "datasets":
        return _library_data(data, name, _roles(columns))
    if callable(data) and (hasattr(data, "forward") or not hasattr(data, "__getitem__")):
        called = getattr(data, "__name__", type(data).__name__)
        message = f"`data` must be {_KINDS}; got {called}, which can be called, as encoders can. If it is one, write "
        raise DatasetError(message + "encoders=[…] in rank, encoder=… in relate.")
    if isinstance(data, Task):
        return feature_arrays(data.name, data.features, data.labels, f"task {data.name!r}", data.class_names)
    data = as_columns_or_items(data, name)
    if hasattr(data, "__arrow_c_stream__") or _is_columns(data):
        return _table(data, name, _roles(columns))
    if columns:
        message = f"`columns` must be left out for data without columns; got {columns!r} for {type(data).__name__}."
        raise OptionError(message)
    if isinstance(data, tuple):
        if len(data) != 2:
            message = f"`data` must be {_KINDS}; got a tuple of {len(data)}. Write (items, labels), or a list of items."
            raise DatasetError(message)
        return _items(data[0], data[1], name)
    if isinstance(data, list | np.ndarray) or hasattr(data, "__array__") or _is_tensor(data):
        return _items(data, None, name)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes | Mapping):
        from transferability.datasets.torch_rows import torch_data

        return torch_data(data, name)
    message = f"`data` must be {_KINDS}; got {type(data).__name__}. Or write an identifier, such as folder:DIR."
    raise DatasetError(message)


def _is_columns(data: Any) -> bool:
    return isinstance(data, Mapping) and bool(data) and all(isinstance(key, str) for key in data)


def _is_tensor(data: Any) -> bool:
    return hasattr(data, "detach") and hasattr(data, "cpu")


def _roles(columns: str) -> Roles:
    roles, rows = parse_roles(columns, "columns=")
    if rows:
        message = f"`columns` must be written as text=COLUMN,label=COLUMN; got {rows!r}."
        raise OptionError(message)
    return roles


def _table(data: Any, name: str, roles: Roles) -> Dataset:
    require_extra("pyarrow", "tables", f"data {name!r}")
    import pyarrow as pa

    from transferability.datasets.column_hints import usual_roles
    from transferability.datasets.columns import from_columns
    from transferability.datasets.tables import ArrowTable

    pictures = picture_column(data, roles)
    if pictures is not None:
        return _items(*pictures, name)
    try:
        table = data if isinstance(data, pa.Table) else pa.table(dict(data) if _is_columns(data) else data)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if _is_columns(data) and len({len(values) for values in data.values()}) > 1:
            message = f"columns of data {name!r} must be equally long. If its keys are classes, give a pair: "
            message += (
                "([item for items in data.values() for item in items], [key for key in data for _ in data[key]])."
            )
            raise DatasetError(message) from error
        reason = " ".join(str(error).split())[:300].rstrip(".")
        message = f"columns of data {name!r} must each hold values of one type: {reason}. Convert them first."
        raise DatasetError(message) from error
    table = table.drop_columns([column for column in table.column_names if column.startswith("__index_level_")])
    source = ArrowTable(f"data {name!r}", Path(), table, np.arange(table.num_rows))
    roles = usual_roles(source, "columns='{}'", replace(roles, within="/"))
    return from_columns(name, source, roles)


def _library_data(data: Any, name: str, roles: Roles) -> Dataset:
    from transferability.datasets.hub import rows_as_data

    if hasattr(data, "keys"):
        choices = " or ".join(f"data[{split!r}]" for split in list(data)[:3])
        message = f"`data` must be one split of a data set; got {type(data).__name__}. Give {choices}."
        raise DatasetError(message)
    if not hasattr(data, "select_columns") or not hasattr(data, "__len__"):
        message = f"`data` must be rows that can be read in any order; got {type(data).__name__}. "
        raise DatasetError(message + "Take some: datasets.Dataset.from_list(list(data.take(1000))).")
    return rows_as_data(data, name, roles)


def _items(items: Any, labels: Any | None, name: str) -> Dataset:
    if isinstance(items, np.ndarray) or hasattr(items, "__array__") or _is_tensor(items):
        array = as_numpy(items)
        if array.dtype.kind in "fiub" and array.ndim == 2:
            return feature_arrays(name, array, labels, f"data {name!r}")
        if array.dtype.kind in "fiub" and array.ndim == 1:
            message = f"items of data {name!r} must be pictures, texts or rows of features; got an array of shape "
            message += f"{array.shape}, which looks like labels. Write one pair: (items, labels)."
            raise DatasetError(message)
        if array.dtype.kind in "fiub":
            return picture_arrays(name, array, labels, None, f"data {name!r}")
        items = one_column(items, name) if hasattr(items, "columns") else array.tolist()
    items = list(items) if isinstance(items, Iterator) else items
    if not isinstance(items, Sequence) or isinstance(items, str | bytes) or not len(items):
        message = (
            f"items of data {name!r} must be a list with at least one item; got {' '.join(repr(items).split()):.100}."
        )
        raise DatasetError(message + (" Write x.toarray()." if hasattr(items, "toarray") else ""))
    if all(_is_array(item) for item in items):
        from transferability.datasets.torch_rows import torch_data

        labels_of(labels, None, f"data {name!r}", len(items))  # as many as items?
        return torch_data(items if labels is None else list(zip(items, labels, strict=True)), name)
    modality, reader = _reader_of(items, name)
    numbers, class_names = labels_of(labels, None, f"data {name!r}", len(items))
    return Dataset(
        name=name,
        modality="text" if modality == "text" else "image",
        all_ids=NumberedRows(np.arange(len(items))),
        read=reader.read,
        content=reader.content,
        inspect=reader.inspect if isinstance(reader, _Paths | _Encoded) else None,
        all_labels=numbers,
        class_names=class_names,
        notes=(_PAIRS,) if labels is None and isinstance(items[0], tuple | list) else (),
    )


_PAIRS = "Pairs of two texts are read as one item each; texts with their labels are two lists: (texts, labels)."


def _is_array(item: Any) -> bool:
    """Tell whether an item is a picture or a row of features as numbers."""
    return (isinstance(item, np.ndarray) or _is_tensor(item)) and getattr(item, "ndim", 0) in (1, 2, 3)


def _reader_of(items: Sequence[Any], name: str) -> tuple[str, _TextItems | _Pictures | _Paths | _Encoded]:
    if all(isinstance(item, Path) or (isinstance(item, str) and is_picture(item)) for item in items):
        return "image", _Paths(tuple(map(str, items)))
    if all(isinstance(item, bytes) for item in items):
        return "image", _Encoded(tuple(items))
    kinds = [_kind_of(item) for item in items]
    known = ("text", "pair", "picture")
    if len(set(kinds)) > 1 or kinds[0] not in known:
        row = next((row for row, kind in enumerate(kinds) if kind != kinds[0] or kind not in known), 0)
        message = f"items of data {name!r} must all be pictures (PIL or paths), texts or pairs of texts; item {row} is "
        message += f"{kinds[row]}" + (f", the first is {kinds[0]}" if row else "") + ". Convert them first."
        raise DatasetError(message)
    if kinds[0] == "picture":
        return "image", _Pictures(tuple(items))
    texts = tuple(tuple(item) if kinds[0] == "pair" else item for item in items)
    blank = next((row for row, item in enumerate(items) if _is_blank(item)), None)
    if blank is not None:
        message = f"item {blank} of data {name!r} has no text: it is {items[blank]!r:.100}. Fill it or leave it out."
        raise DatasetError(message)
    return "text", _TextItems(texts)


def _is_blank(item: Any) -> bool:
    return any(not text.strip() for text in ((item,) if isinstance(item, str) else item))


def _kind_of(item: Any) -> str:
    if isinstance(item, str):
        return "text"
    if isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return "pair"
    is_picture = type(item).__module__.partition(".")[0] == "PIL" and hasattr(item, "getbands")
    return "picture" if is_picture else type(item).__name__


@dataclass(frozen=True)
class _TextItems:
    texts: tuple[Any, ...]

    def read(self, row: int) -> Item:
        return self.texts[row]

    def content(self, row: int) -> bytes:
        text = self.texts[row]
        return text_bytes(text) if isinstance(text, str) else text_bytes(*text)


@dataclass(frozen=True)
class _Pictures:
    pictures: tuple[Any, ...]

    def read(self, row: int) -> Item:
        return as_rgb(self.pictures[row])

    def content(self, row: int) -> bytes:
        picture = self.read(row)
        return b"".join((str(picture.size).encode(), picture.tobytes()))


@dataclass(frozen=True)
class _Paths:
    paths: tuple[str, ...]

    def read(self, row: int) -> Item:
        return open_picture(Path(self.paths[row]), self.paths[row])

    def content(self, row: int) -> bytes:
        return picture_bytes(Path(self.paths[row]))

    def inspect(self, row: int) -> int:
        return inspect_picture(Path(self.paths[row]), self.paths[row])


@dataclass(frozen=True)
class _Encoded:
    """The contents of picture files."""

    contents: tuple[bytes, ...]

    def read(self, row: int) -> Item:
        return open_picture(self.contents[row], f"of row {row}")

    def content(self, row: int) -> bytes:
        return self.contents[row]

    def inspect(self, row: int) -> int:
        return inspect_picture(self.contents[row], f"of row {row}")
