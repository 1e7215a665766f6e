"""Data through the datasets library: `hf:NAME[@REV][:SPLIT][?config=NAME&streaming][#COLUMNS]`, and local files.

The library finds, fetches and keeps the data, memory-mapped; here it is decided which columns are meant. They are
found by their types, or named behind the '#' as for tables (`tables.py`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from transferability._hub import is_no_name, offline_where_it_does_not_answer, refusal
from transferability._identifiers import split_fragment
from transferability.datasets.base import Dataset
from transferability.datasets.column_roles import ROLES, Roles, parse_roles
from transferability.datasets.columns import from_columns
from transferability.datasets.csv_file import csv_line, header_of, read_csv
from transferability.datasets.hub_files import require_own_files, require_own_state, require_uncast_metadata
from transferability.datasets.hub_table import LABELS, HubTable, find_roles
from transferability.datasets.json_file import json_line, read_json
from transferability.errors import (
    DatasetError,
    DatasetNameError,
    NoSuchFileError,
    OptionError,
    TransferabilityError,
    nearest_names,
    no_such_file,
    require_extra,
)

__all__ = ["load_hub", "rows_as_data"]

_FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}
_SHUFFLE_BUFFER = 10_000  # rows held while a stream is shuffled: hub data are often sorted by class


@dataclass(frozen=True)
class _Source:
    """What an identifier says."""

    name: str
    revision: str | None
    split: str
    config: str | None
    streaming: bool
    roles: Roles

    @property
    def path(self) -> Path:
        return Path(self.name).expanduser()

    @property
    def short(self) -> str:
        """Name fit for a table and a file."""
        stem = self.path.resolve().stem if self.path.exists() else self.name.rpartition("/")[2]
        parts = [stem, self.config, re.sub(r"[^\w.-]+", "-", self.split)]
        return "_".join(part for part in parts if part)


def load_hub(spec: str, limit: int | None = None, seed: int = 0) -> Dataset:
    """Return a split of a data set on the hub, of a folder that `save_to_disk` left, or of data files.

    Parameters
    ----------
    spec : str
        `NAME`, `NAME@REV`, a folder (`save_to_disk`'s, or one with data files or pictures) or a file (.parquet, .csv,
        .tsv, .json, .jsonl, .arrow); then perhaps `:SPLIT` (`:train`, on the hub also `:train[:10%]`), needed where
        there are several; `?config=NAME`, where a data set has several configurations; `?streaming`, for data larger
        than the disk; `#COLUMNS`.
    limit, seed : int
        For streams only: so many rows, after shuffling by this seed, are taken and kept in memory; their ids are
        their places in the shuffled stream. A stream cannot be sampled by class.

    Raises
    ------
    DatasetError
        If the data cannot be had, if there are several splits, or if it cannot be told which columns are meant.
    LabelError
        If a row's label or target cannot be used.
    OptionError
        For a stream without a limit.

    Notes
    -----
    Labels are numbered among the classes that occur in the split, in the order that the data give them.
    """
    library = require_extra("datasets", "datasets", f"data 'hf:{spec}'")
    source = _parse(spec)
    if source.streaming and limit is None:
        message = f"`limit` must be given for a stream, hf:{spec}: so many rows are taken from it."
        raise OptionError(message)
    try:
        on_disk = source.path.exists()
        with _quietly(library), nullcontext() if on_disk else offline_where_it_does_not_answer():
            found = _rows(library, source, limit, seed)
    except TransferabilityError:
        raise
    except Exception as error:  # the library's own, the network's, and those of every file format
        refused = None if source.path.exists() else refusal(error)
        if refused is not None:
            message = f"data 'hf:{spec}' cannot be loaded: {refused}"
            raise (DatasetNameError if is_no_name(error) else DatasetError)(message) from error
        reason = " ".join(str(error).split())[:300].rstrip(".")
        message = (
            f"data 'hf:{spec}' cannot be loaded: {reason}. If they must be downloaded, check name, configuration, "
        )
        message += "split and the network; without a network, fetch them elsewhere and carry HF_HOME over."
        raise DatasetError(message) from error
    named = f"hf:{source.name}{':' if source.split else ''}{source.split}"
    folder = source.path.parent if source.path.is_file() else source.path
    allowed = (folder,) if source.path.exists() else _caches(library)
    return _dataset(library, found, source.roles, _Place(source.short, named, folder, allowed, _line_of(source)))


def _parse(spec: str) -> _Source:
    fragment = split_fragment(spec)[1]
    text = spec.removesuffix(f"#{fragment}") if fragment else spec
    roles, part = parse_roles(fragment, "hf:NAME:SPLIT")
    text, _, query = text.partition("?")
    options: dict[str, str] = {}
    for option in filter(None, query.split("&")):
        key, _, value = option.partition("=")
        if key not in ("config", "streaming"):
            message = f"hf:NAME takes the options ?config=NAME and ?streaming; got {option!r}. "
            message += nearest_names(key, ("config", "streaming"))
            raise DatasetNameError(message)
        options[key] = value
    split = ""
    if not Path(text).expanduser().exists():  # a name, or something with a split behind it
        match = re.fullmatch(r"(.+?):([A-Za-z_][^:\[\]]*(?:\[[^\]]*\])?)", text)
        text, split = match.groups() if match else (text, "")
    name, _, revision = text.partition("@") if not Path(text).expanduser().exists() else (text, "", "")
    if part:
        message = f"the split is chosen as hf:{name}:{part}; got '#{part}'."
        raise DatasetNameError(message)
    return _Source(name, revision or None, split, options.get("config"), "streaming" in options, roles)


def _rows(library: Any, source: _Source, limit: int | None, seed: int) -> Any:
    """Return the rows of one split, pictures as the bytes they are; of a stream, those that are kept."""
    found = _open(library, source)
    if hasattr(found, "keys"):  # one entry per split
        found = _only_split(found, source)
    found = _undecoded(library, found)
    if source.streaming:
        kept = list(found.shuffle(seed=seed, buffer_size=_SHUFFLE_BUFFER).take(limit))
        found = library.Dataset.from_list(kept, features=found.features)
    return found


def _open(library: Any, source: _Source) -> Any:
    """Return a data set, or all its splits."""
    path = source.path
    options: dict[str, Any] = {"split": source.split or None, "streaming": source.streaming}
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        require_own_state(path)
        saved = library.load_from_disk(str(path))
        if source.split and hasattr(saved, "keys"):
            if source.split not in saved:
                message = f"{path} has no split {source.split!r}. {nearest_names(source.split, saved)}"
                raise DatasetNameError(message)
            saved = saved[source.split]
        return saved.to_iterable_dataset() if source.streaming and not hasattr(saved, "keys") else saved
    if path.is_file():
        if path.suffix.lower() not in _FORMATS:
            message = f"{path} must be one of {', '.join(sorted(_FORMATS))}."
            raise DatasetNameError(message)
        kind = _FORMATS[path.suffix.lower()]
        if kind in ("csv", "json") and not source.streaming:  # in memory, because the library would cast texts
            table = read_csv(path)[0] if kind == "csv" else read_json(path)
            return _part(library, library.Dataset(library.table.InMemoryTable(table)), source)
        if kind == "csv":
            options |= _as_texts(path)
        return library.load_dataset(kind, data_files=str(path), **options)
    if path.is_dir():
        builder = library.load_dataset_builder(str(path), source.config)
        require_own_files(path, builder.config.data_files or {})
        require_uncast_metadata(path)
        if hasattr(builder.config, "converters"):
            options |= _as_texts(Path(str(next(iter(builder.config.data_files.values()))[0])))
        return library.load_dataset(str(path), source.config, **options)
    if source.name.startswith((".", "/", "~")) or source.name.count("/") > 1:  # hub names have at most one slash
        raise NoSuchFileError(no_such_file(path, "file or folder"))
    builder = library.load_dataset_builder(source.name, source.config, revision=source.revision)
    if hasattr(builder.config, "converters"):  # a CSV file elsewhere: its header is not known
        columns = [part for role in ROLES for name in getattr(source.roles, role) for part in (name, *name.split("+"))]
        options["converters"] = dict.fromkeys([*LABELS, "text", "image", *columns], str)
    return library.load_dataset(source.name, source.config, revision=source.revision, **options)


def _part(library: Any, rows: Any, source: _Source) -> Any:
    """Return the rows of a file that a split asks for: its only one is "train", or a part of it, "train[:10%]"."""
    if source.split in ("", "train"):
        return rows
    (part,) = library.ReadInstruction.from_spec(source.split).to_absolute({"train": len(rows)})
    return rows.select(range(part.from_ or 0, len(rows) if part.to is None else part.to))


def _line_of(source: _Source) -> Callable[[int], int | None] | None:
    """Return what tells the line of a row, of text files that are read as they are."""
    find = {"csv": csv_line, "json": json_line}.get(_FORMATS.get(source.path.suffix.lower(), ""))
    whole = source.path.is_file() and not source.streaming and source.split in ("", "train")
    return partial(find, source.path) if find is not None and whole else None


def _as_texts(path: Path) -> dict[str, Any]:
    """Return options by which CSV files like this one stay texts: pandas would make 1 of "01", and nothing of "NA"."""
    separator, columns = header_of(path)
    return {"sep": separator, "converters": dict.fromkeys(columns, str), "keep_default_na": False}


def _only_split(found: Any, source: _Source) -> Any:
    names = list(found)
    if len(names) > 1:
        choices = ", ".join(f"hf:{source.name}:{name}" for name in names)
        message = f"data 'hf:{source.name}' have several splits. Choose one: {choices}."
        raise DatasetNameError(message)
    return found[names[0]]


def rows_as_data(rows: Any, name: str, roles: Roles) -> Dataset:
    """Return the data set of a `datasets.Dataset` in memory; its pictures may lie wherever it says.

    Raises
    ------
    DatasetError, LabelError
        As `load_hub`.
    """
    library = require_extra("datasets", "datasets", f"data {name!r}")
    rows = _undecoded(library, rows.with_format(None))
    return _dataset(library, rows, roles, _Place(name, f"data {name!r}", Path(), (Path("/"),)))


class _Place(NamedTuple):
    """What data are called, in tables and in messages, and where their pictures lie."""

    name: str
    named: str
    folder: Path
    allowed: tuple[Path, ...]
    line: Callable[[int], int | None] | None = None


def _undecoded(library: Any, rows: Any) -> Any:
    for column, kind in (rows.features or {}).items():
        if isinstance(kind, library.Image):
            rows = rows.cast_column(column, library.Image(decode=False))
    return rows


def _dataset(library: Any, rows: Any, asked: Roles, place: _Place) -> Dataset:
    roles = find_roles(library, rows, asked, place.named)
    table = HubTable(place.named, place.folder, rows, place.allowed, place.line)
    notes: tuple[str, ...] = ()
    if roles.label and not asked.label and table.kind(roles.label[0]) == "numbers":
        column = roles.label[0]
        if not all(value is None or float(value).is_integer() for value in table.values(column)):
            roles = replace(roles, label=(), target=(column,))
            notes = (f"column {column!r} holds fractions: they are numbers to predict (target), not classes.",)
    return from_columns(place.name, table, roles, notes)


def _caches(library: Any) -> tuple[Path, ...]:
    """Return where the library keeps what it fetched."""
    from huggingface_hub import constants

    config = library.config
    places = config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE
    return tuple(Path(place) for place in places)


@contextmanager
def _quietly(library: Any) -> Iterator[None]:
    """Keep the libraries from writing to the terminal; what goes wrong is told once, in our sentence."""
    from huggingface_hub.utils import logging as hub_logging

    loggers = library.utils.logging, hub_logging
    verbosity, shown = [each.get_verbosity() for each in loggers], library.is_progress_bar_enabled()
    for each in loggers:
        each.set_verbosity(logging.CRITICAL)
    library.disable_progress_bars()
    try:
        yield
    finally:
        for each, level in zip(loggers, verbosity, strict=True):
            each.set_verbosity(level)
        if shown:
            library.enable_progress_bars()
