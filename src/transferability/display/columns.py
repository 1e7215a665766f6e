"""Which columns a table shows, and what somebody sorts by: read off the table of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transferability.display.column_table import COLUMNS, Column, Entry, at
from transferability.display.notes import copies_matter

__all__ = ["column_named", "columns_of", "describe_columns", "shown_columns", "sort_key", "title_of"]

_ALIASES = {"accuracy": "transferred_accuracy", "loss": "transferred_loss", "probe": "probe_accuracy"}


def columns_of(scores: Sequence[Mapping[str, Any]] = (), columns: Sequence[Column] = COLUMNS) -> list[Column]:
    """Return all columns of a ranking: those of its scores (name, higher_is_better) stand before the seconds."""
    added = [_score(each["name"], higher_is_better=each["higher_is_better"]) for each in scores]
    return [*columns[:-1], *added, columns[-1]]


def _score(name: str, *, higher_is_better: bool) -> Column:
    explanation = "Score of the literature, described in the docs."
    return Column(name, name, "score", explanation, at("scores", name), higher_is_better, "main")


def shown_columns(
    entries: Sequence[Entry], scores: Sequence[Mapping[str, Any]] = (), criterion: str = "", *, wide: bool = False
) -> list[Column]:
    """Return the columns of a table: those of its level, what it is sorted by, none that is empty.

    Narrow tables leave out the reference where all entries have the same (it is said above them), and the accuracy of
    different rows where, as it is shown, it is that of all rows.
    """
    shown = []
    references = {entry["relatedness"]["reference"] for entry in entries}
    for column in columns_of(scores):
        wanted = (
            column.level == "main"
            or column.key in (criterion, f"{criterion}_interval")
            or (wide and column.level == "wide")
        )
        if column.key == "reference" and not wide and len(references) == 1:
            wanted = False
        if column.key == "accuracy_of_different_rows" and not wide and not any(map(copies_matter, entries)):
            wanted = False
        if wanted and any(column.value(entry) is not None for entry in entries):
            shown.append(column)
    return shown


def sort_key(name: str) -> str:
    """Return the key of what somebody wants to sort by: a key, a title or a short name; the name itself of a score.

    Examples
    --------
    >>> sort_key("accuracy"), sort_key("linear probe"), sort_key("logme")
    ('transferred_accuracy', 'probe_accuracy', 'logme')
    """
    by_title = {column.title: column.key for column in COLUMNS if column.higher_is_better is not None}
    # Underscores stay as they are: a score of the registry is called linear_probe.
    return _ALIASES.get(name, by_title.get(name.replace("-", " "), name))


def column_named(name: str, scores: Sequence[Mapping[str, Any]] = ()) -> Column | None:
    """Return the column of a key, an alias or a title that can be sorted by, or None."""
    key = sort_key(name)
    named = {column.key: column for column in columns_of(scores) if column.higher_is_better is not None}
    return named.get(key)


def title_of(name: str) -> str:
    """Return the title of what a ranking is sorted by; the name itself of a score.

    Examples
    --------
    >>> title_of("transferred_accuracy"), title_of("logme")
    ('transferred accuracy', 'logme')
    """
    column = column_named(name)
    return name if column is None else column.title


def describe_columns(scores: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return key, title, format, direction and explanation of each column that frames and JSON hold."""
    return [
        {
            "key": column.key,
            "title": column.title,
            "format": column.format,
            "higher_is_better": column.higher_is_better,
            "explanation": column.explanation,
        }
        for column in columns_of(scores)
        if column.in_frame
    ]
