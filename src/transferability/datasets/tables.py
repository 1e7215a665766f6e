"""Tables: CSV (also tab-separated), Parquet and CoNLL files.

Columns and rows are chosen behind a '#': `csv:FILE#text=review,label=stars`, `parquet:FILE#train,image=photo`. A word
without '=' picks the rows whose column `split` says so.

==========================  ==========================================================================================
`text=COLUMN`               texts; `text=COLUMN+COLUMN` pairs of texts
`image=COLUMN`              pictures: paths relative to the file, bytes, or records with `bytes` as hubs store them
`words=COLUMN`              sentences as lists of words, or as texts that spaces divide; every word is a row
`label=COLUMN`              classes, integers or strings; nothing is cast: in a CSV file "01" and "1" are two classes
`target=COLUMN[+COLUMN…]`   numbers to predict, or 0 and 1 for each of several labels; also a column of lists
`tags=COLUMN`               classes of the words, one each
`within=FOLDER`             allows pictures below this folder too, as seen from the file's; else only below the file's
==========================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transferability._array import IntArray
from transferability._identifiers import split_fragment
from transferability.datasets.base import Dataset
from transferability.datasets.column_hints import usual_roles
from transferability.datasets.column_kinds import kind_of
from transferability.datasets.column_roles import Roles, parse_roles, require_column
from transferability.datasets.columns import Cells, from_columns
from transferability.datasets.conll_file import read_conll
from transferability.datasets.csv_file import csv_line, read_csv
from transferability.datasets.places import Places
from transferability.errors import (
    DatasetNameError,
    FileDamagedError,
    NoSuchFileError,
    nearest_names,
    no_such_file,
    require_extra,
)

__all__ = ["ArrowTable", "first_missing", "load_conll", "load_csv", "load_parquet"]

_ROWS_AT_ONCE = 1 << 14  # whose texts are trimmed in a copy


def load_csv(spec: str) -> Dataset:
    """Return the rows of a CSV file in UTF-8 with a header line; `.tsv` is separated by tabs."""
    path, roles, part = _parse(spec, "csv")
    require_extra("pyarrow", "tables", f"data 'csv:{spec}'")
    table, notes = read_csv(path)
    return _dataset("csv", path, table, roles, part, notes)


def load_parquet(spec: str) -> Dataset:
    """Return the rows of a Parquet file."""
    path, roles, part = _parse(spec, "parquet")
    require_extra("pyarrow", "tables", f"data 'parquet:{spec}'")
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path, page_checksum_verification=True).read()
        table.validate(full=True)
        table.column_names  # noqa: B018 - decodes them
    except Exception as error:  # Arrow's errors, the disk's, those of a decompressor
        reason = " ".join(str(error).split())[:300].rstrip(".")
        message = f"file {path} is damaged or not a Parquet file: {reason}. Write or copy it again."
        raise FileDamagedError(message) from error
    return _dataset("parquet", path, table, roles, part, ())


def load_conll(spec: str) -> Dataset:
    """Return the labelled words of `FILE` or `FILE#COLUMN`: one word a line, sentences apart by empty lines.

    The word comes first on its line and its tag last, or in the COLUMN given, counted from 0; tabs or spaces divide.
    Lines of `-DOCSTART-` and comments (`# key = value`) are passed over. Row ids are SENTENCE:POSITION.
    """
    path, fragment = split_fragment(spec)
    _require_file(path)
    if fragment and not (fragment.isascii() and fragment.isdecimal() and len(fragment) < 6):
        message = f"the column of tags must be a number from 0: conll:{path}#3; got {fragment!r:.100}."
        raise DatasetNameError(message)
    require_extra("pyarrow", "tables", f"data 'conll:{spec}'")
    import pyarrow as pa

    sentences, tags, notes = read_conll(path, int(fragment) if fragment else None)
    table = pa.table(
        {"words": pa.array(sentences, pa.list_(pa.string())), "tags": pa.array(tags, pa.list_(pa.string()))}
    )
    source = ArrowTable(str(path), path.parent, table, np.arange(len(sentences)))
    return from_columns(path.stem, source, Roles(words=("words",), tags=("tags",)), notes)


@dataclass(frozen=True)
class ArrowTable:
    """An Arrow table in memory, as `columns.Table`."""

    source: str
    folder: Path
    table: Any
    numbers: IntArray
    line: Callable[[int], int | None] | None = None

    @property
    def place(self) -> Places:
        """What each row is called in messages."""
        return Places(self.numbers, self.line)

    @property
    def columns(self) -> list[str]:
        """Names, in order."""
        return list(self.table.column_names)

    @property
    def allowed(self) -> tuple[Path, ...]:
        """Pictures lie below the table's folder."""
        return (self.folder,)

    def kind(self, column: str) -> str:
        """Return what a column holds."""
        return kind_of(self.table.schema.field(column).type)

    def head(self, column: str, n: int) -> list[Any]:
        """Return the first cells of a column."""
        return list(self.table[column].slice(0, n).to_pylist())

    def cells(self, column: str) -> Cells:
        """Return one column, to be read row by row."""
        return _ArrowCells(self.table[column])

    def values(self, column: str) -> list[Any]:
        """Return one column as a whole."""
        values: list[Any] = self.table[column].to_pylist()
        return values

    def first_missing(self, column: str) -> int | None:
        """Return the first row that holds nothing, or a blank text."""
        return first_missing(self.table[column].chunks)

    def class_names(self, column: str) -> None:
        """Files say nothing about what integers mean."""


