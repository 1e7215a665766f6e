"""Classes and numbers to predict out of the cells of a table; and columns that look like classes and are not used."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._class_numbers import in_class_order
from transferability.errors import LabelError

__all__ = ["Classes", "alike_names", "number_cells", "target_cells"]

_MISSING = frozenset({"na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "?"})


class Classes(NamedTuple):
    """Numbers of the classes of rows, the names of the classes, and what a reader should know of them."""

    numbers: IntArray
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def number_cells(
    values: Sequence[Any], where: Callable[[int], str], column: str, source: str, known: Sequence[str] | None
) -> Classes:
    """Give each class a number: stars 1 to 5 become 0 to 4, named "1" to "5"; nothing is cast, "01" is not "1".

    Parameters
    ----------
    values : sequence
        The cells.
    where : callable
        Position of a cell to what its row is called, for messages.
    column, source : str
        Where they come from, for messages.
    known : sequence of str, or None
        Names of the classes that integers count.

    Raises
    ------
    LabelError
        If a row has no label or one that cannot be used.
    """
    named = f"column {column!r} of {source}"
    if known is not None:
        return _number_known(values, where, column, source, known)
    names = [_name(value, row, where, named, column) for row, value in enumerate(values)]
    if values and all(isinstance(value, str) for value in values):
        _refuse_numbers(names, where, named, column)
    classes = in_class_order(set(names))
    number = {name: index for index, name in enumerate(classes)}
    return Classes(
        np.array([number[name] for name in names], dtype=np.int64),
        classes,
        alike_names(classes, named) + _missing_names(classes, named),
    )


def target_cells(
    values: Sequence[Any], where: Callable[[int], str], column: str, source: str, known: Sequence[str] | None
) -> FloatArray:
    """Return (n,) of numbers, (n, k) of lists of numbers or of class numbers.

    Raises
    ------
    LabelError
        If a row has no finite number, or a list of another length, naming the row.
    """
    if known is not None and values and isinstance(values[0], list):  # several classes of each row: 0 and 1
        values = [None if value is None else [float(k in value) for k in range(len(known))] for value in values]
    rows: list[FloatArray] = []
    for row, value in enumerate(values):
        try:
            cell = np.array(None if isinstance(value, str) and "_" in value else value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            cell = np.array(np.nan)
        if value is None or not np.isfinite(cell).all() or (rows and cell.shape != rows[0].shape):
            message = f"{where(row)} of {source} must have a finite number, or a list of as many as the other "
            message += f"rows, in column {column!r}; got {_shown(value)}. Fill it or drop the row."
            raise LabelError(message)
        rows.append(cell)
    return np.stack(rows) if rows else np.zeros(0)


def alike_names(classes: Sequence[str], named: str) -> tuple[str, ...]:
    """Return a sentence on classes that somebody may take for one."""
    spellings = defaultdict(list)
    for name in classes:
        spellings[" ".join(name.split()).casefold()].append(name)
    doubles = [names for names in spellings.values() if len(names) > 1]
    if not doubles:
        return ()
    shown = "; ".join(" and ".join(map(repr, names)) for names in doubles[:3])
    return (f"classes of {named} that differ only in case or spaces are kept apart: {shown}.",)


def _number_known(
    values: Sequence[Any], where: Callable[[int], str], column: str, source: str, known: Sequence[str]
) -> Classes:
    for row, value in enumerate(values):
        if value is None:
            message = f"{where(row)} of {source} has no label in column {column!r}. Fill it or drop the row."
            raise LabelError(message)
        if not (isinstance(value, int) and 0 <= value < len(known)):
            message = f"labels in column {column!r} of {source} must be from 0 to {len(known) - 1}; {where(row)} "
            message += f"has {_shown(value)}. Drop the row."
            raise LabelError(message)
    classes = sorted(set(values))
    number = {value: index for index, value in enumerate(classes)}
    names = tuple(str(known[value]) for value in classes)
    return Classes(np.array([number[value] for value in values], dtype=np.int64), names)


def _name(value: Any, row: int, where: Callable[[int], str], named: str, column: str) -> str:
    """Return a cell as the name of a class."""
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:
        message = f"{where(row)} has no label in {named}. Fill it or drop the row."
        raise LabelError(message)
    if isinstance(value, float | decimal.Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, str) and ("\n" in value or "\r" in value):
        message = f"labels in {named} must not hold line breaks; {where(row)} has {_shown(value)}. "
        message += "Look for a quotation mark that is never closed."
        raise LabelError(message)
    if not isinstance(value, str | int | dt.date | dt.time):
        message = f"labels in {named} must be integers or strings; {where(row)} has {_shown(value)}. "
        message += f"Number or name the classes, or write target={column} for numbers to predict."
        raise LabelError(message)
    return str(value)


def _refuse_numbers(names: Sequence[str], where: Callable[[int], str], named: str, column: str) -> None:
    """Refuse texts that are numbers to predict, and marks of missing labels among class numbers."""
    fractions = [row for row, name in enumerate(names) if _is_number(name) and not float(name).is_integer()]
    if fractions and all(map(_is_number, set(names))):
        message = f"labels in {named} must be integers or strings; {where(fractions[0])} has {names[fractions[0]]}. "
        message += f"Number or name the classes, or write target={column} for numbers to predict."
        raise LabelError(message)
    missing = {name for name in set(names) if name.strip().casefold() in _MISSING}
    if missing and len(missing) < len(set(names)) and all(map(_is_number, set(names) - missing)):
        row = next(row for row, name in enumerate(names) if name in missing)
        message = f"{where(row)} has no label in {named}: {names[row]!r} where the others are numbers. "
        raise LabelError(message + "Fill it or drop the row.")


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text))) and "_" not in text
    except ValueError:
        return False


def _missing_names(classes: Sequence[str], named: str) -> tuple[str, ...]:
    """Return a sentence on classes that somebody may take for no label at all."""
    missing = [name for name in classes if name.strip().casefold() in _MISSING]
    if not missing:
        return ()
    return (f"{', '.join(map(repr, missing))} is read as the name of a class of {named}, not as missing.",)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
