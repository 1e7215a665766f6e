"""Tables: CSV (also tab-separated) and Parquet files with a column of texts or of pictures, and perhaps one of labels.

Columns and rows are chosen behind a '#': `csv:FILE#text=review,label=stars`, `parquet:FILE#train,image=photo`. A word
without '=' picks the rows whose column `split` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from transferability._array import IntArray
from transferability._identifiers import split_fragment
from transferability.datasets.base import Dataset, Item, Modality
from transferability.datasets.pictures import open_picture
from transferability.errors import DatasetError, FileDamagedError, LabelError, nearest_names, require_extra

__all__ = ["load_csv", "load_parquet"]

_ROLES = ("text", "image", "label")


def load_csv(spec: str) -> Dataset:
    """Return the rows of a CSV file in UTF-8 with a header line; `.tsv` is separated by tabs."""
    path, roles = _parse(spec, "csv")
    require_extra("pyarrow", "tables", f"data 'csv:{spec}'")
    import pyarrow as pa
    from pyarrow import csv

    texts = {roles.get("text", "text"): pa.string(), roles.get("image", "image"): pa.string()}
    try:
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(
                delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
            ),
            convert_options=csv.ConvertOptions(column_types=texts),  # a review that says "12" is still a text
        )
    except (pa.ArrowInvalid, OSError) as error:
        message = f"file {path} is not a CSV file in UTF-8: {error}. Mend or export it again."
        raise FileDamagedError(message) from error
    return _dataset(path, table, roles)


def load_parquet(spec: str) -> Dataset:
    """Return the rows of a Parquet file; pictures may be paths, bytes, or records with `bytes` as hubs store them."""
    path, roles = _parse(spec, "parquet")
    require_extra("pyarrow", "tables", f"data 'parquet:{spec}'")
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        message = f"file {path} is damaged or not a Parquet file: {error}. Write or copy it again."
        raise FileDamagedError(message) from error
    return _dataset(path, table, roles)


def _parse(spec: str, prefix: str) -> tuple[Path, dict[str, str]]:
    path, fragment = split_fragment(spec)
    if not path.is_file():
        message = f"{path} is not a file." if path.exists() else f"there is no file {path}."
        raise DatasetError(message)
    roles: dict[str, str] = {}
    for part in filter(None, fragment.split(",")):
        role, equals, column = part.partition("=")
        if not equals:
            role, column = "split", part
        elif role not in _ROLES:
            message = f"columns are chosen as {prefix}:FILE#text=COLUMN,label=COLUMN; got {part!r}. "
            message += nearest_names(role, _ROLES)
            raise DatasetError(message)
        roles[role] = column
    return path, roles


def _dataset(path: Path, table: Any, roles: dict[str, str]) -> Dataset:
    columns = list(table.column_names)
    modality: Modality = "text" if "text" in roles or ("text" in columns and "image" not in roles) else "image"
    item_column = roles.get(modality, modality)
    label_column = roles.get("label", "label" if "label" in columns else None)
    if modality not in roles and item_column not in columns:
        message = f"{path} must have a column 'text' or 'image'; it has {', '.join(map(repr, columns))}. "
        message += f"Name one: {path.name}#text=COLUMN."
        raise DatasetError(message)
    for column in filter(None, (item_column, label_column, "split" if "split" in roles else None)):
        _require_column(path, columns, column)

    rows: IntArray = np.arange(table.num_rows)
    if "split" in roles:
        rows = _rows_of_split(path, table["split"].to_pylist(), roles["split"])
        table = table.take(rows)
    values = table[item_column].to_pylist()
    if None in values:
        message = f"row {rows[values.index(None)]} of {path} has no {modality} in column {item_column!r}. "
        message += "Fill it or drop the row."
        raise DatasetError(message)
    labels, class_names = None, None
    if label_column is not None:
        labels, class_names = _number(table[label_column].to_pylist(), rows, label_column, path)
    read, content = _text_access(values) if modality == "text" else _picture_access(values, rows, path)
    return Dataset(
        name=f"{path.stem}_{roles['split']}" if "split" in roles else path.stem,
        modality=modality,
        all_ids=rows.astype(np.str_),
        read=read,
        content=content,
        all_labels=labels,
        class_names=class_names,
    )


def _rows_of_split(path: Path, parts: list[Any], wanted: str) -> IntArray:
    names = [str(part) for part in parts]
    if wanted not in names:
        message = f"no row of {path} has {wanted!r} in its column 'split'. {nearest_names(wanted, set(names))}"
        raise DatasetError(message)
    return np.flatnonzero(np.array(names) == wanted)


def _require_column(path: Path, columns: list[str], column: str) -> None:
    if column not in columns:
        message = f"{path} has no column {column!r}. {nearest_names(column, columns)}"
        raise DatasetError(message)
    if columns.count(column) > 1:
        message = f"{path} has {columns.count(column)} columns {column!r}. Rename all but one."
        raise DatasetError(message)


def _number(values: list[Any], rows: IntArray, column: str, path: Path) -> tuple[IntArray, tuple[str, ...]]:
    """Give each value its number in sorted order: stars 1 to 5 become 0 to 4, named "1" to "5"."""
    for row, value in enumerate(values):
        if value is None or value == "" or (isinstance(value, float) and value != value):
            message = f"row {rows[row]} of {path} has no label in column {column!r}. Fill it or drop the row."
            raise LabelError(message)
        if not isinstance(value, (int, str)) and not (isinstance(value, float) and value.is_integer()):
            message = f"labels in column {column!r} of {path} must be integers or strings; row {rows[row]} has "
            message += f"{value!r}. Number or name the classes."
            raise LabelError(message)
    classes = sorted(set(values))
    number = {value: index for index, value in enumerate(classes)}
    names = tuple(str(int(each) if isinstance(each, float) else each) for each in classes)
    return np.array([number[value] for value in values], dtype=np.int64), names


def _text_access(values: list[Any]) -> tuple[Callable[[int], Item], Callable[[int], bytes]]:
    texts = [str(value) for value in values]
    return texts.__getitem__, lambda row: texts[row].encode("utf-8", "surrogatepass")


def _picture_access(
    values: list[Any], rows: IntArray, path: Path
) -> tuple[Callable[[int], Item], Callable[[int], bytes]]:
    def source(row: int) -> Path | bytes:
        value = values[row]
        if isinstance(value, dict):  # {"bytes": …, "path": …}
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return path.parent / value
        message = f"row {rows[row]} of {path} must hold a path or the bytes of a picture; got {type(value).__name__}."
        raise DatasetError(message)

    def read(row: int) -> Item:
        where = source(row)
        return open_picture(where, str(where) if isinstance(where, Path) else f"in row {rows[row]} of {path}")

    def content(row: int) -> bytes:
        where = source(row)
        return where if isinstance(where, bytes) else where.read_bytes()

    return read, content
