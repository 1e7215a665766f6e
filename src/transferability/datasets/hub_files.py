"""Folders for the datasets library name their files themselves: only files of their own are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from transferability.errors import DatasetError, FileDamagedError

__all__ = ["require_own_files", "require_own_state"]


def require_own_files(folder: Path, data_files: Mapping[str, Iterable[str]]) -> None:
    """Raise `DatasetError` if the `data_files` of a dataset folder lead out of it, or are no plain files.

    Parameters
    ----------
    folder : Path
        The folder, whose README may list files anywhere.
    data_files : mapping
        Of each split, the files that the library found, as paths or addresses.
    """
    for split, files in data_files.items():
        for name in files:
            _require_own(folder, Path(str(name)), f"`data_files` of split {split!r}", str(name))


def require_own_state(folder: Path) -> None:
    """Raise `DatasetError` if what `save_to_disk` left, or somebody made of it, names files outside the folder."""
    for state in sorted(folder.glob("**/state.json")):
        try:
            files = json.loads(state.read_text("utf-8")).get("_data_files", [])
            names = [entry["filename"] for entry in files]
        except (ValueError, OSError, AttributeError, TypeError, KeyError, RecursionError) as error:
            message = f"file {state} is not what `save_to_disk` writes: {type(error).__name__}: {error!s:.200}. "
            raise FileDamagedError(message + "Save the data set again.") from error
        for name in names:
            _require_own(folder, state.parent / str(name), f"files of {state}", str(name))


def _require_own(folder: Path, path: Path, what: str, name: str) -> None:
    if "://" in name or not path.resolve().is_relative_to(folder.resolve()):
        message = f"{what} must lie in {folder}; got {name!r:.200}. Copy the file into the folder."
        raise DatasetError(message)
    if not path.is_file():
        message = (
            f"{what} must be files; {name!r:.200} is {'a folder, a pipe or a device' if path.exists() else 'none'}."
        )
        raise DatasetError(message)
