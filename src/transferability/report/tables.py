"""The data behind each plot, as a list of dicts: `pandas.DataFrame` and `csv.DictWriter` take it as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transferability._criteria import quantity_of

if TYPE_CHECKING:
    from transferability.ranking.result import Ranking
    from transferability.relatedness.result import Relatedness

__all__ = [
    "TERMS",
    "agreement_table",
    "convergence_table",
    "grid",
    "matrix_table",
    "points_table",
    "ranking_table",
    "tau_table",
    "terms_table",
]

# Okabe and Ito's palette: told apart by colour-blind readers too.
TERMS = (
    ("reference_loss", "reference loss", "#0072B2"),
    ("label_mismatch", "label mismatch", "#E69F00"),
    ("distribution_mismatch", "distribution mismatch", "#56B4E9"),
)
Rows = list[dict[str, Any]]


def terms_table(results: Sequence[Relatedness], names: Sequence[str] | None = None) -> Rows:
    """Return the three terms, their sum and the losses they bound; one row per result, in nats."""
    labels = [each.reference for each in results] if names is None else names
    columns = [*(name for name, _, _ in TERMS), "bound", "transferred_loss", "transferability"]
    return [
        {"name": name, **{column: getattr(each, column) for column in columns}}
        for name, each in zip(labels, results, strict=True)
    ]


def ranking_table(ranking: Ranking) -> Rows:
    """Return one row for each encoder, best first; the interval is of the quantity that its columns name."""
    rows = []
    resampled = quantity_of(ranking.criterion)
    for place, (entry, standing) in enumerate(zip(ranking.entries, ranking.standings, strict=True), start=1):
        result = entry.relatedness
        rows.append(
            {
                "place": place,
                "encoder": entry.encoder,
                "reference": result.reference,
                "transferred_accuracy": result.transferred_accuracy,
                "transferred_loss": result.transferred_loss,
                "bound": result.bound,
                f"{resampled}_low": None if standing is None else standing.low,
                f"{resampled}_high": None if standing is None else standing.high,
                "reference_loss": result.reference_loss,
                "label_mismatch": result.label_mismatch,
                "distribution_mismatch": result.distribution_mismatch,
                "tau": result.tau,
                "probe_accuracy": None if entry.probe is None else entry.probe.accuracy,
                "probe_loss": None if entry.probe is None else entry.probe.loss,
                "transferability": result.transferability,
                "transferability_accuracy": result.transferability_accuracy,
                "n_parameters": entry.n_parameters,
                **{column.name: entry.scores.get(column.name) for column in ranking.columns},
                "seconds": entry.seconds,
            }
        )
    return rows


def tau_table(result: Relatedness) -> Rows:
    """Return the held-out bound of every τ that was tried; the chosen one alone where there was no choice."""
    return [{"tau": tau, "held_out_bound": bound} for tau, bound in result.tau_path or ((result.tau, result.bound),)]


def convergence_table(result: Relatedness) -> Rows:
    """Return the mean cost of the matched pairs, round by round; nothing where no map was learned."""
    return [{"round": k, "cost": cost} for k, cost in enumerate(result.history, start=1)]


def points_table(result: Relatedness) -> Rows:
    """Return the points of the pictures: task, stage ("before" or "after" the map), class of the target, x, y."""
    details = result.details
    if details is None:
        return []
    rows: Rows = []
    for task, stage, places, classes in (
        ("reference", "after", details.reference, details.reference_classes),
        ("target", "before", details.before, details.target_classes),
        ("target", "after", details.after, details.target_classes),
    ):
        for (x, y), k in zip(places.tolist(), classes.tolist(), strict=False):  # `before` may be empty
            name = None if k < 0 else result.target_class_names[k]
            rows.append({"task": task, "stage": stage, "target_class": name, "x": x, "y": y})
    return rows


def agreement_table(ranking: Ranking, measured: dict[str, float] | None = None, criterion: str | None = None) -> Rows:
    """Return a score and the accuracy it should predict; one row per encoder that has both.

    Parameters
    ----------
    ranking : Ranking
    measured : dict of encoder to accuracy, optional
        Fine-tuned accuracies. Without them, the accuracy of the linear probe is used.
    criterion : str, optional
        "transferred_accuracy", "transferred_loss", "bound" or a score; by default what the ranking is sorted by.
    """
    rows = []
    for entry in ranking.entries:
        own = entry.relatedness.transferability_accuracy if entry.probe is None else entry.probe.accuracy
        accuracy = own if measured is None else measured.get(entry.encoder)
        value = entry.value(criterion or ranking.criterion)
        if accuracy is not None and value == value:
            rows.append({"encoder": entry.encoder, "value": value, "accuracy": accuracy})
    return rows


def matrix_table(results: Ranking | Sequence[Relatedness]) -> Rows:
    """Return the bound of every cell: encoders by references for a ranking, targets by references otherwise."""
    if hasattr(results, "entries"):
        named = [(entry.encoder, entry.relatedness) for entry in results.entries]
    else:
        named = [(each.target, each) for each in results]
    columns, values = grid([(name, [(each.reference, each.bound) for each in result.panel]) for name, result in named])
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
