"""How objects show themselves in a notebook: small tables, in the notebook's own style, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from transferability._criteria import in_words
from transferability.report.words import number, percent

if TYPE_CHECKING:
    from transferability.ranking.result import Ranking
    from transferability.relatedness.result import Relatedness
    from transferability.task import Task

__all__ = ["ranking_html", "relatedness_html", "task_html"]

_MAX_ROWS = 30


def task_html(task: Task) -> str:
    """Return name, shape and classes of a task."""
    n, d = task.features.shape
    rows = [["samples", f"{n:,}"], ["features", f"{d:,} ({task.features.dtype})"]]
    if task.labels is None:
        rows.append(["labels", "none"])
    else:
        priors = task.class_priors
        rows.append(["classes", f"{task.n_classes:,}, shares {percent(priors.min())} to {percent(priors.max())}"])
    if task.class_names:
        shown = ", ".join(_short(name) for name in task.class_names[:10])
        rows.append(["class names", shown + (", …" if len(task.class_names) > 10 else "")])
    return _table(f"Task {_short(task.name)}", [], rows)


def relatedness_html(result: Relatedness) -> str:
    """Return the terms of a result and its class matching."""
    terms = [
        ["bound", number(result.bound)],
        ["= reference loss", number(result.reference_loss)],
        ["+ label mismatch", number(result.label_mismatch)],
        ["+ distribution mismatch", number(result.distribution_mismatch)],
        ["transferred accuracy", percent(result.transferred_accuracy)],
        ["transferred loss", number(result.transferred_loss)],
        ["τ", f"{result.tau:.3g}"],
    ]
    classes = [
        [
            _short(row["target_class"]),
            _short(row["reference_class"] or "–"),
            number(row["reference_loss"] + row["label_mismatch"] + row["distribution_mismatch"]),
        ]
        for row in result.per_class()
    ]
    title = f"{_short(result.reference)} → {_short(result.target)}, in nats"
    return (
        _table(title, [], terms)
        + f"<p>{escape(result.certificate)}</p>"
        + _table("", ["target class", "reference class", "part of the bound"], classes)
    )


def ranking_html(ranking: Ranking) -> str:
    """Return the ranking as a table."""
    scores = [column.name for column in ranking.columns]
    columns = ["", "encoder", "reference", "transferred accuracy", "transferred loss", "bound", *scores]
    rows = []
    for place, entry in enumerate(ranking.entries, start=1):
        result = entry.relatedness
        row = [str(place), _short(entry.encoder), _short(result.reference)]
        row += [percent(result.transferred_accuracy), number(result.transferred_loss), number(result.bound)]
        row += [number(entry.scores.get(name), 4) for name in scores]
        rows.append(row)
    skipped = "".join(f"<li>{escape(_short(s.encoder))}: {escape(s.reason[:500])}</li>" for s in ranking.skipped)
    title = f"Encoders for {_short(ranking.target)}, best first by {in_words(ranking.criterion)}"
    return _table(title, columns, rows) + (f"<p>Skipped:</p><ul>{skipped}</ul>" if skipped else "")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    caption = f"<caption style='text-align:left;font-weight:600'>{escape(title)}</caption>" if title else ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[:_MAX_ROWS])
    more = f"<tr><td>… {len(rows) - _MAX_ROWS:,} more</td></tr>" if len(rows) > _MAX_ROWS else ""
    return (
        f"<table>{caption}{'<thead><tr>' + head + '</tr></thead>' if head else ''}<tbody>{body}{more}</tbody></table>"
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
