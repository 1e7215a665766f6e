"""The files of a folder of results, read back: what is in them is checked, field by field, before it is used."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferability._criteria import TRANSFERRED
from transferability._schema import ShapeError, check_shape, read_json
from transferability.errors import DatasetError, FileDamagedError, NoSuchFileError, no_such_file
from transferability.report.accuracy_files import read_known as read_known
from transferability.report.accuracy_files import read_measured as read_measured
from transferability.report.accuracy_files import without_match as without_match
from transferability.report.ranges import check_confirmation, check_layout, check_ranges
from transferability.report.shapes import DETAILS, MADE, PARTS, RANKING, RELATION
from transferability.report.stored import Stored

__all__ = ["RECORDS", "check_points", "check_result", "read_known", "read_measured", "read_study", "without_match"]

RECORDS = ("ranking.json", "relate.json")
SCHEMA_VERSION = 1  # of the records that this version writes and reads

_HOW_TO_WRITE = "Write them with `transferability rank … --out` or `transferability relate … --out`."
_log = logging.getLogger(__name__)


def read_study(folder: Path) -> list[Stored]:
    """Read the records of a folder, or of the folders within it, with their details.

    Details that are damaged are left out, with a line in the log: the numbers do not need them. So are the records of a
    folder within it, where others can be read.

    Raises
    ------
    NoSuchFileError
        If there is no such folder.
    DatasetError
        If there are no records in it.
    FileDamagedError
        If one of the records is not what it should be.
    """
    if not os.path.lexists(folder):
        message = f"{no_such_file(folder, 'folder')} {_HOW_TO_WRITE}"
        raise NoSuchFileError(message)
    found = _records_in(folder)
    if not found and os.path.isdir(folder):  # noqa: PTH112
        damaged: FileDamagedError | None = None
        for inner in sorted(folder.iterdir()):
            try:
                found += _records_in(inner) if inner.is_dir() else []
            except FileDamagedError as error:  # the others can be shown
                damaged = damaged or error
                _log.warning("left out: %s", error)
        if damaged and not found:
            raise damaged
    if not found:
        message = f"`{folder}` must hold {' or '.join(RECORDS)}, or folders that do. {_HOW_TO_WRITE}"
        raise DatasetError(message)
    return found


def _records_in(folder: Path) -> list[Stored]:
    found: list[Stored] = []
    for name in RECORDS:
        path = folder / name
        if os.path.isfile(path):  # noqa: PTH113 - False for names that cannot be, where Path raises
            record = read_json(path)
            try:
                _check_record(record)
            except ShapeError as error:
                message = f"in `{path}` {error}. Write it again."
                raise FileDamagedError(message) from error
            found.append((record, _details_of(path.with_suffix(".details.json"))))
    return found


def _check_record(record: Any) -> None:
    """Raise `ShapeError` unless a record has all that a report needs."""
    check_shape(record, {})
    if not isinstance(record.get("ranking", record.get("results")), list):
        message = "there must be a ranking or relations; there is neither"
        raise ShapeError(message)
    ranks = "ranking" in record
    check_layout(record, SCHEMA_VERSION)
    check_shape(record, RANKING if ranks else RELATION)
    if record.get("made"):
        check_shape(record["made"], MADE, "made")
    entries = [each["relatedness"] for each in record["ranking"]] if ranks else record["results"]
    if not entries:
        message = "there must be a result; there is none"
        raise ShapeError(message)
    if ranks:
        check_ranges(record)
        check_confirmation(record)
    for number, each in enumerate(entries):
        check_result(each, f"{'ranking' if ranks else 'results'}[{number}]")
    if ranks and record["criterion"] in TRANSFERRED and entries[0][record["criterion"]] is None:
        message = f"`{record['criterion']}`, which it is sorted by, must be known of the first encoder"
        raise ShapeError(message)


def check_result(result: Mapping[str, Any], where: str) -> None:
    """Raise `ShapeError` where numbers do not belong together, which no shape tells."""
    for loss, accuracy in (TRANSFERRED, ("transferability", "transferability_accuracy")):
        if (result[loss] is None) != (result[accuracy] is None):
            message = f"`{where}` must have both `{loss}` and `{accuracy}`, or neither"
            raise ShapeError(message)
    if result["tau"] <= 0 or any(tau <= 0 for tau, _ in result["tau_path"]):
        message = f"τ of `{where}` must be positive"
        raise ShapeError(message)
    if result["evaluated_on"] not in PARTS:
        message = f"`{where}.evaluated_on` must be {' or '.join(PARTS)}"
        raise ShapeError(message)
    for name in ("chance", "log_n_classes"):
        if result.get("accuracy_lost") is not None and name not in result:
            message = f"`{where}.{name}` is missing"
            raise ShapeError(message)
    if any(row.get("alternative_class") is not None and row.get("margin") is None for row in result["per_class"]):
        message = f"`{where}` must have a margin for each alternative class"
        raise ShapeError(message)
    if not result["per_class"]:
        message = f"`{where}` must have classes"
        raise ShapeError(message)


def _details_of(path: Path) -> Sequence[Mapping[str, Any] | None]:
    """Return details with the samples back in their places; none if there are none, or none that can be read."""
    if not path.is_file():
        return []
    try:
        packed = read_json(path, DETAILS)
        for number, each in enumerate(packed["details"]):
            check_points(each, f"details[{number}]")
    except (FileDamagedError, ShapeError) as error:
        _log.warning("details of %s are left out: %s", path.parent, error)
        return []
    samples = packed["samples"]
    details = [None if each is None else dict(each) for each in packed["details"]]
    for one in filter(None, details):
        for side in ("target_samples", "reference_samples"):
            parts = one.get(side, {}).items()
            one[side] = {name: [samples[key] for key in keys if key in samples] for name, keys in parts}
    return details


def check_points(detail: Mapping[str, Any] | None, where: str) -> None:
    """Raise `ShapeError` unless there is a class for each point of a picture."""
    points = None if detail is None else detail.get("points")
    if points is None:
        return
    n_reference, n_target = len(points["reference_classes"]), len(points["target_classes"])
    lengths = (len(points["reference"]), len(points["after"]), len(points["before"]) or n_target)
    if lengths != (n_reference, n_target, n_target) or not 1 <= points["grid"] <= 10**6:
        message = f"`{where}.points` must have a class for each point; got {lengths} for {n_reference} and {n_target}"
        raise ShapeError(message)
