"""JSON and JSON lines as tables: what a text says stays a text, where other readers make dates of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from transferability.errors import FileDamagedError

__all__ = ["json_line", "read_json"]


def read_json(path: Path) -> Any:
    """Return a file of records, one a line or in one list, as an Arrow table; a key that a record lacks is null.

    Raises
    ------
    FileDamagedError
        If it is no such file in UTF-8, or if a key holds values of several types, naming line or key.
    """
    import pyarrow as pa

    try:
        text = path.read_text("utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        message = f"file {path} is not a JSON file in UTF-8: {error}. Save it as UTF-8."
        raise FileDamagedError(message) from error
    records = _records(path, text)
    columns: dict[str, list[Any]] = {}
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            line = json_line(path, row)
            place = f"record {row} (from 0)" if line is None else f"line {line}"
            message = f"{place} of {path} must be an object, {{key: value}}; got {record!r:.100}. Write one per row."
            raise FileDamagedError(message)
        for key in record:
            columns.setdefault(key, [None] * row)
        for key, values in columns.items():
            values.append(record.get(key))
    arrays = {}
    for key, values in columns.items():
        try:
            arrays[key] = pa.array(values)
        except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            message = f"key {key!r:.100} of {path} must hold values of one type: {reason}. Write all of them as texts."
            raise FileDamagedError(message) from error
    return pa.table(arrays)


def _records(path: Path, text: str) -> list[Any]:
    number = 0
    try:
        if text.lstrip().startswith("["):
            found = json.loads(text, parse_constant=_refuse)
            return list(found)
        records = []
        for number, line in enumerate(text.split("\n"), start=1):  # noqa: B007 - the message names the line
            if line.strip():
                records.append(json.loads(line, parse_constant=_refuse))
    except (ValueError, RecursionError) as error:
        whole = _whole(text)
        if whole is not None:
            return whole
        where = f"line {number} of {path}" if number else f"file {path}"
        message = f"{where} is not JSON: {str(error)[:200].rstrip('.')}. Write one record a line, or a list of records."
        raise FileDamagedError(message) from error
    return records


def json_line(path: Path, row: int) -> int | None:
    """Return the line of a record in a file of JSON lines; None where records are not one a line."""
    text = path.read_text("utf-8-sig")
    lines = [number for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    one_a_line = len(lines) == 1 or _whole(text) is None
    return None if text.lstrip().startswith("[") or row >= len(lines) or not one_a_line else lines[row]


def _whole(text: str) -> list[Any] | None:
    """Return the only record of a file that spreads it over lines, or the only list in it."""
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    lists = [value for value in found.values() if isinstance(value, list)] if isinstance(found, dict) else []
    return lists[0] if len(lists) == 1 else [found]


def _refuse(constant: str) -> NoReturn:
    message = f"{constant} is no number in JSON"
    raise ValueError(message)
