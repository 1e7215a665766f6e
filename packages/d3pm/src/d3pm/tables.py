"""Local Hugging Face datasets: a folder that `save_to_disk` wrote, or a .parquet file."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from d3pm.config import DataConfig
from d3pm.errors import DataError, LabelsWarning, require_extra
from d3pm.label_columns import numbered_classes
from d3pm.spec import match_classes

__all__ = ["Rows", "is_table", "read_table", "read_whole_table"]

USUAL = {"image": ("image", "img", "picture"), "text": ("text", "sentence", "content")}
# How words in the names of splits that are not trained on begin or read; the first is preferred as the test part.
HELD_OUT = ("test.*", "valid.*", "val", "dev", "development", "eval.*", "holdout", "heldout")
REMEDY = "Leave such rows out, name another column (data.label_column), or set data.conditional=false."
Modality = Literal["image", "text"]


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


def is_table(path: Path) -> bool:
    """Return whether there is a saved dataset at the path."""
    return path.suffix == ".parquet" or any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_table(
    path: Path, config: DataConfig, modality: Modality, say_unlabelled: bool = False
) -> tuple[Rows, Rows | None]:
    """Return the rows to train on and, where the dataset has such a split, those to test on.

    Trained on is the split `train`, or the only one whose name is not that of a test part; tested on `test`, else
    `validation` and the like, of a conditional model the first of them with labels. Labels are checked where the net
    is told of them (`config.conditional`); elsewhere those that are no classes are left out, which `say_unlabelled`
    says.

    Raises
    ------
    DataError
        If it cannot be read, has no such split, or the column to use is not plain.
    """
    splits = _splits(path)
    if len(splits) == 1 and "" in splits:
        return _rows(splits[""], path, config, modality, say_unlabelled), None
    train, held_out = _roles(list(splits), path)
    rows = _rows(splits[train], f"{path}, split {train!r}", config, modality, say_unlabelled)
    test = None
    for name in held_out:
        part = _rows(splits[name], f"{path}, split {name!r}", config, modality, say_unlabelled)
        test = part if test is None or part.labels is not None else test
        if test.labels is not None or not config.conditional:
            break
    if test is None:
        return rows, None
    rows, test = _of_one_naming([rows, test])
    return rows, test


def read_whole_table(path: Path, config: DataConfig, modality: Modality, say_unlabelled: bool = True) -> Rows:
    """Return the rows of all splits, one after the other, with labels if all have them."""
    splits = _splits(path)
    parts = [
        _rows(split, f"{path}, split {name!r}" if name else path, config, modality, say_unlabelled)
        for name, split in splits.items()
    ]
    parts = _of_one_naming(parts)
    items = [item for part in parts for item in part.items]
    labels = [part.labels for part in parts if part.labels is not None]
    if len(labels) == len(parts):
        return Rows(items, np.concatenate(labels), parts[-1].classes)
    if labels and say_unlabelled:
        bare = [name for name, part in zip(splits, parts, strict=True) if part.labels is None]
        message = f"No labels are kept of {path}: {', '.join(bare)} has none. A part may have them: --part train."
        warnings.warn(message, LabelsWarning, stacklevel=2)
    return Rows(items, None)


def _splits(path: Path) -> dict[str, Any]:
    """Return the splits of a dataset by name; of one without splits all of it, without name."""
    datasets = require_extra("datasets", "datasets", "reading Hugging Face datasets")
    try:
        loaded = datasets.Dataset.from_parquet(str(path), keep_in_memory=True) if path.is_file() else None
        loaded = datasets.load_from_disk(str(path)) if loaded is None else loaded
    except (OSError, ValueError, LookupError, datasets.exceptions.DatasetsError) as error:  # IndexError of no rows
        message = f"`path` must hold a dataset that save_to_disk wrote, or be a .parquet file; {path}: {error}."
        raise DataError(message) from error
    return dict(loaded) if isinstance(loaded, dict) else {"": loaded}


def _roles(names: list[str], path: Path) -> tuple[str, list[str]]:
    """Return the split to train on, and those to test on, the preferred one first."""
    ranks = {name: rank for name in names if (rank := _rank(name)) is not None}
    held_out = sorted(ranks, key=lambda name: (ranks[name], names.index(name)))
    others = [name for name in names if name not in ranks]
    if "train" in names or len(others) == 1:
        return "train" if "train" in names else others[0], held_out
    message = (
        f"`path` must hold a split `train`, or one alone that is not named like a test part; {path} has "
        f"{', '.join(names)}. Save the one to train on by itself: dataset[NAME].save_to_disk(FOLDER)."
    )
    raise DataError(message)


def _rank(name: str) -> int | None:
    """Return the place among names of test parts: "validation_matched", "test2017"; None of another name."""
    words = re.findall("[a-z]+", name.lower())
    if "train" in words:
        return None
    places = [i for i, pattern in enumerate(HELD_OUT) for word in words if re.fullmatch(pattern, word)]
    return 2 * min(places) + (len(words) > 1) if places else None  # "test" before "test_matched"


def _rows(split: Any, where: object, config: DataConfig, modality: Modality, say_unlabelled: bool) -> Rows:
    column = config.column or _only_column(split, where, modality)
    label = config.label_column or ("label" if "label" in split.column_names else "")
    for name in filter(None, (column, label)):
        if name not in split.column_names:
            message = f"`column` must be a column of {where}: {', '.join(split.column_names)}; got {name!r}."
            raise DataError(message)
    items = list(split[column])
    wanted = str if modality == "text" else None
    bad = next((i for i, item in enumerate(items) if not _is(item, wanted)), None)
    if bad is not None:
        message = (
            f"`column` must hold {modality}s; row {bad} of {column!r} in {where} holds {type(items[bad]).__name__}."
        )
        raise DataError(message)
    return Rows(items, *(_labels(split, label, where, config.conditional, say_unlabelled) if label else (None, ())))


def _labels(
    split: Any, label: str, where: object, strict: bool, say_unlabelled: bool
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return labels and names of classes; nothing where they are none and need not be."""
    try:
        names = getattr(split.features[label], "names", None) or ()
        found = numbered_classes(split[label], names, label, str(where))
    except DataError as error:
        if strict:
            message = f"{error} {REMEDY}"
            raise DataError(message) from error
        if say_unlabelled:
            warnings.warn(f"No labels are kept. {error}", LabelsWarning, stacklevel=2)
        return None, ()
    return (None, ()) if found is None else found


def _of_one_naming(parts: list[Rows]) -> list[Rows]:
    """Return splits whose labels are the numbers of the first one's names, and of those that others add."""
    classes, named = parts[0].classes, []
    for part in parts:
        occurring = [] if part.labels is None or not part.classes else np.unique(part.labels).tolist()
        new = [part.classes[i] for i in occurring if part.classes[i] not in classes]
        classes = (*classes, *new) if classes else ()
        named.append(replace(part, labels=match_classes(part.labels, part.classes, classes)))
    return [replace(part, classes=classes) for part in named]


def _is(item: Any, wanted: type | None) -> bool:
    return isinstance(item, wanted) if wanted is not None else hasattr(item, "convert")


def _only_column(split: Any, where: object, modality: Modality) -> str:
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
        message = f"`column` must say which column holds the {modality}s; {where} has {', '.join(split.column_names)}."
        raise DataError(message)
    return str(fit[0])
