"""A folder of results: what is written there, and how a report is made of it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from transferability._writing import write_through_temporary
from transferability.display.race import race_in_words
from transferability.errors import MissingExtraError
from transferability.report.folder import remove_stale, write_readme
from transferability.report.parts import VisualSummaries
from transferability.report.records import RECORDS
from transferability.report.records import read_measured as read_measured
from transferability.report.records import read_study as read_study
from transferability.report.render import to_html, to_markdown
from transferability.report.stored import Reportable
from transferability.report.summarize import details_of, pack_details, summarize_records

__all__ = ["read_measured", "read_study", "write_ranking_record", "write_records", "write_report"]


def write_records(record: Mapping[str, Any], results: Reportable | Sequence[Reportable], folder: Path) -> list[Path]:
    """Write a record (of `Ranking.to_dict` or `relation_record`), its details, the report and a README.

    Files of an earlier run that are not written again are removed, transformations among them.

    Parameters
    ----------
    record : mapping
        What `ranking.json` or `relate.json` shall hold.
    results : Ranking or sequence of Relatedness
        Where the record came from, for the details.
    folder : Path
        Made if it is not there.

    Returns
    -------
    list of Path
        The files. Without jinja2 there is no report among them.
    """
    details = details_of(results)
    path = folder / RECORDS[0 if "ranking" in record else 1]
    _write(path, json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    beside = path.with_suffix(".details.json")
    _write(beside, json.dumps(pack_details(details), allow_nan=False, separators=(",", ":")) + "\n")
    files = [path, beside]
    with suppress(MissingExtraError):  # results must not be lost for want of a way to look at them
        files += write_report(summarize_records([(record, details)]), folder)
    remove_stale(folder, files)
    race = (record.get("made") or {}).get("race")
    write_readme(folder, "" if race is None else f"{race_in_words(race)} `made.race` in `ranking.json` says who left.")
    return files


def write_ranking_record(record: Mapping[str, Any], details: VisualSummaries, folder: Path) -> list[Path]:
    """Write a record that was read from a folder and added to, and its report; the details stay what they are."""
    path = folder / RECORDS[0]
    _write(path, json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    with suppress(MissingExtraError):
        return [path, *write_report(summarize_records([(record, details)]), folder)]
    return [path]


def write_report(summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `report.html` and `report.md`.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed.
    """
    page = to_html(summary)
    _write(folder / "report.md", to_markdown(summary))
    _write(folder / "report.html", page)
    return [folder / "report.html", folder / "report.md"]


def _write(path: Path, text: str) -> None:
    # A file name that is no valid text has lone surrogates: in JSON their escape stands for them.
    write_through_temporary(path, text.encode("utf-8", "backslashreplace"))
