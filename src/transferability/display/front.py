"""The front of accuracy against cost: encoders to which no other is preferable in both."""

from __future__ import annotations

from collections.abc import Sequence

from transferability.display.column_table import COLUMNS, Column, Entry

__all__ = ["cost_column", "mark_front"]


def _seconds_per_item(entry: Entry) -> float | None:
    rate = (entry.get("cost") or {}).get("items_per_second")
    return None if rate is None else 1 / rate


_SECONDS_PER_ITEM = Column(
    "seconds_per_item", "seconds per item", "constant", "Seconds that the encoder takes for an item on this machine.",
    _seconds_per_item, False, "data", in_frame=False,
)  # fmt: skip
"""The cost that the front is drawn against; the inverse of the column items/s."""


def cost_column(entries: Sequence[Entry]) -> Column | None:
    """Return what the cost of these encoders is: seconds per item where all have them, else parameters, else None."""
    for column in (_SECONDS_PER_ITEM, next(column for column in COLUMNS if column.key == "n_parameters")):
        if entries and all(column.value(entry) is not None for entry in entries):
            return column
    return None


def mark_front(entries: Sequence[Entry]) -> list[bool | None]:
    """Return whether each entry lies on the front of transferred accuracy against cost.

    It does where no other is at least as accurate and at least as cheap, and better in one of the two. None where
    accuracy or cost is not known.
    """
    cost = cost_column(entries)
    points = [(entry["relatedness"]["transferred_accuracy"], cost.value(entry) if cost else None) for entry in entries]
    known = [(a, c) for a, c in points if a is not None and c is not None]
    return [
        None
        if accuracy is None or price is None
        else not any(a >= accuracy and c <= price and (a, c) != (accuracy, price) for a, c in known)
        for accuracy, price in points
    ]
