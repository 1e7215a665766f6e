"""What reports are made of: records, and the details that go with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Record", "Reportable", "Stored", "relation_record"]

Record = Mapping[str, Any]
Stored = tuple[Record, Sequence[Record | None]]
"""A record (`ranking.json` or `relate.json`) and the details of each of its results."""


class Reportable(Protocol):
    """A result that says what its record and its details are: a ranking, a relatedness."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""

    def detail_records(self) -> list[dict[str, Any] | None]:
        """Return the details of each of its results."""


def relation_record(
    results: Sequence[Reportable], encoder: str | None = None, made: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what `relate.json` holds."""
    return {"schema": 1, "encoder": encoder, "results": [each.to_dict() for each in results], "made": made or {}}
