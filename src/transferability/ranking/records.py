"""The entries of a ranking as JSON values: numbers of each encoder, and what the whole list says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transferability._criteria import TRANSFERRED_ACCURACY
from transferability.display.front import mark_front
from transferability.display.tables import ranking_table
from transferability.ranking.expectations import expectations_of_record

if TYPE_CHECKING:
    from transferability.ranking.confirmation import Confirmation
    from transferability.ranking.entry import Ranked
    from transferability.ranking.expected import ExpectedAccuracy
    from transferability.ranking.result import Ranking
    from transferability.statistics.intervals import ConfidenceInterval

__all__ = ["records_of", "with_confirmation"]


def records_of(ranking: Ranking) -> list[dict[str, Any]]:
    """Return the entries, best first: what `Ranking.to_dict` has under "ranking"."""
    ends = {
        quantity: [None if each is None else [each.low, each.high] for each in ranking.intervals(quantity)]
        for quantity in dict.fromkeys((TRANSFERRED_ACCURACY, ranking.quantity))
    }
    counted = ranking.intervals(TRANSFERRED_ACCURACY)
    records: list[dict[str, Any]] = []
    for k, (entry, standing, p_best) in enumerate(zip(ranking.entries, ranking.standings, ranking.p_best, strict=True)):
        whole = None if standing is None else asdict(standing) | {"p_best": p_best}
        intervals = {quantity: values[k] for quantity, values in ends.items()}
        of_list = {"intervals": intervals, "standing": whole, "different_rows": _different_rows(entry, counted[k])}
        records.append({"place": k + 1} | entry.to_dict() | of_list)
    for record, on_front in zip(records, mark_front(records), strict=True):
        record["on_front"] = on_front
    for record, expected in zip(records, ranking.expected, strict=True):
        record["expected"] = _as_record(expected)
    if ranking.confirmation is not None:
        confirmed = _by_row(ranking.confirmation)
        records = [record | {"confirmed": confirmed.get(record["encoder"])} for record in records]
    rows = ranking_table(records)  # under the names that columns have everywhere
    return [row | record for row, record in zip(rows, records, strict=True)]


def _different_rows(entry: Ranked, counted: ConfidenceInterval | None) -> dict[str, Any] | None:
    """Return the accuracy of the rows that intervals count, and how many they are; None where they are all."""
    correct = entry.relatedness.transferred_correct
    if counted is None or correct is None or counted.n_rows == len(correct):
        return None
    return {"accuracy": counted.value, "n_rows": counted.n_rows, "n_all": len(correct)}


def with_confirmation(record: Mapping[str, Any], confirmation: Confirmation) -> dict[str, Any]:
    """Return a ranking, as `Ranking.to_dict` gave it, with what was fine-tuned since.

    Expected accuracies of the other encoders follow, but for rankings of versions that did not keep the known pairs.
    """
    entries = [dict(entry) for entry in record["ranking"]]
    confirmed = _by_row(confirmation)
    for entry in entries:
        entry["confirmed"] = confirmed.get(entry["encoder"])
    if "known" in record:
        for entry, expected in zip(entries, expectations_of_record(record, confirmation), strict=True):
            entry["expected"] = _as_record(expected)
    for entry, row in zip(entries, ranking_table(entries), strict=True):
        entry |= {name: row[name] for name in _OF_CONFIRMATION}
    return {**record, "ranking": entries, "confirmation": confirmation.to_dict()}


_OF_CONFIRMATION = tuple(f"{name}_accuracy{end}" for name in ("confirmed", "expected") for end in ("", "_low", "_high"))


def _by_row(confirmation: Confirmation) -> dict[str, dict[str, Any]]:
    return {each["ranked_as"] or each["encoder"]: each for each in confirmation.to_dict()["entries"]}


def _as_record(expected: ExpectedAccuracy | None) -> dict[str, Any] | None:
    return None if expected is None else expected._asdict() | {"interval": [expected.low, expected.high]}
