"""The data behind each plot, as a list of dicts: `pandas.DataFrame` and `csv.DictWriter` take it as it is.

They are made of records: `Relatedness.to_dict()` and the entries of `Ranking.to_dict()["ranking"]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from transferability.display.column_table import Column, Entry
from transferability.display.columns import columns_of
from transferability.display.formats import TERMS
from transferability.display.front import cost_column
from transferability.display.notes import copies_matter

__all__ = [
    "agreement_table",
    "convergence_table",
    "front_table",
    "grid",
    "matrix_table",
    "points_table",
    "ranking_table",
    "relation_table",
    "tau_table",
    "terms_table",
]

Record = Mapping[str, Any]
Rows = list[dict[str, Any]]


def ranking_table(entries: Sequence[Entry], scores: Sequence[Record] = ()) -> Rows:
    """Return one row for each encoder, best first, with all columns of `display.columns` and the scores."""
    columns = [column for column in columns_of(scores) if column.in_frame]
    return [{column.key: column.value(entry) for column in columns} for entry in entries]


_OF_RELATIONS = (
    *("target", "reference", "transferred_accuracy", "chance", "transferred_loss", "bound", "reference_loss"),
    *("label_mismatch", "distribution_mismatch", "transferability", "transferability_accuracy", "tau", "scale"),
    *("certified", "evaluated_on", "ground_cost", "solver", "seconds"),
)


def relation_table(results: Sequence[Record]) -> Rows:
    """Return one row for each target and reference, with the numbers of `Relatedness.to_dict()`."""
    return [{name: one.get(name) for name in _OF_RELATIONS} for each in results for one in each["panel"]]


def terms_table(results: Sequence[Record], names: Sequence[str] | None = None) -> Rows:
    """Return the three terms, their sum and the losses they bound; one row per result, in nats."""
    labels = [each["reference"] for each in results] if names is None else names
    columns = [*(name for name, _, _ in TERMS), "bound", "transferred_loss", "transferability"]
    return [
        {"name": name, **{column: each[column] for column in columns}}
        for name, each in zip(labels, results, strict=True)
    ]


def tau_table(result: Record) -> Rows:
    """Return the held-out bound of every τ that was tried; the chosen one alone where there was no choice."""
    return [
        {"tau": tau, "held_out_bound": bound} for tau, bound in result["tau_path"] or [(result["tau"], result["bound"])]
    ]


def convergence_table(result: Record) -> Rows:
    """Return the mean cost of the matched pairs, round by round; nothing where no map was learned."""
    return [{"round": k, "cost": cost} for k, cost in enumerate(result["history"], start=1)]


def points_table(result: Record, details: Record | None) -> Rows:
    """Return the points of the pictures: task, stage ("before" or "after" the map), class of the target, x, y."""
    points = None if details is None else details.get("points")
    if points is None:
        return []
    names = [row["target_class"] for row in result["per_class"]]
    rows: Rows = []
    for task, stage, places, classes in (
        ("reference", "after", "reference", "reference_classes"),
        ("target", "before", "before", "target_classes"),
        ("target", "after", "after", "target_classes"),
    ):
        for (x, y), k in zip(points[places], points[classes], strict=False):  # `before` may be empty
            name = None if k < 0 else names[k]
            rows.append({"task": task, "stage": stage, "target_class": name, "x": x, "y": y})
    return rows


def agreement_table(entries: Sequence[Entry], column: Column, measured: Mapping[str, float] | None = None) -> Rows:
    """Return a score and the accuracy it should predict; one row per encoder that has both.

    Parameters
    ----------
    entries : sequence of mapping
    column : Column
        Of the score.
    measured : dict of encoder to accuracy, optional
        Fine-tuned accuracies. Without them, the accuracy of the linear probe is used.
    """
    rows = []
    for entry in entries:
        probe = entry.get("probe")
        own = entry["relatedness"]["transferability_accuracy"] if probe is None else probe["accuracy"]
        accuracy = own if measured is None else measured.get(entry["encoder"])
        value = column.value(entry)
        if accuracy is not None and value is not None and value == value:
            rows.append({"encoder": entry["encoder"], "value": value, "accuracy": accuracy})
    return rows


def front_table(entries: Sequence[Entry]) -> tuple[Column | None, Rows]:
    """Return what the cost is, and encoder, cost, accuracy with its interval, and place on the front.

    None and no rows where accuracies or costs are not known.
    """
    cost = cost_column(entries)
    if cost is None:
        return None, []
    rows = []
    for entry in entries:
        value, accuracy = cost.value(entry), entry["relatedness"]["transferred_accuracy"]
        ends = (entry.get("intervals") or {}).get("transferred_accuracy") or (None, None)
        if copies_matter(entry):  # the interval is of fewer rows than the accuracy
            ends = (None, None)
        on_front = bool(entry.get("on_front"))
        if value is not None and accuracy is not None:
            rows.append(
                {"encoder": entry["encoder"], "cost": value, "accuracy": accuracy}
                | {"low": ends[0], "high": ends[1], "on_front": on_front}
            )
    return cost, rows


def matrix_table(named: Sequence[tuple[str, Record]]) -> Rows:
    """Return the bound of every cell: the names given (encoders, targets) by references."""
    columns, values = grid(
        [(name, [(each["reference"], each["bound"]) for each in result["panel"]]) for name, result in named]
    )
    return [
        {"row": name, "reference": column, "position": k, "bound": row[k]}  # two references may share a name
        for (name, _), row in zip(named, values, strict=True)
        for k, column in enumerate(columns)
    ]


def grid(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> tuple[list[str], list[list[float | None]]]:
    """Return the columns of rows that need not have all of them, and each row's values, None where it has none.

    A name may occur twice, and a pack takes part only under the encoder it was made with.

    Examples
    --------
    >>> grid([("a", [("x", 1.0), ("y", 2.0)]), ("b", [("y", 3.0)])])
    (['x', 'y'], [[1.0, 2.0], [None, 3.0]])
    """
    keyed = []
    for _, cells in rows:
        seen: Counter[str] = Counter()
        row: dict[tuple[str, int], float | None] = {}
        for name, value in cells:
            row[name, seen[name]] = value
            seen[name] += 1
        keyed.append(row)
    columns = list(dict.fromkeys(key for row in keyed for key in row))
    return [name for name, _ in columns], [[row.get(key) for key in columns] for row in keyed]
