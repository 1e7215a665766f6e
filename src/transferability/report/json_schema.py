"""JSON Schemas of what commands write: made of the shapes that are checked on reading, and of the table of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transferability._schema import json_schema
from transferability.display.column_table import COLUMNS
from transferability.report.entry_keys import ENTRY_KEYS
from transferability.report.shapes import RANKING, RELATION

__all__ = ["SCHEMAS", "ranking_schema", "relate_schema", "study_schema"]

_DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
_UNITS = {
    "percent": "share, 0 to 1",
    "points": "share",
    "nats": "nats",
    "seconds": "seconds",
    "bytes": "bytes",
    "rate": "items per second",
}
_TYPES: Mapping[str, list[str]] = {
    "place": ["integer"],
    "text": ["string", "null"],
    "count": ["integer", "null"],
    "bytes": ["integer", "null"],
    "mark": ["boolean", "null"],
}
"""Of a column, by its format; all others are numbers, or null where they are not known."""


def ranking_schema(*, closed: bool = False) -> dict[str, Any]:
    """Return the schema of `ranking.json`, which is also what `rank --json` prints.

    Parameters
    ----------
    closed : bool, default=False
        Whether objects may have no other keys than those that are listed: the present version, and no later one.
    """
    return _DRAFT | {"title": "A ranking of encoders for a target"} | _ranking(closed=closed)


def relate_schema(*, closed: bool = False) -> dict[str, Any]:
    """Return the schema of `relate.json`, which is also what `relate --json` prints."""
    title = {"title": "The relatedness of targets to references under an encoder"}
    return _DRAFT | title | json_schema(RELATION, closed=closed)


def study_schema(*, closed: bool = False) -> dict[str, Any]:
    """Return the schema of what `study --json` prints; the folders of `study --out` hold one `ranking.json` each."""
    ranking = _ranking(closed=closed)
    whole = json_schema({"schema": int, "results": str, "rankings": [object]}, closed=closed)
    whole["properties"]["results"]["description"] = "The SQLite file of results."
    whole["properties"]["rankings"] = {"type": "array", "items": {"$ref": "#/$defs/ranking"}}
    return _DRAFT | {"title": "Rankings of a study, one for each target"} | whole | {"$defs": {"ranking": ranking}}


SCHEMAS = {"ranking": ranking_schema, "relate": relate_schema, "study": study_schema}
"""Name of the file in `docs/schema` to what makes it."""


def _ranking(*, closed: bool) -> dict[str, Any]:
    schema = json_schema(RANKING, closed=closed)
    entry = schema["properties"]["ranking"]["items"]["properties"]
    for name, meaning in ENTRY_KEYS.items():
        entry[name]["description"] = f"{meaning[0].upper()}{meaning[1:]}."
    entry |= {
        column.key: _described(column.title, column.format, column.explanation) for column in COLUMNS if column.in_frame
    }
    return schema


def _described(title: str, form: str, explanation: str) -> dict[str, Any]:
    unit = f" Unit: {_UNITS[form]}." if form in _UNITS else ""
    return {"title": title, "description": explanation + unit, "type": _TYPES.get(form, ["number", "null"])}
