"""How objects display in a notebook: small tables, in the notebook's own style, every text escaped. From records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from transferability.display.columns import shown_columns, title_of
from transferability.display.formats import elide, number, percent
from transferability.display.race import race_in_words

__all__ = ["ranking_html", "relatedness_html", "table_html"]

_MAX_ROWS = 30
_LONGEST = 160


def relatedness_html(result: Mapping[str, Any]) -> str:
    """Return the terms of a result and its class matching."""
    terms = [
        ["transferred accuracy", percent(result["transferred_accuracy"])],
        ["chance", percent(result["chance"])],
        ["transferred loss", number(result["transferred_loss"])],
        ["bound", number(result["bound"])],
        ["= reference loss", number(result["reference_loss"])],
        ["+ label mismatch", number(result["label_mismatch"])],
        ["+ distribution mismatch", number(result["distribution_mismatch"])],
        ["τ", f"{result['tau']:.3g}"],
    ]
    classes = [
        [
            row["target_class"],
            row["reference_class"] or "–",
            number(row["reference_loss"] + row["label_mismatch"] + row["distribution_mismatch"]),
        ]
        for row in result["per_class"]
    ]
    title = f"{_short(result['reference'])} → {_short(result['target'])}, losses in nats"
    fitted = result["evaluated_on"] == "fit"
    measured = "Measured on the rows that it was fitted on: it says nothing of other rows. " if fitted else ""
    return (
        table_html(title, [], terms)
        + f"<p>{measured}{escape(result['certificate'])}</p>"
        + table_html("", ["target class", "reference class", "part of the bound"], classes)
    )


def ranking_html(record: Mapping[str, Any]) -> str:
    """Return the ranking as a table."""
    entries = record["ranking"]
    columns = shown_columns(entries, record["columns"], record["criterion"])
    rows = [[column.show(entry) for column in columns] for entry in entries]
    skipped = "".join(
        f"<li>{escape(_short(s['encoder']))}: {escape(s['reason'][:500])}</li>" for s in record["skipped"]
    )
    title = f"Encoders for {_short(record['target'])}, best first by {title_of(record['criterion'])}"
    titles = [(column.title, column.explanation) for column in columns]
    race = (record.get("made") or {}).get("race")
    raced = "" if race is None else f"<p>{escape(race_in_words(race))}</p>"
    return table_html(title, titles, rows) + raced + (f"<p>Skipped:</p><ul>{skipped}</ul>" if skipped else "")


def table_html(title: str, columns: Sequence[str | tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of texts; a column is its title, or its title and what it means."""
    caption = f"<caption style='text-align:left;font-weight:600'>{escape(_short(title))}</caption>" if title else ""
    head = "".join(_heading(column) for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_short(cell))}</td>" for cell in row) + "</tr>" for row in rows[:_MAX_ROWS]
    )
    more = f"<tr><td>… {len(rows) - _MAX_ROWS:,} more</td></tr>" if len(rows) > _MAX_ROWS else ""
    return (
        f"<table>{caption}{'<thead><tr>' + head + '</tr></thead>' if head else ''}<tbody>{body}{more}</tbody></table>"
    )


def _heading(column: str | tuple[str, str]) -> str:
    if isinstance(column, str):
        return f"<th>{escape(column)}</th>"
    return f'<th title="{escape(column[1])}">{escape(column[0])}</th>'


def _short(text: str) -> str:
    return elide(text, _LONGEST)
