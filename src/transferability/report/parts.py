"""One part of a report: a ranking, or what `relate` returned, as JSON values that renderings show as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from transferability._criteria import BOUND, HIGHER_IS_BETTER, Quantity, quantity_of
from transferability.agreement import agreement
from transferability.display.column_table import Column
from transferability.display.columns import column_named, columns_of, shown_columns
from transferability.display.front import mark_front
from transferability.display.frozen import better_frozen
from transferability.display.next_steps import next_steps
from transferability.display.notes import result_notes
from transferability.display.race import race_cells, race_headings, race_in_words
from transferability.display.tables import agreement_table, front_table, grid
from transferability.errors import TaskError
from transferability.report.narrative import answer
from transferability.report.relation_narrative import relation_answer
from transferability.report.result_narrative import (
    accuracy_in_words,
    certificate_in_words,
    match_in_words,
    points_in_words,
)
from transferability.report.stored import Record

__all__ = ["keep_sample", "ranking_part", "relation_part"]

_PROBE = "accuracy of the linear probe"
_MAX_CLASSES = 60  # rows of a class table; the cheapest are left out
_RESAMPLES = 200
_MOST_LEFT = 200  # rows of the table of a race

VisualSummaries = Sequence[Mapping[str, Any] | None]
MeasuredAccuracies = Mapping[str, Mapping[str, float]]


def ranking_part(
    record: Record, details: VisualSummaries, measured: MeasuredAccuracies | None, samples: dict[str, Any]
) -> dict[str, Any]:
    """Return the part of a record of `Ranking.to_dict`; samples are added to `samples`."""
    known = None if measured is None else measured.get(record["target"], measured.get("", {}))
    quantity = _quantity(record)
    rows = _completed(record, quantity, known)
    columns = _score_columns(record)
    shown = shown_columns(rows, columns, record["criterion"])
    more = [each for each in shown_columns(rows, columns, record["criterion"], wide=True) if each not in shown]
    sorted_by = column_named(record["criterion"], columns)
    entries = []
    for row, detail in zip(rows, _as_long(details, rows), strict=True):
        result = _result(row["relatedness"], detail, samples)
        trained = row.get("probe") or {"accuracy": result["transferability_accuracy"]}
        entry: dict[str, Any] = {name: row.get(name) for name in _OF_ENTRIES} | {
            "name": row["encoder"],
            "result": result,
        }
        entry["accuracy"] = trained["accuracy"] if known is None else known.get(row["encoder"])
        entry["cells"], entry["more"] = _cells(shown, row), _cells(more, row)
        entry["sorted_by"] = None if sorted_by is None else sorted_by.show(row)
        entries.append(entry)
    truth: str | None = _PROBE if known is None else "measured accuracy"
    if all(entry["accuracy"] is None for entry in entries):
        truth = None
    several = any(len(entry["result"]["panel"]) > 1 for entry in entries)
    cost, front = front_table(rows)
    made = record.get("made") or {}
    return {
        "kind": "ranking",
        "targets": [record["target"]],
        "references": record["references"],
        "criterion": record["criterion"],
        "quantity": quantity,
        "answer": answer(
            record["target"],
            record["criterion"],
            entries,
            truth,
            record.get("confirmation"),
            made.get("race"),
            better_frozen(record),
            made.get("interrupted"),
        ),
        "entries": entries,
        "columns": [_heading(column) for column in shown],
        "more": [_heading(column) for column in more],
        "front": None if len(front) < 2 or cost is None else {"cost": cost.title, "rows": front},
        "next": [step._asdict() for step in next_steps(record)],
        "n_classes": len(rows[0]["relatedness"]["per_class"]),
        "n_fine_tuned": _n_fine_tuned(record.get("confirmation")),
        "truth": truth,
        "agreement": _agreements(rows, columns_of(columns), known) if truth else [],
        "matrix": _panel_matrix("Encoder", [(e["name"], e["result"]) for e in entries]) if several else None,
        "notes": result_notes(rows),
        "race": None if made.get("race") is None else _race(made["race"]),
        "skipped": record["skipped"],
        "made": made,
    }


def _race(race: Record) -> dict[str, Any]:
    """Return what the report says of a race, and who left."""
    cells = race_cells(race)
    more = len(cells) - _MOST_LEFT
    note = f"{more:,} more left: made.race in ranking.json names all." if more > 0 else ""
    return {"in_words": race_in_words(race), "headings": race_headings(race), "rows": cells[:_MOST_LEFT], "more": note}


def _n_fine_tuned(confirmation: Record | None) -> int:
    return 0 if confirmation is None else sum(each["accuracy"] is not None for each in confirmation["entries"])


_OF_ENTRIES = (
    "place", "n_parameters", "seconds", "scores", "notes", "cache_keys", "standing", "probe", "cost", "intervals",
    "on_front", "different_rows",
)  # fmt: skip


def _quantity(record: Record) -> Quantity:
    known = any(entry["relatedness"]["transferred_accuracy"] is not None for entry in record["ranking"])
    return quantity_of(record["criterion"], accuracy_known=known)


def _completed(record: Record, quantity: Quantity, known: Mapping[str, float] | None) -> list[dict[str, Any]]:
    """Return the entries with what earlier versions did not write: places, intervals under their names, the front."""
    rows = []
    for place, entry in enumerate(record["ranking"], start=1):
        standing = entry.get("standing")
        ends = {} if standing is None else {quantity: [standing["low"], standing["high"]]}
        row = {"place": place, "intervals": ends, "cache_keys": []} | entry
        rows.append(row | ({} if known is None else {"measured_accuracy": known.get(entry["encoder"])}))
    for row, on_front in zip(rows, mark_front(rows), strict=True):
        row["on_front"] = on_front
    return rows


def _score_columns(record: Record) -> Sequence[Record]:
    """Return the scores; records of early versions do not list them."""
    entries = record["ranking"]
    listed: Sequence[Record] | None = record.get("columns")
    return listed or [{"name": name, "higher_is_better": True} for name in (entries[0]["scores"] if entries else {})]


def _heading(column: Column) -> dict[str, Any]:
    direction = {True: "higher", False: "lower", None: "text" if column.is_text else "lower"}[column.higher_is_better]
    return {
        "key": column.key, "title": column.title, "explanation": column.explanation, "direction": direction,
        "is_text": column.is_text, "is_score": column.format == "score",
    }  # fmt: skip


def _cells(columns: Sequence[Column], row: Record) -> list[dict[str, Any]]:
    return [{"text": column.show(row), "value": column.value(row)} for column in columns]


def relation_part(record: Record, details: VisualSummaries, samples: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a record of `relation_record`; samples are added to `samples`."""
    results = [
        _result(each, detail, samples)
        for each, detail in zip(record["results"], _as_long(details, record["results"]), strict=True)
    ]
    several = len(results) > 1 or len(results[0]["panel"]) > 1
    entries = [
        {"place": k, "name": each["target"], "n_parameters": None, "seconds": each["seconds"]}
        | {
            "scores": {},
            "notes": {},
            "cache_keys": [],
            "more": [],
            "standing": None,
            "accuracy": each["transferability_accuracy"],
            "result": each,
        }
        for k, each in enumerate(results, start=1)
    ]
    return {
        "kind": "relation",
        "targets": [each["target"] for each in results],
        "references": [each["reference"] for each in results[0]["panel"]],
        "criterion": BOUND,
        "quantity": BOUND,
        "answer": relation_answer(results, record["encoder"]),
        "entries": entries,
        "columns": [],
        "more": [],
        "front": None,
        "next": [],
        "n_classes": max(len(each["classes"]) for each in results),
        "truth": None,
        "agreement": [],
        "matrix": _panel_matrix("Target", [(each["target"], each) for each in results]) if several else None,
        "notes": list(dict.fromkeys(note for each in record["results"] for note in each.get("notes", ()))),
        "race": None,
        "skipped": [],
        "made": record.get("made") or {},
    }


