"""Tables: CSV (also tab-separated), Parquet and CoNLL files.

Columns and rows are chosen behind a '#': `csv:FILE#text=review,label=stars`, `parquet:FILE#train,image=photo`. A word
without '=' picks the rows whose column `split` says so.

==========================  ==========================================================================================
`text=COLUMN`               texts; `text=COLUMN+COLUMN` pairs of texts
`image=COLUMN`              pictures: paths relative to the file, bytes, or records with `bytes` as hubs store them
`words=COLUMN`              sentences as lists of words, or as texts that spaces divide; every word is a row
`label=COLUMN`              classes, integers or strings
`target=COLUMN[+COLUMN…]`   numbers to predict, or 0 and 1 for each of several labels; also a column of lists
`tags=COLUMN`               classes of the words, one each
==========================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transferability._array import IntArray
from transferability._identifiers import split_fragment
from transferability.datasets.base import Dataset
from transferability.datasets.columns import Cells, from_columns
from transferability.datasets.roles import Roles, parse_roles, require_column
from transferability.errors import DatasetError, FileDamagedError, nearest_names, require_extra

__all__ = ["ArrowTable", "first_missing", "load_conll", "load_csv", "load_parquet"]


def load_csv(spec: str) -> Dataset:
    """Return the rows of a CSV file in UTF-8 with a header line; `.tsv` is separated by tabs."""
    path, roles, part = _parse(spec, "csv")
    require_extra("pyarrow", "tables", f"data 'csv:{spec}'")
    import pyarrow as pa
    from pyarrow import csv

    # A review that says "12" is still a text.
    texts = {
        part for name in (*roles.text, *roles.image, *roles.words, *roles.tags) for part in (name, *name.split("+"))
    }
    try:
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(
                delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
            ),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(texts | {"text", "image"}, pa.string())),
        )
    except (pa.ArrowInvalid, OSError) as error:
        message = f"file {path} is not a CSV file in UTF-8: {error}. Mend or export it again."
        raise FileDamagedError(message) from error
    return _dataset(path, table, roles, part)


def load_parquet(spec: str) -> Dataset:
    """Return the rows of a Parquet file."""
    path, roles, part = _parse(spec, "parquet")
    require_extra("pyarrow", "tables", f"data 'parquet:{spec}'")
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        message = f"file {path} is damaged or not a Parquet file: {error}. Write or copy it again."
        raise FileDamagedError(message) from error
    return _dataset(path, table, roles, part)


def load_conll(spec: str) -> Dataset:
    """Return the labelled words of `FILE` or `FILE#COLUMN`: one word a line, sentences apart by empty lines.

    The word comes first on its line and its tag last, or in the COLUMN given, counted from 0; tabs or spaces divide.
    Lines of `-DOCSTART-` are passed over. Row ids are SENTENCE:POSITION.
    """
    path, fragment = split_fragment(spec)
    _require_file(path)
    if fragment and not fragment.isdigit():
        message = f"the column of tags must be a number from 0: conll:{path}#3; got {fragment!r}."
        raise DatasetError(message)
    require_extra("pyarrow", "tables", f"data 'conll:{spec}'")
    import pyarrow as pa

    sentences: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        message = f"file {path} is not a CoNLL file in UTF-8: {error}. Export it again."
        raise FileDamagedError(message) from error
    for number, line in enumerate(lines, start=1):
        parts = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or parts[0] == "-DOCSTART-":
            if sentences[-1]:
                sentences.append([])
                tags.append([])
            continue
        column = int(fragment) if fragment else len(parts) - 1
        if len(parts) < 2 or column >= len(parts):
            message = f"line {number} of {path} must hold a word and its tag in column {column or 1}; got {line!r}."
            raise FileDamagedError(message)
        sentences[-1].append(parts[0])
        tags[-1].append(parts[column])
    kept = len(sentences) if sentences[-1] else len(sentences) - 1  # the file may end in an empty line
    table = ArrowTable(
        str(path), path.parent, pa.table({"words": sentences[:kept], "tags": tags[:kept]}), np.arange(kept)
    )
    return from_columns(path.stem, table, Roles(words=("words",), tags=("tags",)))


@dataclass(frozen=True)
class ArrowTable:
    """An Arrow table in memory, as `columns.Table`."""

    source: str
    folder: Path
    table: Any
    numbers: IntArray

    @property
    def columns(self) -> list[str]:
        """Names, in order."""
        return list(self.table.column_names)

    def cells(self, column: str) -> Cells:
        """Return one column, to be read row by row."""
        return _ArrowCells(self.table[column])

    def values(self, column: str) -> list[Any]:
        """Return one column as a whole."""
        values: list[Any] = self.table[column].to_pylist()
        return values

    def first_missing(self, column: str, *, or_empty: bool) -> int | None:
        """Return the first row that holds nothing."""
        return first_missing(self.table[column].chunks, or_empty=or_empty)

    def class_names(self, column: str) -> None:
        """Files say nothing about what integers mean."""


@dataclass(frozen=True)
class _ArrowCells:
    column: Any

    def __getitem__(self, row: int, /) -> Any:
        return self.column[row].as_py()


def first_missing(chunks: Iterable[Any], *, or_empty: bool) -> int | None:
    """Return the first row of Arrow arrays, one behind the other, that is null, or an empty text where that counts."""
    from pyarrow import compute, types

    start = 0
    for chunk in chunks:
        missing = compute.is_null(chunk)
        if or_empty and (types.is_string(chunk.type) or types.is_large_string(chunk.type)):
            missing = compute.or_kleene(missing, compute.equal(chunk, ""))
        row = compute.index(missing, True).as_py()
        if row >= 0:
            return start + int(row)
        start += len(chunk)
    return None


def _parse(spec: str, prefix: str) -> tuple[Path, Roles, str]:
    path, fragment = split_fragment(spec)
    _require_file(path)
    return path, *parse_roles(fragment, f"{prefix}:FILE")


def _require_file(path: Path) -> None:
    if not path.is_file():
        message = f"{path} is not a file." if path.exists() else f"there is no file {path}."
        raise DatasetError(message)


def _dataset(path: Path, table: Any, roles: Roles, part: str) -> Dataset:
    columns = list(table.column_names)
    if not (roles.text or roles.image or roles.words):
        usual = next((role for role in ("text", "image") if role in columns), None)
        if usual is None:
            message = f"{path} must have a column 'text' or 'image'; it has {', '.join(map(repr, columns))}. "
            message += f"Name one: {path.name}#text=COLUMN."
            raise DatasetError(message)
        roles = replace(roles, text=("text",)) if usual == "text" else replace(roles, image=("image",))
    if "label" in columns and not (roles.label or roles.target or roles.words):
        roles = replace(roles, label=("label",))
    numbers: IntArray = np.arange(table.num_rows)
    if part:
        require_column("split", str(path), columns)
        numbers = _rows_of_split(path, table["split"].to_pylist(), part)
        table = table.take(numbers)
    name = f"{path.stem}_{part}" if part else path.stem
    return from_columns(name, ArrowTable(str(path), path.parent, table, numbers), roles)


def _rows_of_split(path: Path, parts: list[Any], wanted: str) -> IntArray:
    names = [str(part) for part in parts]
    if wanted not in names:
        message = f"no row of {path} has {wanted!r} in its column 'split'. {nearest_names(wanted, set(names))}"
        raise DatasetError(message)
    return np.flatnonzero(np.array(names) == wanted)
