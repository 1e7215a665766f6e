"""One plain dict of everything a report says. JSON, Markdown and HTML render it and add nothing.

The way is always the same: result objects → records (what `ranking.json` and `relate.json` hold) and details (what
`details.json` holds) → summary. So a report can be made again from the files, without computing anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transferability.errors import TaskError
from transferability.report.parts import MeasuredAccuracies, VisualSummaries, keep_sample, ranking_part, relation_part
from transferability.report.stored import Record, Reportable, Stored
from transferability.report.stored import relation_record as relation_record

__all__ = ["SCHEMA_VERSION", "details_of", "pack_details", "relation_record", "summarize", "summarize_records"]

SCHEMA_VERSION = 1


def summarize(results: Reportable | Sequence[Reportable], measured: MeasuredAccuracies | None = None) -> dict[str, Any]:
    """Summarize rankings, or what `relate` returns.

    Parameters
    ----------
    results : Ranking, Relatedness, or a sequence of either
        Several rankings make a study: one target each.
    measured : mapping of target to mapping of encoder to accuracy, optional
        Accuracies after fine-tuning, as shares; under "" those for every target. Without them that of the linear
        probe is used, and the report says so.

    Returns
    -------
    dict
        JSON values only; `schema` is the version of the layout.

    Raises
    ------
    TaskError
        If there is nothing to summarize.
    """
    records: list[Stored] = []
    relations: list[Reportable] = []
    for each in _as_list(results):
        record = each.to_dict()
        if "ranking" in record:
            records.append((record, each.detail_records()))
        else:
            relations.append(each)
    if relations:
        records.append((relation_record(relations), details_of(relations)))
    return summarize_records(records, measured)


def details_of(results: Reportable | Sequence[Reportable]) -> list[dict[str, Any] | None]:
    """Return the details of each entry, in the order of the record."""
    return [detail for each in _as_list(results) for detail in each.detail_records()]


def _as_list(results: Reportable | Sequence[Reportable]) -> list[Reportable]:
    return list(results) if isinstance(results, Sequence) else [results]


def pack_details(details: VisualSummaries) -> dict[str, Any]:
    """Return details in which every sample is stored once, under a hash of its content."""
    samples: dict[str, Any] = {}
    packed = [None if each is None else dict(each) for each in details]
    for one in filter(None, packed):
        for side in ("target_samples", "reference_samples"):
            one[side] = {name: [keep_sample(samples, each) for each in part] for name, part in one[side].items()}
    return {"schema": SCHEMA_VERSION, "samples": samples, "details": packed}


def summarize_records(records: Sequence[Stored], measured: MeasuredAccuracies | None = None) -> dict[str, Any]:
    """Summarize what is in the files: pairs of a record and its details (see `summarize`)."""
    if not records:
        message = "`results` must hold at least one ranking or relation; got none."
        raise TaskError(message)
    samples: dict[str, Any] = {}
    parts = [
        ranking_part(record, details, measured, samples)
        if "ranking" in record
        else relation_part(record, details, samples)
        for record, details in records
    ]
    rankings = [part for part in parts if part["kind"] == "ranking"]
    return {
        "schema": SCHEMA_VERSION,
        "title": _title(parts),
        "parts": parts,
        "overview": _overview(rankings) if len(rankings) > 1 else None,
        "samples": samples,
    }


def _title(parts: Sequence[Record]) -> str:
    targets = ", ".join(dict.fromkeys(target for part in parts for target in part["targets"]))
    return f"Transferability: {targets}"


def _overview(parts: Sequence[Record]) -> dict[str, Any]:
    """Return encoders × targets, encoders by their mean place; the quantities that the rankings speak of."""
    places: dict[str, list[int]] = {}
    values: dict[str, dict[int, float | None]] = {}
    for k, part in enumerate(parts):
        for entry in part["entries"]:
            places.setdefault(entry["name"], []).append(entry["place"])
            values.setdefault(entry["name"], {})[k] = entry["result"][part["quantity"]]
    worst = max(len(part["entries"]) for part in parts) + 1  # where an encoder was not ranked
    order = sorted(places, key=lambda name: sum(places[name]) + worst * (len(parts) - len(places[name])))
    return {
        "corner": "Encoder",
        "columns": [part["targets"][0] for part in parts],
        "quantities": [part["quantity"] for part in parts],
        "rows": [{"name": name, "values": [values[name].get(k) for k in range(len(parts))]} for name in order],
    }