def _as_long(details: VisualSummaries, entries: Sequence[Any]) -> VisualSummaries:
    return details if len(details) == len(entries) else [None] * len(entries)


def _result(record: Record, detail: Mapping[str, Any] | None, samples: dict[str, Any]) -> dict[str, Any]:
    """Return a result with its classes joined to what the details know of them, the most costly first."""
    detail = detail or {}
    accuracy = detail.get("class_accuracy") or []
    lookalikes = detail.get("lookalikes") or []
    seen = {side: detail.get(f"{side}_samples") or {} for side in ("target", "reference")}
    classes = []
    for i, row in enumerate(record["per_class"]):
        classes.append(
            {
                **row,
                "number": i,
                "cost": row["reference_loss"] + row["label_mismatch"] + row["distribution_mismatch"],
                "accuracy": accuracy[i] if i < len(accuracy) else None,
                "lookalikes": lookalikes[i] if i < len(lookalikes) else [],
                "how_sure": match_in_words(row),
                "points_lost": points_in_words(row),
                "samples": [keep_sample(samples, each) for each in seen["target"].get(row["target_class"], [])],
                "reference_samples": [
                    keep_sample(samples, each) for each in seen["reference"].get(row["reference_class"], [])
                ],
            }
        )
    costly = sorted(classes, key=lambda row: -row["cost"])[:_MAX_CLASSES]
    kept = {row["number"] for row in costly}
    left_out = ("per_class", "pseudo_labels", "class_map", "class_map_names")
    result = {name: value for name, value in record.items() if name not in left_out}
    result["panel"] = [
        {"reference": each["reference"], "bound": each["bound"]} for each in record.get("panel", [record])
    ]
    result["classes"] = [row for row in classes if row["number"] in kept]
    result["n_classes"] = len(classes)
    result["points"] = detail.get("points")
    result["stayed"] = record["solver"] == "alternating" and record["ridge"] is None
    result["in_words"] = certificate_in_words(record)
    result["in_accuracy"] = accuracy_in_words(record)
    return result


