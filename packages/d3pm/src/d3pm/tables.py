"""Local Hugging Face datasets: a folder that `save_to_disk` wrote, or a .parquet file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from d3pm.config import DataConfig
from d3pm.errors import DataError, require_extra

__all__ = ["Rows", "is_table", "read_table"]

USUAL = {"image": ("image", "img", "picture"), "text": ("text", "sentence", "content")}


@dataclass(frozen=True)
class Rows:
    """One split.

    Attributes
    ----------
    items : list
        Texts or PIL pictures.
    labels : int64 array of shape (n,) or None
    classes : tuple of str
        Their names, where the dataset has them.
    """

    items: list[Any]
    labels: np.ndarray | None
    classes: tuple[str, ...] = ()

    def names(self, other: Rows | None) -> list[str]:
        """Return what to call each item of both splits in messages."""
        return [f"row {i}" for i in (*range(len(self.items)), *range(len(other.items) if other else 0))]


def is_table(path: Path) -> bool:
    """Return whether there is a saved dataset at the path."""
    return path.suffix == ".parquet" or any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_table(path: Path, config: DataConfig, modality: Literal["image", "text"]) -> tuple[Rows, Rows | None]:
    """Return the rows to train on and, where the dataset has such a split, those to test on.

    Raises
    ------
    DataError
        If it cannot be read, or the column to use is not plain.
    """
    datasets = require_extra("datasets", "datasets", "reading Hugging Face datasets")
    try:
        loaded = datasets.Dataset.from_parquet(str(path), keep_in_memory=True) if path.is_file() else None
        loaded = datasets.load_from_disk(str(path)) if loaded is None else loaded
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        message = f"`path` must hold a dataset that save_to_disk wrote, or be a .parquet file; {path}: {error}."
        raise DataError(message) from error
    if not isinstance(loaded, dict):
        return _rows(loaded, path, config, modality), None
    train = next((loaded[name] for name in ("train", *loaded) if name in loaded), None)
    test = next((loaded[name] for name in ("test", "validation") if name in loaded), None)
    if train is None or train is test:
        message = f"`path` must hold a split `train`; {path} has {sorted(loaded)}."
        raise DataError(message)
    return _rows(train, path, config, modality), None if test is None else _rows(test, path, config, modality)


def _rows(split: Any, path: Path, config: DataConfig, modality: Literal["image", "text"]) -> Rows:
    column = config.column or _only_column(split, path, modality)
    label = config.label_column or ("label" if "label" in split.column_names else "")
    for name in filter(None, (column, label)):
        if name not in split.column_names:
            message = f"`column` must be a column of {path}: {', '.join(split.column_names)}; got {name!r}."
            raise DataError(message)
    items = list(split[column])
    wanted = str if modality == "text" else None
    bad = next((i for i, item in enumerate(items) if not _is(item, wanted)), None)
    if bad is not None:
        message = (
            f"`column` must hold {modality}s; row {bad} of {column!r} in {path} holds {type(items[bad]).__name__}."
        )
        raise DataError(message)
    labels = None
    if label:
        labels = np.asarray(split[label])
        if labels.dtype.kind not in "iu" or (len(labels) and int(labels.min()) < 0):
            message = f"`label_column` must hold whole numbers from 0; {label!r} in {path} holds {labels.dtype}."
            raise DataError(message)
    classes = tuple(getattr(split.features[label], "names", None) or ()) if label else ()
    return Rows(items, None if labels is None else labels.astype(np.int64), classes)


def _is(item: Any, wanted: type | None) -> bool:
    return isinstance(item, wanted) if wanted is not None else hasattr(item, "convert")


def _only_column(split: Any, path: Path, modality: Literal["image", "text"]) -> str:
    usual = [name for name in USUAL[modality] if name in split.column_names]
    if usual:
        return str(usual[0])
    kind = "Image" if modality == "image" else "Value"
    fit = [
        name
        for name, feature in split.features.items()
        if type(feature).__name__ == kind and (modality == "image" or feature.dtype in ("string", "large_string"))
    ]
    if len(fit) != 1:
        message = f"`column` must say which column holds the {modality}s; {path} has {', '.join(split.column_names)}."
        raise DataError(message)
    return str(fit[0])
