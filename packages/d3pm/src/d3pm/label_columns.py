"""The label column of a table as numbers of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from d3pm.errors import DataError

__all__ = ["numbered_classes"]


def numbered_classes(
    values: Sequence[Any], names: Sequence[str], column: str, where: str
) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return the classes of rows as numbers int64 (n,), and their names; None if no row has a class.

    Parameters
    ----------
    values : sequence
        Whole numbers from 0, which are kept; names, which are numbered in their order; or true and false. A missing
        value or −1 is no class, as Hugging Face datasets have it.
    names : sequence of str
        Of the numbers, where the column has names (`ClassLabel`).
    column, where : str
        What to call them in messages.

    Raises
    ------
    DataError
        If some row has no class or another kind of value, naming both.
    """
    rows = list(values)
    if all(_is_missing(value) for value in rows):
        return None
    kind = next(_kind(value) for value in rows if not _is_missing(value))
    n_names = len(names) if names and kind == "number" else 2**63
    bad = next((i for i, value in enumerate(rows) if kind is None or not _is_class(value, kind, n_names)), None)
    if bad is not None:
        message = (
            "`label_column` must hold a class per row: whole numbers from 0, names, or true and false; row "
            f"{bad} of {column!r} in {where} holds {_shortened(rows[bad])}."
        )
        raise DataError(message)
    if kind == "name":
        classes, numbers = np.unique(np.array(rows, dtype=object), return_inverse=True)
        return numbers.astype(np.int64), tuple(map(str, classes))
    labels = np.array([int(value) for value in rows], dtype=np.int64)
    return labels, ("False", "True") if kind == "truth" else tuple(names)


def _kind(value: Any) -> str | None:
    if isinstance(value, bool | np.bool_):
        return "truth"
    if isinstance(value, int | np.integer):
        return "number"
    return "name" if isinstance(value, str) else None


def _is_class(value: Any, kind: str, n_names: int) -> bool:
    return _kind(value) == kind and (kind != "number" or 0 <= value < n_names)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, int | np.integer) and not isinstance(value, bool) and value == -1)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
