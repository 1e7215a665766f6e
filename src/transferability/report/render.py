"""A summary as HTML, Markdown or JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Any

from transferability._criteria import HIGHER_IS_BETTER
from transferability._printable import UNSHOWABLE
from transferability.display.columns import title_of
from transferability.display.formats import TERMS, amount, count, interval, number, percent, show
from transferability.errors import require_extra
from transferability.report import svg_layout
from transferability.report.narrative import OF_FINE_TUNING

__all__ = ["to_html", "to_json", "to_markdown"]

_TEMPLATES = files("transferability.report") / "templates"
_FEW = 12  # entries whose pictures are drawn in full, and printed
_POINTS = 150
_POINTS_IN_ALL = 25_000


def to_json(summary: Mapping[str, Any]) -> str:
    """Return the summary as JSON."""
    return json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def to_html(summary: Mapping[str, Any]) -> str:
    """Return one self-contained HTML page: no network, no fonts, no scripts to be readable.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed.

    Notes
    -----
    Every text is escaped (jinja2's autoescape), stripped of control characters and cut where it is too long to read. A
    content security policy forbids the page any request and any script but its own.
    """
    n_entries = sum(len(part["entries"]) for part in summary["parts"])
    script, style = _read("report.js").strip(), _read("report.css").strip()
    page: str = (
        _environment(require_extra("jinja2", "report", "the HTML report"))
        .get_template("report.html.j2")
        .render(
            summary=summary,
            strips=svg_layout.sample_strips(summary),
            style=style,
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            few=n_entries <= _FEW,
            budget=max(30, min(_POINTS, _POINTS_IN_ALL // max(n_entries, 1))),
        )
    )
    return page


@cache  # of compiled templates: reading them takes longer than a page
def _environment(jinja2: ModuleType) -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(number=number, percent=percent, show=show, compact=count)
    environment.filters["show_code"] = lambda code: UNSHOWABLE.sub("\ufffd", code)
    environment.filters["capitalize_first"] = lambda title: (
        title[:1].upper() + title[1:] if title[:1].isascii() else title
    )
    environment.globals.update(
        sort_value=_sort_value,
        amount=amount,
        title_of=title_of,
        interval=interval,
        accuracy_bar=svg_layout.accuracy_bar,
        bars=svg_layout.bars,
        log=math.log,
        chart=svg_layout.chart,
        heat=svg_layout.heat,
        higher_is_better=HIGHER_IS_BETTER,
        class_paths=svg_layout.class_paths,
        strip_key=svg_layout.strip_key,
        terms=[(name, label) for name, label, _ in TERMS],
    )
    return environment


def to_markdown(summary: Mapping[str, Any]) -> str:
    """Return the summary as Markdown: answer, ranking, classes of the best, how it was made."""
    lines = [f"# {_cell(summary['title'])}", ""]
    for part in summary["parts"]:
        lines += _markdown_of_part(part)
    return "\n".join(lines)


def _markdown_of_part(part: Mapping[str, Any]) -> list[str]:
    said = part["answer"]
    lines = [f"## {_cell(said['headline'])}", "", _paragraph(said["sentence"]), ""]
    for fact in said["facts"]:
        lines += [f"{fact['label']}: {_paragraph(fact['note'])}.", ""] if fact["label"] == OF_FINE_TUNING else []
    if part["kind"] == "ranking":
        for headings, cells in (("columns", "cells"), ("more", "more")):
            head = [column["title"] for column in part[headings]]
            rows = [[cell["text"] for cell in entry[cells]] for entry in part["entries"]]
            if cells == "more":
                head, rows = (
                    ["encoder", *head],
                    [[e["name"], *row] for e, row in zip(part["entries"], rows, strict=True)],
                )
            lines += _markdown_table(head, rows)
    else:
        lines += _markdown_relations(part["entries"])
    lines += [*(f"- {_cell(note, 600)}" for note in part["notes"]), ""] if part["notes"] else []
    if part["race"] is not None:
        lines += [_paragraph(part["race"]["in_words"]), ""]
        lines += _markdown_table(part["race"]["headings"], part["race"]["rows"]) if part["race"]["rows"] else []
        lines += [_paragraph(part["race"]["more"]), ""] if part["race"]["more"] else []
    first = part["entries"][0]["result"]
    lines += [_paragraph(first["in_words"]), ""]
    classes = [
        [
            *(row["target_class"], row["reference_class"] or "–", row["how_sure"]),
            *(percent(row["prior"]), number(row["cost"]), row["points_lost"]),
        ]
        for row in first["classes"]
    ]
    head = ["target class", "reference class", "how sure", "share", "part of the bound", "points lost"]
    lines += _markdown_table(head, classes)
    for step in part["next"]:
        lines += [f"Next: {_cell(step['title'])}:", "", *_fenced(step["code"], step["language"]), ""]
    lines += [f"- skipped {_cell(each['encoder'])}: {_cell(each['reason'])}" for each in part["skipped"]]
    made = part["made"]
    if made:
        lines += [
            f"- {_cell(data['name'])}: {_cell(note, 600)}" for data in made["data"] for note in data.get("notes", ())
        ]
        versions = _cell(", ".join(f"{name} {version}" for name, version in made["versions"].items()), 2000)
        lines += ["", f"Made {_cell(made['at'])} on {_cell(made['machine'])} with {versions}."]
    return [*lines, ""]


def _fenced(code: str, language: str) -> list[str]:
    """Return a block of code whose fence is longer than any run of marks in it."""
    fence = "`" * (max((len(run) for run in re.findall("`+", code)), default=2) + 1)
    fence = fence if len(fence) > 2 else "```"
    lines = [UNSHOWABLE.sub("\ufffd", line) for line in code.splitlines()]
    return [f"{fence}{language}", *lines, fence]


def _markdown_relations(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    head = [
        "target",
        "reference",
        "transferred accuracy",
        "transferred loss",
        "bound",
        *(title for _, title, _ in TERMS),
    ]
    rows = []
    for entry in entries:
        result = entry["result"]
        row = [entry["name"], result["reference"], percent(result["transferred_accuracy"])]
        row += [number(result["transferred_loss"]), number(result["bound"])]
        rows.append(row + [number(result[name]) for name, _, _ in TERMS])
    return _markdown_table(head, rows)


def _markdown_table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(_cell, head)) + " |", "|" + " --- |" * len(head)]
    return [*lines, *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows), ""]


def _cell(text: str, length: int = 200) -> str:
    """Escape what Markdown, and the HTML within it, would take for more than text: addresses become no links either."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|!&~$@])", r"\\\1", show(" ".join(text.split()), length))
    escaped = re.sub(r"(?i)\b(https?|ftp|mailto|xmpp):", r"\1\\:", escaped)
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", escaped)


def _paragraph(text: str) -> str:
    """Escape a text that begins a line, where marks and numbers would make lists, rules and headings."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", _cell(text, 1500))


def _sort_value(value: Any) -> str:
    """Return what a script sorts a cell by; nothing where it is not known, the lower end of an interval."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0]
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")
