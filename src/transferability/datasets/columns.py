"""From columns to a data set: texts, pairs, pictures or words; classes, targets or tags. The format is no matter here.

A format brings a `Table` and the `Roles` of its columns; `from_columns` does the rest: `tables.py` is the example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.datasets._ids import NumberedRows, WordIds
from transferability.datasets.base import Dataset, Item, text_bytes
from transferability.datasets.column_hints import unused_columns
from transferability.datasets.column_kinds import require_kinds
from transferability.datasets.column_labels import number_cells, target_cells
from transferability.datasets.column_roles import ROLES, Roles
from transferability.datasets.images import inspect_picture, open_picture, picture_bytes
from transferability.datasets.places import Places
from transferability.errors import DatasetError, LabelError

__all__ = ["Cells", "Table", "from_columns"]


class Cells(Protocol):
    """The values of one column by row, `None` where there is none. It can be pickled."""

    def __getitem__(self, row: int, /) -> Any: ...


class Table(Protocol):
    """Rows and columns of any format."""

    @property
    def source(self) -> str:
        """What to call it in messages."""

    @property
    def folder(self) -> Path:
        """Where relative paths of pictures begin."""

    @property
    def allowed(self) -> tuple[Path, ...]:
        """Folders below which pictures may lie."""

    @property
    def columns(self) -> list[str]:
        """Names, in order."""

    @property
    def numbers(self) -> IntArray:
        """The id of each row: its number in the file, from 0."""

    @property
    def place(self) -> Places:
        """What each row is called in messages. It can be pickled."""

    def kind(self, column: str) -> str:
        """Return what a column holds, as `column_kinds.kind_of` says it."""

    def head(self, column: str, n: int) -> list[Any]:
        """Return the first cells of a column."""

    def cells(self, column: str) -> Cells:
        """Return one column, to be read row by row."""

    def values(self, column: str) -> list[Any]:
        """Return one column as a whole."""

    def first_missing(self, column: str) -> int | None:
        """Return the first row that holds nothing, or a blank text; None if there is no such row."""

    def class_names(self, column: str) -> Sequence[str] | None:
        """Return what the format itself says the integers in a column, or in its lists, mean."""


def from_columns(name: str, table: Table, roles: Roles, notes: tuple[str, ...] = ()) -> Dataset:
    """Return the data set that these columns make.

    Parameters
    ----------
    name : str
        Of the data set.
    table : Table
        Its rows, those of another split already left out.
    roles : Roles
        Which column is what.
    notes : tuple of str
        What is known already of how the data were read.

    Raises
    ------
    DatasetError
        If a column is not there or a row holds no item, naming the row.
    LabelError
        If a row has no label or target, or one that cannot be used, naming the row.
    """
    roles = roles.checked(table.source, table.columns)
    for role in ROLES:
        for column in getattr(roles, role):
            require_kinds(role, column, table.kind(column), table.source)
    if roles.words:
        return _word_data(name, table, roles, notes)
    items = roles.text or roles.image
    for column in items:
        row = table.first_missing(column)
        if row is not None:
            kind = "image" if roles.image else "text"
            message = f"{table.place(row)} of {table.source} has no {kind} in column {column!r}. "
            message += "Fill it or drop the row."
            raise DatasetError(message)
    cells = tuple(table.cells(column) for column in items)
    pictures = None
    if roles.image:
        allowed = (*table.allowed, *((table.folder / roles.within,) if roles.within else ()))
        places = tuple(folder.expanduser().resolve() for folder in allowed)
        pictures = _Pictures(cells[0], table.place, table.source, table.folder, places)
    reader = pictures or _Texts(cells)
    labels, class_names, targets = None, None, None
    if roles.label:
        labels, class_names, more = _classes(table, roles.label[0])
        notes += more
    elif roles.target:
        targets = _targets(table, roles.target)
    notes += unused_columns(table, roles)
    return Dataset(
        name=name,
        modality="text" if roles.text else "image",
        all_ids=NumberedRows(table.numbers),
        read=reader.read,
        content=reader.content,
        inspect=None if pictures is None else pictures.inspect,
        all_labels=labels,
        class_names=class_names,
        all_targets=targets,
        notes=notes,
    )


@dataclass(frozen=True)
class _Texts:
    cells: tuple[Cells, ...]

    def read(self, row: int) -> Item:
        texts = tuple(str(cell[row]) for cell in self.cells)
        return texts if len(texts) == 2 else texts[0]

    def content(self, row: int) -> bytes:
        return text_bytes(*(str(cell[row]) for cell in self.cells))


@dataclass(frozen=True)
class _Pictures:
    cells: Cells
    place: Places
    source: str
    folder: Path
    allowed: tuple[Path, ...]

    def read(self, row: int) -> Item:
        where = self._where(row)
        named = str(where) if isinstance(where, Path) else f"in {self.place(row)} of {self.source}"
        return open_picture(where, named)

    def content(self, row: int) -> bytes:
        where = self._where(row)
        return where if isinstance(where, bytes) else picture_bytes(where)

    def inspect(self, row: int) -> int:
        where = self._where(row)
        return inspect_picture(
            where, f"in {self.place(row)} of {self.source}" if isinstance(where, bytes) else str(where)
        )

    def _where(self, row: int) -> Path | bytes:
        value = self.cells[row]
        if isinstance(value, dict):  # {"bytes": …, "path": …}, as hubs store pictures
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if isinstance(value, str) and value:
            return self._allowed(value, row)
        message = f"{self.place(row)} of {self.source} must hold a path or the bytes of a picture; got "
        message += f"{'nothing' if value in (None, '') else type(value).__name__}."
        raise DatasetError(message)

    def _allowed(self, value: str, row: int) -> Path:
        """Return the path that a cell names, unless it leads to somebody else's files."""
        path = self.folder / value
        place = path.resolve()
        if not any(place.is_relative_to(folder) for folder in self.allowed):
            message = f"{self.place(row)} of {self.source} must name a picture below {self.folder}; got "
            message += f"{value!r}. Write #within=FOLDER to allow pictures below another folder too."
            raise DatasetError(message)
        return path


