"""What the columns of a table look like, where nobody has said what they are: texts, pictures, classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transferability.datasets._listing import is_picture
from transferability.datasets.column_roles import Roles
from transferability.errors import DatasetNameError

if TYPE_CHECKING:
    from transferability.datasets.columns import Table

__all__ = ["LABELS", "are_numbers", "class_candidates", "text_candidates", "unused_columns", "usual_roles"]

LABELS = ("label", "labels")
"""Columns that are read as classes where none is named."""
_LOOK = 10_000  # rows of a column that nobody named
_MOST_CLASSES = 1000
_FEW_WORDS = 1.5  # a text has more, on average


def usual_roles(table: Table, write: str, roles: Roles) -> Roles:
    """Fill in roles that were not named, by the usual names of columns: text or image, and label or labels.

    Parameters
    ----------
    table : Table
    write : str
        How somebody names columns, with `{}` in the place of the roles: "csv:reviews.csv#{}".
    roles : Roles
        Those that were named.

    Raises
    ------
    DatasetError
        If there is neither text nor image; names the columns that look like them.
    """
    columns = table.columns
    if not (roles.text or roles.image or roles.words):
        usual = next((role for role in ("text", "image") if role in columns), None)
        if usual is None:
            raise DatasetNameError(_no_items(table, write, roles))
        roles = replace(roles, text=("text",)) if usual == "text" else replace(roles, image=("image",))
    label = next((name for name in LABELS if name in columns and not _holds_lists(table, name)), None)
    if label is not None and not (roles.label or roles.target or roles.words):
        roles = replace(roles, label=(label,))
    return roles


def _holds_lists(table: Table, column: str) -> bool:
    return table.columns.count(column) == 1 and table.kind(column).startswith("lists")


def unused_columns(table: Table, roles: Roles) -> tuple[str, ...]:
    """Return sentences on columns that look like classes, where none are read, and on longer texts than those read."""
    used = {*roles.text, *roles.image, *roles.words, *roles.label, *roles.target, *roles.tags, "split"}
    columns = [column for column in table.columns if column not in used and table.columns.count(column) == 1]
    heads = [(column, table.head(column, _LOOK)) for column in columns]
    answered = roles.label or roles.target or roles.tags
    notes = () if answered else (*_labels_in_lists(table, columns), *class_candidates(heads))
    if len(roles.text) != 1:
        return notes
    read = _words(table.head(roles.text[0], _LOOK))
    longer = [column for column in text_candidates(heads) if _words(dict(heads)[column]) > 2 * read]
    return notes + tuple(
        f"column {column!r} holds longer texts than {roles.text[0]!r} and is not used; write text={column}."
        for column in longer[:1]
    )


def _labels_in_lists(table: Table, columns: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence on a column that is called as if it held classes, and holds lists."""
    column = next((name for name in LABELS if name in columns and _holds_lists(table, name)), None)
    if column is None:
        return ()
    kind = table.kind(column)
    fix = f"; lists of as many numbers in each row are read with target={column}" if "texts" not in kind else ""
    return (
        f"no labels are read: column {column!r} holds {kind}, and a class is one number or name in each row. Several "
        f"labels per row are columns of 0 and 1: target=COLUMN+COLUMN{fix}.",
    )


def class_candidates(columns: Iterable[tuple[str, Sequence[Any]]]) -> tuple[str, ...]:
    """Return a sentence on the columns that look like classes: few values, each of them several times.

    Parameters
    ----------
    columns : iterable of (str, sequence)
        Names and cells of columns that no role uses.
    """
    notes = [
        f"column {column!r} has {n_values} values and is not used; write label={column}"
        for column, n_values in _class_columns(columns)
    ]
    if len(notes) > 3:
        notes = [*notes[:3], f"{len(notes) - 3} further columns look like classes"]
    return ("no labels are read: " + "; ".join(notes) + ".",) if notes else ()


def text_candidates(columns: Iterable[tuple[str, Sequence[Any]]]) -> list[str]:
    """Return the columns that hold texts of several words, the longest first."""
    texts = [
        (column, cells) for column, cells in columns if all(cell is None or isinstance(cell, str) for cell in cells)
    ]
    words = {column: _words(cells) for column, cells in texts if 2 * len(set(cells)) > len(cells)}  # not a class
    return sorted((column for column, n in words.items() if n > _FEW_WORDS), key=lambda column: -words[column])


def are_numbers(cells: Sequence[Any]) -> bool:
    """Tell whether the texts of a column are numbers, all that are there."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    try:
        return bool([float(text) for text in texts if "_" not in text])
    except ValueError:
        return False


def _words(cells: Sequence[Any]) -> float:
    """Return how many words the texts of a column have on average; 0 where it holds something else."""
    texts = [cell for cell in cells if cell is not None]
    if not texts or not all(isinstance(cell, str) for cell in texts):
        return 0.0
    return sum(len(text.split()) for text in texts) / len(texts)


def _class_columns(columns: Iterable[tuple[str, Sequence[Any]]]) -> list[tuple[str, int]]:
    found = []
    for column, cells in columns:
        values = [value for value in cells if isinstance(value, str | int | float) and value == value and value != ""]
        distinct = set(values)
        whole = all(not isinstance(value, float) or value.is_integer() for value in distinct)
        if whole and 2 <= len(distinct) <= min(len(values) // 2, _MOST_CLASSES):
            found.append((column, len(distinct)))
    return found


def _no_items(table: Table, write: str, roles: Roles) -> str:
    """Say that a table has neither texts nor pictures by their usual names, and what may be meant."""
    names = table.columns
    message = f"{table.source} must have a column 'text' or 'image'; it has {', '.join(map(repr, names[:40]))}. "
    taken = {*roles.label, *roles.target, *roles.tags, "split"}
    heads = [(name, table.head(name, _LOOK)) for name in names if names.count(name) == 1 and name not in taken]
    alike = next((name for name in names if name.strip().casefold() in ("text", "texts", "image", "images")), None)
    texts = [alike] if alike is not None and "text" in alike.casefold() else text_candidates(heads)
    pictures = [name for name, cells in heads if any(map(_names_picture, cells[:20]))]
    item = f"image={pictures[0]}" if pictures else f"text={texts[0]}" if texts else None
    if item is None:
        # In a CSV file numbers are texts too.
        numbers = [name for name, cells in heads if table.kind(name) in ("numbers", "integers") or are_numbers(cells)]
        if len(numbers) > 1:
            message += "Columns of numbers are features: give them as an array, (features, labels), or save them as "
            return message + "`features` and `labels` in an .npz file."
        return message + f"Name one: {write.format('text=COLUMN')}."
    column = item.partition("=")[2]
    looks = f"column {column!r} holds {'pictures' if pictures else 'texts'}"
    answered = roles.label or roles.target or roles.tags or any(name in LABELS for name in names)
    classes = [] if answered else _class_columns(each for each in heads if each[0] != column)
    if classes:
        name, n_values = min(classes, key=lambda each: each[1])
        looks, item = f"{looks} and column {name!r} has {n_values} values", f"{item},label={name}"
    given = ",".join(
        f"{role}={'+'.join(named)}" for role in ("label", "target", "tags") if (named := getattr(roles, role))
    )
    item = f"{item},{given}" if given else item
    return message + f"{looks[0].upper()}{looks[1:]}: write {write.format(item)}."


def _names_picture(cell: Any) -> bool:
    return isinstance(cell, str) and is_picture(cell)
