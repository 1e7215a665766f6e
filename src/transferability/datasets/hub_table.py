"""Rows of the datasets library as a table, and which of its columns is what, by their types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transferability._array import IntArray
from transferability.datasets.column_hints import LABELS, are_numbers
from transferability.datasets.column_kinds import kind_of
from transferability.datasets.column_roles import Roles
from transferability.datasets.columns import Cells
from transferability.datasets.places import Places
from transferability.datasets.tables import first_missing
from transferability.errors import DatasetError, DatasetNameError

__all__ = ["LABELS", "HubTable", "find_roles"]

_LOOK = 200  # rows


def find_roles(library: Any, rows: Any, roles: Roles, named: str) -> Roles:
    """Fill in the columns that were not named, by their types; refuse where more than one would do.

    Parameters
    ----------
    library : module
        `datasets`.
    rows : datasets.Dataset
    roles : Roles
        Those that were named.
    named : str
        What to call the data in messages.

    Raises
    ------
    DatasetError
        If it cannot be told which column holds the items.
    """
    features: dict[str, Any] = rows.features
    answers = {*LABELS, *roles.label, *roles.target, *roles.tags}
    texts = [
        key
        for key, kind in features.items()
        if getattr(kind, "dtype", "") in ("string", "large_string") and key not in answers
    ]
    if len(texts) > 1:  # CSV files hold texts only
        texts = [key for key in texts if not are_numbers(rows[:_LOOK][key])]
    if len(features) == 1 and any(mark in key for key in features for mark in ";\t|"):
        message = f"columns of {named} are not separated by commas: the only one is {next(iter(features))!r}. "
        raise DatasetError(message + "Read the file itself: csv:FILE finds the separator.")
    pictures = [key for key, kind in features.items() if isinstance(kind, library.Image)]
    lists = {key: kind.feature for key, kind in features.items() if isinstance(kind, library.List)}
    sentences = [key for key, kind in lists.items() if getattr(kind, "dtype", "") in ("string", "large_string")]
    if not (roles.text or roles.image or roles.words):
        tagged = [key for key, kind in lists.items() if isinstance(kind, library.ClassLabel)]
        if len(pictures) == 1:
            roles = replace(roles, image=(pictures[0],))
        elif "image" in texts and "text" not in texts:  # paths
            roles = replace(roles, image=("image",))
        elif "text" in texts or len(texts) == 1:
            roles = replace(roles, text=("text" if "text" in texts else texts[0],))
        elif len(sentences) == 1 and not texts:
            roles = replace(roles, words=(sentences[0],))
        if not (roles.text or roles.image or roles.words) or (roles.text and len(sentences) == 1 and tagged):
            message = f"which column of {named} holds the items cannot be told from {', '.join(map(repr, features))}. "
            message += (
                "Name it: image=COLUMN or text=COLUMN, two for pairs: text=COLUMN+COLUMN; words=COLUMN (behind '#')."
            )
            raise DatasetNameError(message)
    if roles.label or roles.target or roles.tags:
        return roles
    if roles.words:
        tagged = [key for key, kind in lists.items() if isinstance(kind, library.ClassLabel)]
        return replace(roles, tags=(tagged[0],)) if len(tagged) == 1 else roles
    classes = [key for key, kind in features.items() if isinstance(kind, library.ClassLabel)]
    named_so = next((key for key in LABELS if key in features and key not in lists), None)
    label = named_so or (classes[0] if len(classes) == 1 else None)
    return roles if label is None else replace(roles, label=(label,))


@dataclass(frozen=True)
class HubTable:
    """A `datasets.Dataset` as `columns.Table`."""

    source: str
    folder: Path
    rows: Any
    allowed: tuple[Path, ...]
    line: Callable[[int], int | None] | None = None

    @property
    def place(self) -> Places:
        """What each row is called in messages."""
        return Places(self.numbers, self.line)

    def kind(self, column: str) -> str:
        """Return what a column holds."""
        return kind_of(self.rows.features.arrow_schema.field(column).type)

    def head(self, column: str, n: int) -> list[Any]:
        """Return the first cells of a column."""
        cells = self.rows.select_columns([column]).with_format("arrow")[:n][column]
        return list(cells.to_pylist())

    @property
    def columns(self) -> list[str]:
        """Names, in order."""
        return list(self.rows.column_names)

    @property
    def numbers(self) -> IntArray:
        """Row numbers."""
        return np.arange(len(self.rows))

    def cells(self, column: str) -> Cells:
        """Return one column, to be read row by row."""
        return _HubCells(self.rows.select_columns([column]), column)

    def values(self, column: str) -> list[Any]:
        """Return one column as a whole."""
        values: list[Any] = []
        for chunk in self._chunks(column):
            values += chunk.to_pylist()
        return values

    def first_missing(self, column: str) -> int | None:
        """Return the first row that holds nothing, or a blank text."""
        return first_missing(self._chunks(column))

    def class_names(self, column: str) -> Sequence[str] | None:
        """Return what integers mean."""
        kind = self.rows.features[column]
        names: Sequence[str] | None = getattr(getattr(kind, "feature", kind), "names", None)
        return names

    def _chunks(self, column: str) -> Iterator[Any]:
        for batch in self.rows.select_columns([column]).with_format("arrow").iter(batch_size=1000):
            yield from batch[column].chunks


@dataclass(frozen=True)
class _HubCells:
    """One column of a `datasets.Dataset`, which stays where it is: a pickle holds no rows of files on disk."""

    rows: Any
    column: str

    def __getitem__(self, row: int, /) -> Any:
        return self.rows[row][self.column]
