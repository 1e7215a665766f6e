"""The table of columns in docs/glossary.md, written from `transferability.display.columns`.

`python docs/tools/columns.py` writes it; a test sees that it is current.
"""

from __future__ import annotations

from pathlib import Path

from transferability.display.column_table import COLUMNS

__all__ = ["PAGE", "updated"]

PAGE = Path(__file__).parents[1] / "glossary.md"
_START, _END = "<!-- columns -->\n", "<!-- /columns -->\n"
_UNITS = {
    "percent": "share",
    "percent interval": "shares",
    "points": "share",
    "nats": "nats",
    "nats interval": "nats",
    "seconds": "s",
    "bytes": "bytes",
    "rate": "1/s",
}
_SHOWN = {"main": "always", "wide": "`--wide`", "data": "files only"}


def updated(text: str) -> str:
    """Return the page with the table as it is now."""
    rows = ["| title | key | unit | shown | better | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for column in COLUMNS:
        better = {True: "higher", False: "lower", None: ""}[column.higher_is_better]
        key = f"`{column.key}`" if column.in_frame else ""
        title = column.title.replace("#", "\\#")
        unit = _UNITS.get(column.format, "")
        rows.append(f"| {title} | {key} | {unit} | {_SHOWN[column.level]} | {better} | {column.explanation} |")
    head, rest = text.split(_START)
    return head + _START + "\n".join(rows) + "\n" + _END + rest.split(_END)[1]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
