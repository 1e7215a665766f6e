"""The order of a ranking: what it is sorted by, and which entry comes first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from transferability._criteria import BOUND, QUANTITIES, TRANSFERRED, TRANSFERRED_ACCURACY, TRANSFERRED_LOSS, unknown
from transferability.display.columns import column_named, sort_key
from transferability.errors import OptionError, UnknownNameError, nearest_names
from transferability.ranking.entry import Ranked, ScoreColumn

__all__ = ["in_order", "is_known"]


def in_order(
    entries: Sequence[Ranked], criterion: str | None, columns: Sequence[ScoreColumn], target: str
) -> tuple[str, tuple[Ranked, ...]]:
    """Return the criterion and the entries by it, as `Ranking.sort` describes."""
    if criterion is None:
        known = not any(math.isnan(entry.value(TRANSFERRED_ACCURACY)) or not entry.is_held_out for entry in entries)
        criterion = TRANSFERRED_ACCURACY if known else BOUND
    criterion = sort_key(criterion)
    column = column_named(criterion, [asdict(each) for each in columns])
    if column is None:
        message = f"`criterion` must be a column or a score that was computed; got {criterion!r}. "
        raise UnknownNameError(message + nearest_names(criterion, [*QUANTITIES, *(each.name for each in columns)]))
    if entries and not is_known(criterion, entries):
        if criterion in TRANSFERRED:
            raise unknown(criterion, target)
        message = f"`criterion` must be known of an encoder; {column.title!r} is known of none. Sort by another."
        raise OptionError(message)

    def key(entry: Ranked) -> tuple[bool, float, float]:
        value = entry.value(criterion)
        unless_decided = entry.value(TRANSFERRED_LOSS) if criterion == TRANSFERRED_ACCURACY else 0.0
        return (math.isnan(value), -value if column.higher_is_better else value, unless_decided)

    return criterion, tuple(sorted(entries, key=key))


def is_known(criterion: str, entries: Sequence[Ranked]) -> bool:
    """Tell whether any entry has a value of what it is to be sorted by."""
    return not all(math.isnan(each.value(criterion)) for each in entries)
