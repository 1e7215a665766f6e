"""A folder of results: what is written there, and how a report is made of it again."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from transferability._writing import write_through_temporary
from transferability.errors import DatasetError, FileDamagedError, MissingExtraError
from transferability.ranking.result import Ranking
from transferability.report.render import to_html, to_markdown
from transferability.report.summarize import details_of, pack_details, summarize_records

__all__ = ["read_measured", "read_study", "write_records", "write_report"]

_RECORDS = ("ranking.json", "relate.json")
Stored = tuple[Mapping[str, Any], Sequence[Mapping[str, Any] | None]]
"""A record and its details."""


def write_records(record: Mapping[str, Any], results: Any, folder: Path) -> list[Path]:
    """Write a record (of `Ranking.to_dict` or `relation_record`), its details and the report.

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
    folder.mkdir(parents=True, exist_ok=True)
    details = details_of(results)
    path = folder / _RECORDS[0 if isinstance(results, Ranking) else 1]
    _write(path, json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    beside = path.with_suffix(".details.json")
    _write(beside, json.dumps(pack_details(details), allow_nan=False, separators=(",", ":")) + "\n")
    with suppress(MissingExtraError):  # results must not be lost for want of a way to look at them
        return [path, beside, *write_report(summarize_records([(record, details)]), folder)]
    return [path, beside]


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


def read_measured(path: Path) -> dict[str, dict[str, float]]:
    """Read accuracies that were measured after fine-tuning.

    Parameters
    ----------
    path : Path
        A CSV file with the columns `encoder`, `accuracy` and, of several targets, `target`; or what
        `transferability validate --json` printed.

    Returns
    -------
    dict of target to dict of encoder to accuracy
        Under "" where no target is named: for every one.

    Raises
    ------
    DatasetError
        If the file or a column is missing, or a row holds no accuracy between 0 and 1.
    FileDamagedError
        If a JSON file is none.
    """
    if path.suffix == ".json":
        rows = _read(path).get("observations", [])
    else:
        try:
            rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
        except (OSError, UnicodeDecodeError) as error:
            message = f"`{path}` cannot be read ({error}). Give a CSV file of columns encoder, accuracy."
            raise DatasetError(message) from error
    found: dict[str, dict[str, float]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            accuracy = float(row["accuracy"])
            if not 0 <= accuracy <= 1:
                raise ValueError
            found.setdefault(row.get("target") or "", {})[row["encoder"]] = accuracy
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = (
                f"row {number} of `{path}` must hold an encoder and its accuracy between 0 and 1; got {row!r}. "
                "The first line names the columns: encoder,accuracy or target,encoder,accuracy."
            )
            raise DatasetError(message) from error
    return found


def read_study(folder: Path) -> list[Stored]:
    """Read the records of a folder, or of the folders within it, with their details.

    Raises
    ------
    DatasetError
        If there are none.
    FileDamagedError
        If one of the files is not what it should be.
    """
    found = _records_in(folder)
    if not found and folder.is_dir():
        found = [each for inner in sorted(folder.iterdir()) if inner.is_dir() for each in _records_in(inner)]
    if not found:
        message = (
            f"`{folder}` must hold {' or '.join(_RECORDS)}, or folders that do. "
            "Write them with `transferability rank … --out` or `transferability relate … --out`."
        )
        raise DatasetError(message)
    return found


def _records_in(folder: Path) -> list[Stored]:
    found: list[Stored] = []
    for name in _RECORDS:
        if (folder / name).is_file():
            record = _read(folder / name)
            if not isinstance(record.get("ranking", record.get("results")), list):
                message = f"`{folder / name}` must hold a ranking or relations; it holds neither. Write it again."
                raise FileDamagedError(message)
            path = (folder / name).with_suffix(".details.json")
            found.append((record, _unpack(_read(path)) if path.is_file() else []))
    return found


def _unpack(packed: Mapping[str, Any]) -> Sequence[Mapping[str, Any] | None]:
    """Put the samples back in their places."""
    samples = packed.get("samples", {})
    details = [None if each is None else dict(each) for each in packed.get("details", [])]
    for one in filter(None, details):
        for side in ("target_samples", "reference_samples"):
            parts = one.get(side, {}).items()
            one[side] = {name: [samples[key] for key in keys if key in samples] for name, keys in parts}
    return details


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        message = f"`{path}` cannot be read ({error}). Write it again."
        raise FileDamagedError(message) from error
    if not isinstance(value, dict):
        message = f"`{path}` must hold a JSON object; it holds a {type(value).__name__}. Write it again."
        raise FileDamagedError(message)
    return value


def _write(path: Path, text: str) -> None:
    # A file name that is no valid text has lone surrogates: in JSON their escape stands for them.
    write_through_temporary(path, text.encode("utf-8", "backslashreplace"))
