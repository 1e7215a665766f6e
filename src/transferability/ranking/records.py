"""The entries of a ranking as JSON values: numbers of each encoder, and what the whole list says of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transferability._criteria import TRANSFERRED_ACCURACY
from transferability.display.front import mark_front
from transferability.display.tables import ranking_table

if TYPE_CHECKING:
    from transferability.ranking.result import Ranking

__all__ = ["records_of"]


def records_of(ranking: Ranking) -> list[dict[str, Any]]:
    """Return the entries, best first: what `Ranking.to_dict` has under "ranking"."""
    ends = {
        quantity: [None if each is None else [each.low, each.high] for each in ranking.intervals(quantity)]
        for quantity in dict.fromkeys((TRANSFERRED_ACCURACY, ranking.quantity))
    }
    records: list[dict[str, Any]] = []
    for k, (entry, standing, p_best) in enumerate(zip(ranking.entries, ranking.standings, ranking.p_best, strict=True)):
        whole = None if standing is None else asdict(standing) | {"p_best": p_best}
        intervals = {quantity: values[k] for quantity, values in ends.items()}
        records.append({"place": k + 1} | entry.to_dict() | {"intervals": intervals, "standing": whole})
    for record, on_front in zip(records, mark_front(records), strict=True):
        record["on_front"] = on_front
    for record, expected in zip(records, ranking.expected, strict=True):
        record["expected"] = None if expected is None else expected._asdict() | {"interval": [*expected[1:3]]}
    if ranking.confirmation is not None:
        confirmed = {each["ranked_as"] or each["encoder"]: each for each in ranking.confirmation.to_dict()["entries"]}
        records = [record | {"confirmed": confirmed.get(record["encoder"])} for record in records]
    rows = ranking_table(records)  # under the names that columns have everywhere
    return [row | record for row, record in zip(rows, records, strict=True)]