@dataclass(frozen=True)
class _Words:
    sentences: list[tuple[str, ...]]
    sentence_of: IntArray
    position_of: IntArray

    def read(self, row: int) -> Item:
        return self.sentences[int(self.sentence_of[row])], int(self.position_of[row])

    def content(self, row: int) -> bytes:
        words = [word.encode("utf-8", "surrogatepass") for word in self.sentences[int(self.sentence_of[row])]]
        head = [int(self.position_of[row]), *(len(word) for word in words)]
        return b"".join((np.array(head, dtype="<i8").tobytes(), *words))


def _word_data(name: str, table: Table, roles: Roles, notes: tuple[str, ...]) -> Dataset:
    """Return one row per word that has a tag; without tags, one row per word."""
    sentences = [_words(value, row, roles.words[0], table) for row, value in enumerate(table.values(roles.words[0]))]
    lengths = np.array([len(words) for words in sentences], dtype=np.int64)
    sentence_of = np.repeat(np.arange(len(sentences)), lengths)
    position_of = np.arange(len(sentence_of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    labels, class_names = None, None
    if roles.tags:
        column = roles.tags[0]
        tags: list[Any] = []
        for row, value in enumerate(table.values(column)):
            found = value.split() if isinstance(value, str) else list(value or ())
            if len(found) != lengths[row]:
                message = f"{table.place(row)} of {table.source} must have one tag per word; got {len(found)} in "
                message += f"column {column!r} for {lengths[row]} words."
                raise LabelError(message)
            tags += found
        # None and −100 are the usual marks of words that nobody labelled.
        labelled = np.array([tag not in (None, "", -100) for tag in tags], dtype=bool)
        sentence_of, position_of = sentence_of[labelled], position_of[labelled]
        kept = [tag for tag, keep in zip(tags, labelled.tolist(), strict=True) if keep]

        def where(word: int) -> str:
            return table.place(int(sentence_of[word]))

        labels, class_names, more = number_cells(kept, where, column, table.source, table.class_names(column))
        notes += more
        if not all(labelled.tolist()):
            notes += (f"{int((~labelled).sum()):,} words without a tag are left out.",)
    reader = _Words(sentences, sentence_of, position_of)
    return Dataset(
        name=name,
        modality="tokens",
        all_ids=WordIds(table.numbers[sentence_of], position_of),
        read=reader.read,
        content=reader.content,
        all_labels=labels,
        class_names=class_names,
        notes=notes,
    )


def _words(value: Any, row: int, column: str, table: Table) -> tuple[str, ...]:
    words = (
        tuple(value.split())
        if isinstance(value, str)
        else tuple("" if word is None else str(word) for word in value or ())
    )
    if not words or not all(word.strip() for word in words):
        message = f"{table.place(row)} of {table.source} has {'an empty word' if words else 'no words'} in column "
        message += f"{column!r}. Fill it or drop the row."
        raise DatasetError(message)
    return words


def _classes(table: Table, column: str) -> tuple[IntArray | None, tuple[str, ...] | None, tuple[str, ...]]:
    values, known = table.values(column), table.class_names(column)
    if (
        known is not None and values and all(value == -1 for value in values)
    ):  # how hubs keep the labels of tests secret
        return None, None, (f"every label in column {column!r} is -1: the rows are read without labels.",)
    return number_cells(values, table.place, column, table.source, known)


def _targets(table: Table, columns: tuple[str, ...]) -> FloatArray:
    """Return (n,) of one column of numbers, (n, k) of several, of lists of numbers, or of lists of class numbers."""
    parts = [
        target_cells(table.values(column), table.place, column, table.source, table.class_names(column))
        for column in columns
    ]
    return parts[0] if len(parts) == 1 else np.column_stack(parts)
