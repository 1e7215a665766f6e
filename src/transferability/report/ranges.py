"""What of a ranking that was read back must be within its range: accuracies, their intervals, and counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transferability._schema import ShapeError, check_shape

__all__ = ["check_confirmation", "check_layout", "check_ranges"]

_ACCURACIES = ("accuracy", "probe_accuracy", "value", "low", "high")
_FROM_NOTHING = ("epochs", "n_pairs", "n_targets", "n_confirmed")


def check_layout(record: Any, version: int) -> None:
    """Raise `ShapeError` unless a record says that it has the layout that this version reads."""
    check_shape(record, {"schema": int})
    if record["schema"] != version:
        message = f"the layout must be {version}, which this version reads; got {record['schema']}"
        raise ShapeError(message)


def check_ranges(record: Mapping[str, Any]) -> None:
    """Raise `ShapeError` where an accuracy, an interval of one, or a count of a ranking is none."""
    for where, values in _of_accuracies(record):
        for name in _ACCURACIES:
            _check_share(values.get(name), f"{where}.{name}")
        for name in _FROM_NOTHING:
            _check_count(values.get(name), f"{where}.{name}", least=0)
        ends = values.get("interval")
        if ends is not None and not 0 <= ends[0] <= ends[1] <= 1:
            message = f"`{where}.interval` must be two ends between 0 and 1, the lower first; got {ends!r}"
            raise ShapeError(message)
    for number, each in enumerate(record["ranking"]):
        _check_count(each.get("probe_rows"), f"ranking[{number}].probe_rows")
    for number, each in enumerate(record.get("known") or ()):
        for name in ("probe", "fine_tuned"):
            _check_share(each[name], f"known[{number}].{name}")
        for name in ("probe_rows", "rows"):
            _check_count(each[name], f"known[{number}].{name}")
    confirmation = record.get("confirmation") or {}
    for name in ("n_test", "n_different", "n_ranked"):
        _check_count(confirmation.get(name), f"confirmation.{name}")


def check_confirmation(record: Mapping[str, Any]) -> None:
    """Raise `ShapeError` unless the best of what was fine-tuned comes first, and has an accuracy and a row."""
    confirmation = record.get("confirmation")
    if not confirmation:
        return
    best, entries = confirmation["best"], confirmation["entries"]
    names = [each["encoder"] for each in entries]
    if best is not None and best not in names:
        message = f"`confirmation.best` must name one of the entries of the confirmation; got {best!r:.200}"
        raise ShapeError(message)
    if best is not None:
        number = names.index(best)
        _check_best(entries[number], f"confirmation.entries[{number}]", record)
    first = next((each["encoder"] for each in entries if each["accuracy"] is not None), None)
    if best != first:
        message = f"`confirmation.best` must be the first entry with an accuracy, {first!r:.200}; got {best!r:.200}"
        raise ShapeError(message)


def _check_best(entry: Mapping[str, Any], where: str, record: Mapping[str, Any]) -> None:
    """Raise `ShapeError` unless what is known of the best is all that an answer needs."""
    for name in ("accuracy", "interval"):
        if entry.get(name) is None:
            message = f"`{where}.{name}` must be known of the best encoder"
            raise ShapeError(message)
    name = "ranked_as" if entry.get("ranked_as") else "encoder"
    if entry[name] not in {each["encoder"] for each in record["ranking"]}:
        message = f"`{where}.{name}` must name a row of the ranking; got {entry[name]!r:.200}"
        raise ShapeError(message)


def _of_accuracies(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what holds accuracies, and where it is."""
    for number, each in enumerate(record["ranking"]):
        for name in ("probe", "expected", "confirmed"):
            yield f"ranking[{number}].{name}", each.get(name) or {}
    for number, each in enumerate((record.get("confirmation") or {}).get("entries", ())):
        yield f"confirmation.entries[{number}]", each


def _check_share(share: float | None, where: str) -> None:
    if share is not None and not 0 <= share <= 1:
        message = f"`{where}` must be between 0 and 1; got {share!r}"
        raise ShapeError(message)


def _check_count(count: int | None, where: str, least: int = 1) -> None:
    if count is not None and count < least:
        message = f"`{where}` must be at least {least}; got {count!r}"
        raise ShapeError(message)