@dataclass(frozen=True)
class _ArrowCells:
    column: Any

    def __getitem__(self, row: int, /) -> Any:
        return self.column[row].as_py()


def first_missing(chunks: Iterable[Any]) -> int | None:
    """Return the first row of Arrow arrays, one behind the other, that is null, not a number, or a blank text.

    A CSV file knows no null, so a text without anything but spaces counts as none in every format.
    """
    from pyarrow import compute

    start = 0
    for chunk in chunks:
        for part in (chunk.slice(first, _ROWS_AT_ONCE) for first in range(0, len(chunk), _ROWS_AT_ONCE)):
            missing = compute.is_null(part, nan_is_null=True)
            texts = _texts(part)
            if texts is not None:
                missing = compute.or_kleene(missing, compute.equal(compute.utf8_trim_whitespace(texts), ""))
            row = compute.index(missing, True).as_py()
            if row >= 0:
                return start + int(row)
            start += len(part)
    return None


def _texts(array: Any) -> Any | None:
    """Return an Arrow array as texts that Arrow can trim; None where it holds something else."""
    import pyarrow as pa
    from pyarrow import types

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    return array if types.is_string(array.type) or types.is_large_string(array.type) else None


def _parse(spec: str, prefix: str) -> tuple[Path, Roles, str]:
    path, fragment = split_fragment(spec)
    _require_file(path)
    return path, *parse_roles(fragment, f"{prefix}:FILE")


def _require_file(path: Path) -> None:
    if not path.is_file():
        if not path.exists():
            raise NoSuchFileError(no_such_file(path))
        message = f"{path} is not a file."
        raise DatasetNameError(message)


def _dataset(prefix: str, path: Path, table: Any, roles: Roles, part: str, notes: tuple[str, ...]) -> Dataset:
    columns = list(table.column_names)
    numbers: IntArray = np.arange(table.num_rows)
    if part:
        if part in columns and "split" not in columns:
            message = (
                f"#{part} picks the rows of a split; {path} has no column 'split'. Columns have a role: #label={part}."
            )
            raise DatasetNameError(message)
        require_column("split", str(path), columns)
        numbers = _rows_of_split(path, table["split"].to_pylist(), part)
        table = table.take(numbers)
    elif columns.count("split") == 1:
        names = sorted({str(name) for name in table["split"].to_pylist()})
        if 1 < len(names) <= 10:
            notes += (f"rows of all splits are read ({', '.join(map(repr, names))}); write #{names[-1]} for one.",)
    name = f"{path.stem}_{part}" if part else path.stem
    line = partial(csv_line, path) if prefix == "csv" else None
    source = ArrowTable(str(path), path.parent, table, numbers, line)
    return from_columns(name, source, usual_roles(source, f"{prefix}:{path}#{{}}", roles), notes)


def _rows_of_split(path: Path, parts: list[Any], wanted: str) -> IntArray:
    names = [str(part) for part in parts]
    if wanted not in names:
        message = f"no row of {path} has {wanted!r} in its column 'split'. {nearest_names(wanted, set(names))}"
        raise DatasetNameError(message)
    return np.flatnonzero(np.array(names) == wanted)
