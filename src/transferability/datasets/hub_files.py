"""Folders for the datasets library name their files themselves: only files of their own are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from transferability.datasets.csv_file import read_csv
from transferability.errors import DatasetError, FileDamagedError

__all__ = ["require_own_files", "require_own_state", "require_uncast_metadata"]

_MISSING = frozenset({"NA", "N/A", "#N/A", "nan", "NaN", "null", "NULL", "None", "n/a", "<NA>"})


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


def require_uncast_metadata(folder: Path) -> None:
    """Raise `DatasetError` if a `metadata.csv` beside pictures has texts that the library would make numbers of.

    It reads these files by pandas, which makes 1 of "01" and nothing of "NA", and takes no option.
    """
    for path in sorted(folder.glob("**/metadata.csv")):
        table, _ = read_csv(path)
        for column in table.column_names:
            values = {value for value in table[column].to_pylist() if value}
            numbers = {value for value in values if _is_number(value)}
            cast = {value for value in numbers if value not in (_plain(value), "0")}
            if numbers and (numbers == values or values - numbers <= _MISSING) and cast | (values - numbers):
                example = min(cast | (values - numbers))
                message = (
                    f"column {column!r} of {path} holds {example!r:.100}, of which the datasets library would make "
                )
                message += f"a number or nothing. Read the file itself: csv:{path}#image=file_name,label={column}."
                raise DatasetError(message)


def _is_number(text: str) -> bool:
    try:
        return bool(float(text) == float(text)) and "_" not in text
    except ValueError:
        return False


def _plain(text: str) -> str:
    """Return a number as it is written without ornaments; of a fraction any way to write it will do."""
    number = float(text)
    return str(int(number)) if number.is_integer() and "." not in text and "e" not in text.lower() else text


def _require_own(folder: Path, path: Path, what: str, name: str) -> None:
    if "://" in name or not path.resolve().is_relative_to(folder.resolve()):
        message = f"{what} must lie in {folder}; got {name!r:.200}. Copy the file into the folder."
        raise DatasetError(message)
    if not path.is_file():
        message = (
            f"{what} must be files; {name!r:.200} is {'a folder, a pipe or a device' if path.exists() else 'none'}."
        )
        raise DatasetError(message)
