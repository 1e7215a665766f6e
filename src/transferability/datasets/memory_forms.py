"""The many forms of data in memory, brought to the few that are read: columns, lists of items, items with labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transferability.datasets._listing import is_picture
from transferability.datasets.column_roles import Roles
from transferability.errors import DatasetError

__all__ = ["as_columns_or_items", "one_column", "picture_column"]


def as_columns_or_items(data: Any, name: str) -> Any:
    """Return data in a form that `from_memory` reads; what it reads already is returned as it is.

    Lists of records, structured arrays and pictures in tables become columns; pairs of item and label, one a row,
    become items and labels; iterators become lists; tables that are computed on demand are computed.

    Raises
    ------
    DatasetError
        For what has a form that the caller can change: loaders, streams, sets, bunches.
    """
    if hasattr(data, "collect") and hasattr(data, "collect_schema"):  # a lazy frame of polars
        return data.collect()
    if isinstance(data, Iterator):
        data = list(data)
    if isinstance(data, list) and data:
        return _of_list(data)
    if isinstance(data, np.ndarray) and data.dtype.names:
        return {column: data[column] for column in data.dtype.names}
    if _is_series(data):
        return list(data)
    fix = _fix(data)
    if fix is not None:
        message = f"data {name!r} must be rows that can be read in any order; got {type(data).__name__}. {fix}"
        raise DatasetError(message)
    return data


def picture_column(data: Any, roles: Roles) -> tuple[list[Any], list[Any] | None] | None:
    """Return the PIL pictures of a table and their labels: Arrow cannot hold them. None where there are none.

    Raises
    ------
    DatasetError
        If another column is named for the pictures or labels than there is.
    """
    columns = [str(column) for column in (data if isinstance(data, Mapping) else getattr(data, "columns", ()))]
    column = roles.image[0] if roles.image else "image"
    if column not in columns or not len(data[column]) or not _is_pil(next(iter(data[column]))):
        return None
    label = roles.label[0] if roles.label else next((each for each in ("label", "labels") if each in columns), None)
    if label is not None and label not in columns:
        message = f"the table has no column {label!r}; it has {', '.join(map(repr, columns))}."
        raise DatasetError(message)
    return list(data[column]), None if label is None else list(data[label])


def one_column(table: Any, name: str) -> list[Any]:
    """Return the only column of a table that was given with its labels beside it.

    Raises
    ------
    DatasetError
        If it has several, and so must hold the labels too.
    """
    columns = list(table.columns)
    if len(columns) == 1:
        return list(table[columns[0]])
    message = f"the table of data {name!r} with labels beside it must have one column; it has {len(columns)}. "
    raise DatasetError(message + "Give one table with the labels in it: table.assign(label=labels).")


def _of_list(data: list[Any]) -> Any:
    if all(hasattr(row, "_asdict") for row in data):  # named tuples
        data = [row._asdict() for row in data]
    if all(isinstance(row, Mapping) for row in data):
        columns = list(dict.fromkeys(key for row in data for key in row))
        return {str(column): [row.get(column) for row in data] for column in columns}
    if all(isinstance(row, tuple) and len(row) == 2 for row in data) and _is_labelled(data[0]):
        return [item for item, _ in data], [label for _, label in data]
    return data


def _is_labelled(row: tuple[Any, Any]) -> bool:
    """Tell whether a pair is an item and its label, and not a pair of texts."""
    item, label = row
    is_item = isinstance(item, str | Path | np.ndarray) or _is_pil(item)
    is_class = isinstance(label, bool | int | np.integer | np.bool_)
    named = isinstance(label, str) and (not isinstance(item, str) or (is_picture(item) and not is_picture(label)))
    return is_item and (is_class or named)


def _is_pil(item: Any) -> bool:
    return type(item).__module__.partition(".")[0] == "PIL" and hasattr(item, "getbands")


def _is_series(data: Any) -> bool:
    """Tell whether this is one column of pandas or polars."""
    return hasattr(data, "to_frame") and hasattr(data, "to_list") and not hasattr(data, "columns")


def _fix(data: Any) -> str | None:
    if hasattr(data, "batch_size") and hasattr(data, "dataset"):
        return "Give the data set of the loader: loader.dataset."
    if isinstance(data, set | frozenset):
        return "Give a list, whose order is fixed."
    if isinstance(data, Mapping) and "data" in data and "target" in data:
        return "Give a pair: (bunch.data, bunch.target), or (bunch.images, bunch.target) for pictures."
    if isinstance(data, Mapping) and data and all(isinstance(value, str | int) for value in data.values()):
        return "Give a pair: (list(data), list(data.values()))."
    if hasattr(data, "__iter__") and not hasattr(data, "__len__"):
        return "Give a list: list(data)."
    return None
