"""The folder of results: what an earlier run left there is removed, and a README says what each file is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from transferability._schema import read_json
from transferability._writing import output_errors, write_through_temporary
from transferability.errors import FileDamagedError
from transferability.report.entry_keys import ENTRY_KEYS

__all__ = ["holds_finished_results", "remove_old_parts", "remove_stale", "write_readme"]

_OURS = re.compile(
    r"ranking\.json|relate\.json|(ranking|relate)\.details\.json|report\.(html|md)|transform-\d+\.safetensors"
)
_PART = re.compile(r"\d\d+-.+")
_FIRST_LINE = "# Results of transferability"
_FILES = (
    ("report.html", "the report: one self-contained page, for a browser"),
    ("report.md", "the same tables as text"),
    ("ranking.json", "all numbers of the ranking; `fields` says what the columns of an entry mean, and below the rest"),
    ("relate.json", "all numbers of the relations"),
    ("ranking.details.json", "points and samples that the report draws"),
    ("relate.details.json", "points and samples that the report draws"),
    ("finetuned.sqlite", "what fine-tuning the first encoders gave; work in it is not repeated"),
    (
        "transform-1.safetensors",
        "map, matching and classifier of the first encoder, and so on: "
        "`transferability.relatedness.results.transform.Transform.load`",
    ),
)


def holds_finished_results(folder: Path) -> bool:
    """Tell whether a folder has results that an interrupted run must not replace: any but those of another such run."""
    if (folder / "relate.json").exists():
        return True
    path = folder / "ranking.json"
    if not path.exists():
        return False
    try:
        return not read_json(path, {"made": {"interrupted": object}})["made"]["interrupted"]
    except FileDamagedError:
        return True


_LATER = ("transform-1.safetensors",)


def remove_stale(folder: Path, written: Iterable[Path] = ()) -> None:
    """Remove what an earlier run wrote into a folder and this one did not; other files stay.

    Raises
    ------
    OutputError
        If a file cannot be removed.
    """
    kept = {path.name for path in written}
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if _OURS.fullmatch(path.name) and path.name not in kept and path.is_file():
            with output_errors(path):
                path.unlink()


def remove_old_parts(folder: Path, written: Iterable[str]) -> None:
    """Remove the folders of targets that an earlier study wrote, where they hold nothing else.

    Raises
    ------
    OutputError
        If a file cannot be removed.
    """
    kept = set(written)
    if not folder.is_dir():
        return
    for part in sorted(folder.iterdir()):
        if part.is_dir() and _PART.fullmatch(part.name) and part.name not in kept and (part / "ranking.json").is_file():
            remove_stale(part)
            if _is_ours(part / "README.md"):
                with output_errors(part):
                    (part / "README.md").unlink()
            with suppress(OSError):  # somebody else's files are there
                part.rmdir()


def write_readme(folder: Path, said: str = "") -> None:
    """Write a README that says what each file of a folder is, and `said`; one that somebody else wrote stays."""
    path = folder / "README.md"
    if path.exists() and not _is_ours(path):
        return
    transforms = (folder / "ranking.json").is_file()  # which are written after this
    there = [(name, what) for name, what in _FILES if (folder / name).is_file() or (name in _LATER and transforms)]
    lines = [f"- `{name}`: {what}" for name, what in there]
    parts = sorted(each.name for each in folder.iterdir() if _PART.fullmatch(each.name) and each.is_dir())
    lines += [f"- `{parts[0]}/`: one folder for each target, with the same files"] if parts else []
    again = "`transferability report FOLDER` writes the report anew from the JSON files."
    keys = [f"- `{name}`: {meaning}" for name, meaning in ENTRY_KEYS.items()] if transforms else []
    keys = ["", "Keys of an entry of `ranking.json` that are no columns:", "", *keys] if keys else []
    text = "\n".join([_FIRST_LINE, "", *lines, "", *([said, ""] if said else []), again, *keys, ""])
    write_through_temporary(path, text.encode("utf-8"))


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text("utf-8").startswith(_FIRST_LINE)
    except (OSError, UnicodeDecodeError):
        return False
