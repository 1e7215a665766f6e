"""One plain dict of everything a report says. JSON, Markdown and HTML render it and add nothing.

The way is always the same: result objects → records (what `ranking.json` and `relate.json` hold) and details (what
`details.json` holds) → summary. So a report can be made again from the files, without computing anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from transferability._criteria import BOUND, HIGHER_IS_BETTER, quantity_of
from transferability.errors import TaskError
from transferability.ranking.agreement import agreement
from transferability.ranking.result import Ranking
from transferability.relatedness.result import Relatedness
from transferability.report.tables import grid
from transferability.report.words import (
    accuracy_in_words,
    answer,
    certificate_in_words,
    match_in_words,
    relation_answer,
)

__all__ = ["SCHEMA_VERSION", "details_of", "pack_details", "relation_record", "summarize", "summarize_records"]

SCHEMA_VERSION = 1
_PROBE = "accuracy of the linear probe"
_MAX_CLASSES = 60  # rows of a class table; the cheapest are left out
_RESAMPLES = 200

Record = Mapping[str, Any]
Details = Sequence[Mapping[str, Any] | None]
Measured = Mapping[str, Mapping[str, float]]


def summarize(
    results: Ranking | Relatedness | Sequence[Ranking] | Sequence[Relatedness],
    measured: Measured | None = None,
) -> dict[str, Any]:
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
    given = [results] if isinstance(results, Ranking | Relatedness) else list(results)
    rankings = [each for each in given if isinstance(each, Ranking)]
    relations = [each for each in given if isinstance(each, Relatedness)]
    records: list[tuple[Record, Details]] = [(each.to_dict(), details_of(each)) for each in rankings]
    if relations:
        records.append((relation_record(relations), details_of(relations)))
    return summarize_records(records, measured)


def relation_record(
    results: Sequence[Relatedness], encoder: str | None = None, made: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what `relate.json` holds."""
    return {"schema": 1, "encoder": encoder, "results": [each.to_dict() for each in results], "made": made or {}}


def details_of(results: Ranking | Sequence[Relatedness]) -> list[dict[str, Any] | None]:
    """Return the details of each entry, in the order of the record."""
    each_result = [e.relatedness for e in results.entries] if isinstance(results, Ranking) else results
    return [None if each.details is None else each.details.to_dict() for each in each_result]


def pack_details(details: Details) -> dict[str, Any]:
    """Return details in which every sample is stored once, under a hash of its content."""
    samples: dict[str, Any] = {}
    packed = [None if each is None else dict(each) for each in details]
    for one in filter(None, packed):
        for side in ("target_samples", "reference_samples"):
            one[side] = {name: [_keep(samples, each) for each in part] for name, part in one[side].items()}
    return {"schema": SCHEMA_VERSION, "samples": samples, "details": packed}


def summarize_records(records: Sequence[tuple[Record, Details]], measured: Measured | None = None) -> dict[str, Any]:
    """Summarize what is in the files: pairs of a record and its details (see `summarize`)."""
    if not records:
        message = "`results` must hold at least one ranking or relation; got none."
        raise TaskError(message)
    samples: dict[str, Any] = {}
    parts = [
        _ranking_part(record, details, measured, samples)
        if "ranking" in record
        else _relation_part(record, details, samples)
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


def _ranking_part(
    record: Record, details: Details, measured: Measured | None, samples: dict[str, Any]
) -> dict[str, Any]:
    entries = []
    known = None if measured is None else measured.get(record["target"], measured.get("", {}))
    for place, (entry, detail) in enumerate(zip(record["ranking"], _as_long(details, record["ranking"]), strict=True)):
        result = _result(entry["relatedness"], detail, samples)
        trained = entry.get("probe") or {"accuracy": result["transferability_accuracy"]}
        accuracy = trained["accuracy"] if known is None else known.get(entry["encoder"])
        entries.append(
            {
                "place": place + 1,
                "name": entry["encoder"],
                "n_parameters": entry["n_parameters"],
                "seconds": entry["seconds"],
                "scores": entry["scores"],
                "notes": entry["notes"],
                "cache_keys": entry.get("cache_keys", []),
                "standing": entry.get("standing"),
                "probe": entry.get("probe"),
                "accuracy": accuracy,
                "result": result,
            }
        )
    truth: str | None = _PROBE if known is None else "measured accuracy"
    if all(entry["accuracy"] is None for entry in entries):
        truth = None
    columns = record.get("columns") or [
        {"name": name, "higher_is_better": True} for name in (entries[0]["scores"] if entries else {})
    ]
    several = any(len(entry["result"]["panel"]) > 1 for entry in entries)
    return {
        "kind": "ranking",
        "targets": [record["target"]],
        "references": record["references"],
        "criterion": record["criterion"],
        "quantity": quantity_of(record["criterion"]),
        "answer": answer(record["target"], record["criterion"], entries, truth),
        "entries": entries,
        "columns": columns,
        "truth": truth,
        "agreement": _agreements(entries, columns) if truth else [],
        "matrix": _panel_matrix("Encoder", [(e["name"], e["result"]) for e in entries]) if several else None,
        "skipped": record["skipped"],
        "made": record.get("made") or {},
    }


def _relation_part(record: Record, details: Details, samples: dict[str, Any]) -> dict[str, Any]:
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
        "truth": None,
        "agreement": [],
        "matrix": _panel_matrix("Target", [(each["target"], each) for each in results]) if several else None,
        "skipped": [],
        "made": record.get("made") or {},
    }


def _as_long(details: Details, entries: Sequence[Any]) -> Details:
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
                "samples": [_keep(samples, each) for each in seen["target"].get(row["target_class"], [])],
                "reference_samples": [
                    _keep(samples, each) for each in seen["reference"].get(row["reference_class"], [])
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


def _keep(samples: dict[str, Any], sample: Mapping[str, str]) -> str:
    key = hashlib.sha256(json.dumps(sample, sort_keys=True).encode()).hexdigest()[:12]
    samples[key] = dict(sample)
    return key


def _agreements(entries: Sequence[Record], columns: Sequence[Record]) -> list[dict[str, Any]]:
    """Compare the three quantities and each score with the accuracies, where three encoders or more have both."""
    found = []
    for column in [*({"name": each, "higher_is_better": up} for each, up in HIGHER_IS_BETTER.items()), *columns]:
        name = column["name"]
        points = [
            {"encoder": each["name"], "value": value, "accuracy": each["accuracy"]}
            for each in entries
            for value in [each["result"][name] if name in HIGHER_IS_BETTER else each["scores"].get(name)]
            if value is not None and each["accuracy"] is not None
        ]
        try:
            one = agreement(
                [point["value"] for point in points],
                [point["accuracy"] for point in points],
                higher_is_better=column["higher_is_better"],
                n_resamples=_RESAMPLES,
            ).to_dict()
        except TaskError:  # too few, or all equal: nothing to compare
            continue
        kept = {key: one[key] for key in ("pearson", "kendall", "weighted_kendall", "regret")}
        found.append({"score": name, "higher_is_better": column["higher_is_better"], "points": points, **kept})
    return found


def _panel_matrix(what: str, rows: Sequence[tuple[str, Record]]) -> dict[str, Any]:
    columns, values = grid([(name, [(e["reference"], e["bound"]) for e in result["panel"]]) for name, result in rows])
    named = [{"name": name, "values": row} for (name, _), row in zip(rows, values, strict=True)]
    return {"corner": what, "columns": columns, "quantities": [BOUND] * len(columns), "rows": named}


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