def keep_sample(samples: dict[str, Any], sample: Mapping[str, str]) -> str:
    """Keep a sample once, under a hash of its content; return that."""
    key = hashlib.sha256(json.dumps(sample, sort_keys=True).encode()).hexdigest()[:12]
    samples[key] = dict(sample)
    return key


def _agreements(
    rows: Sequence[Record], columns: Sequence[Column], known: Mapping[str, float] | None
) -> list[dict[str, Any]]:
    """Compare the three quantities and each score with the accuracies, where three encoders or more have both."""
    found = []
    scores = [column for column in columns if column.format == "score" and column.higher_is_better is not None]
    named = {column.key: column for column in columns}
    for column in [*(named[name] for name in HIGHER_IS_BETTER), *scores]:
        points = agreement_table(rows, column, known)
        try:
            one = agreement(
                [point["value"] for point in points],
                [point["accuracy"] for point in points],
                higher_is_better=bool(column.higher_is_better),
                n_resamples=_RESAMPLES,
            ).to_dict()
        except TaskError:  # too few, or all equal: nothing to compare
            continue
        kept = {key: one[key] for key in ("pearson", "kendall", "weighted_kendall", "regret")}
        found.append({"score": column.key, "higher_is_better": column.higher_is_better, "points": points, **kept})
    return found


def _panel_matrix(what: str, rows: Sequence[tuple[str, Record]]) -> dict[str, Any]:
    columns, values = grid([(name, [(e["reference"], e["bound"]) for e in result["panel"]]) for name, result in rows])
    named = [{"name": name, "values": row} for (name, _), row in zip(rows, values, strict=True)]
    return {"corner": what, "columns": columns, "quantities": [BOUND] * len(columns), "rows": named}
