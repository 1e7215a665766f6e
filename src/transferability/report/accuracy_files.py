"""Accuracies that were measured after training, read from a file: a table, or what `validate --json` printed."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferability._schema import Shape, ShapeError, check_shape, read_json
from transferability.errors import DatasetError, FileDamagedError, NoSuchFileError, nearest_names, no_such_file
from transferability.report.ranges import check_layout

__all__ = ["SCHEMA_VERSION", "read_known", "read_measured", "without_match"]

SCHEMA_VERSION = 1  # of what `validate --json` prints and this version reads: `validation.result.SCHEMA_VERSION`
_ROUNDED = 1e-6  # an accuracy may differ from the mean of its runs
_OBSERVED = {
    "target": str,
    "encoder": str,
    "accuracy": float,
    "accuracies?": [float],
    "values": {str: float},
    "n_fit?": (int, None),
    "n_test?": (int, None),
}


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
    NoSuchFileError
        If the file is not there.
    DatasetError
        If a column is missing, or a row holds no accuracy between 0 and 1.
    FileDamagedError
        If a JSON file is none.
    """
    if path.suffix == ".json":
        rows: Sequence[Any] = _printed(path, {"observations": [object]}, may_lack_layout=True)["observations"]
    else:
        try:
            rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
        except FileNotFoundError as error:
            raise NoSuchFileError(no_such_file(path)) from error
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            message = f"`{path}` cannot be read ({error}). Give a CSV file of columns encoder, accuracy."
            raise DatasetError(message) from error
    found: dict[str, dict[str, float]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            encoder, target, accuracy = row["encoder"], row.get("target") or "", float(row["accuracy"])
            if not (0 <= accuracy <= 1 and isinstance(encoder, str) and isinstance(target, str)):
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            message = (
                f"row {number} of `{path}` must hold an encoder and its accuracy between 0 and 1; got {row!r:.200}. "
                "The first line names the columns: encoder,accuracy or target,encoder,accuracy."
            )
            raise DatasetError(message) from error
        found.setdefault(target, {})[encoder] = accuracy
    return found


def without_match(
    measured: Mapping[str, Mapping[str, float]], rankings: Sequence[Mapping[str, Any]], path: Path
) -> list[str]:
    """Say which accuracies are of no encoder that was ranked, with the nearest names.

    Targets that no ranking is of are passed over: one file may be for several folders.

    Parameters
    ----------
    measured : mapping
        What `read_measured` returned.
    rankings : sequence of mapping
        `Ranking.to_dict()` of each.
    path : Path
        For messages.

    Raises
    ------
    DatasetError
        If none of them is of an encoder that was ranked.
    """
    ranked: dict[str, set[str]] = {}  # by target, as the file names it
    for record in rankings:
        target = record["target"] if record["target"] in measured else ""
        ranked.setdefault(target, set()).update(each["encoder"] for each in record["ranking"])
    found: list[str] = []
    any_fits = False
    for target, names in ranked.items():
        for encoder in measured.get(target, {}):
            if encoder in names:
                any_fits = True
            else:
                found.append(f"encoder {encoder!r} was not ranked. {nearest_names(encoder, names)}")
    if not any_fits:
        first = found[0] if found else f"it names {', '.join(map(repr, measured)) or 'none'} as targets."
        message = f"`{path}` must hold accuracies of encoders and targets in this folder; {first}"
        raise DatasetError(message)
    return found


def read_known(path: Path) -> list[tuple[Any, ...]]:
    """Read what `transferability validate --json` printed: target, encoder, accuracy of the linear probe, fine-tuned.

    Behind them the rows that the two were measured on, where the file says them. Copies of a pair are read once.

    Raises
    ------
    NoSuchFileError
        If it is not there.
    DatasetError
        If nothing in it was fine-tuned, no linear probe was computed, an accuracy is none or not the mean of its runs,
        or two copies of a pair differ.
    FileDamagedError
        If it is no such file.
    """
    content = _printed(path, {"method": str, "observations": [_OBSERVED]})
    found: dict[tuple[str, str], tuple[Any, ...]] = {}
    places: dict[tuple[str, str], str] = {}
    for number, each in enumerate(content["observations"]):
        if content["method"] != "finetune" or "linear_probe" not in each["values"]:
            continue
        where = f"observations[{number}]"
        wrong = _wrong_numbers(each, where)
        pair = (each["target"], each["encoder"])
        said = (each["values"]["linear_probe"], each["accuracy"], *_rows_of(each))
        if not wrong and found.setdefault(pair, said) != said:
            wrong = (
                f"`{where}` must say of encoder {pair[1]!r:.200} on target {pair[0]!r:.200} what `{places[pair]}` says "
                f"of it: linear probe, accuracy and rows are {_listed(found[pair])} there, and {_listed(said)} here"
            )
        if wrong:
            message = f"in `{path}` {wrong}. Write it again, or correct it."
            raise DatasetError(message)
        places.setdefault(pair, where)
    if not found:
        message = f"`{path}` must hold fine-tuned accuracies and linear probes: write it with "
        raise DatasetError(message + "`transferability validate … --score linear_probe --json`.")
    return [(*pair, *said) for pair, said in found.items()]


def _printed(path: Path, shape: Shape, *, may_lack_layout: bool = False) -> dict[str, Any]:
    """Read what `validate --json` printed, in the layout that this version reads."""
    content = read_json(path)
    try:
        check_shape(content, {})
        if "schema" in content or not may_lack_layout:
            check_layout(content, SCHEMA_VERSION)
        check_shape(content, shape)
    except ShapeError as error:
        message = f"in `{path}` {error}. Write it again."
        raise FileDamagedError(message) from error
    return dict(content)


def _wrong_numbers(observed: Mapping[str, Any], where: str) -> str:
    """Say which number of an observation is none, or contradicts another; nothing where all are right."""
    accuracy, runs = observed["accuracy"], observed.get("accuracies")
    shares = {"accuracy": accuracy, "values.linear_probe": observed["values"]["linear_probe"]}
    shares |= {f"accuracies[{number}]": each for number, each in enumerate(runs or ())}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            return f"`{where}.{name}` must be between 0 and 1; got {share!r}"
    if runs is not None and not (runs and math.isclose(accuracy, sum(runs) / len(runs), abs_tol=_ROUNDED)):
        return f"`{where}.accuracy` must be the mean of its `accuracies`; got {accuracy!r} and {_listed(runs)}"
    for name in ("n_fit", "n_test"):
        if observed.get(name) is not None and observed[name] < 1:
            return f"`{where}.{name}` must be at least 1; got {observed[name]!r}"
    return ""


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{each:g}" for each in values[:9]) or "none"


def _rows_of(observation: Mapping[str, Any]) -> tuple[int, ...]:
    rows = observation.get("n_fit"), observation.get("n_test")
    return () if rows[0] is None or rows[1] is None else (rows[0], rows[1])
