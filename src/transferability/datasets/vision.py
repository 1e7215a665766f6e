"""Data through torchvision: `torchvision:NAME[:SPLIT]`, such as `torchvision:CIFAR10:test`."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferability.datasets._ids import NumberedRows
from transferability.datasets.base import Dataset, Item, number_labels
from transferability.errors import DatasetError, TransferabilityError, UnknownNameError, nearest_names, require_extra

__all__ = ["load_torchvision", "targets_of"]

_ROOT = "TRANSFERABILITY_DATA"


def load_torchvision(spec: str) -> Dataset:
    """Return one of torchvision's data sets of labelled pictures.

    Parameters
    ----------
    spec : str
        Name of the class in `torchvision.datasets`, and the split where it has several: what the class takes as
        `split` ("train", "test", "val", …), or "train" and "test" where it has a switch `train`.

    Raises
    ------
    UnknownNameError
        If torchvision has no such data set or it has no such split.
    DatasetError
        If it cannot be had, or does not give pictures with a class number each.

    Notes
    -----
    Files are looked for, and downloaded where torchvision can, in the folder that `TRANSFERABILITY_DATA` names, by
    default `torchvision` in the platform's cache folder. The fingerprint is made of decoded pixels, because these data
    sets do not say which bytes a row comes from.
    """
    name, _, split = spec.partition(":")
    library = require_extra("torchvision.datasets", "torchvision", f"data 'torchvision:{spec}'")
    known = [each for each in library.__all__ if inspect.isclass(getattr(library, each))]
    if name not in known:
        message = f"torchvision has no data set {name!r}. {nearest_names(name, known)}"
        raise UnknownNameError(message.rstrip())
    kind = getattr(library, name)
    options = _options(kind, name, split)
    try:
        with redirect_stdout(sys.stderr):  # torchvision announces its downloads where data belong
            data = _open(kind, options)
        first, _ = data[0]
        targets = targets_of(data)
    except TransferabilityError:
        raise
    except Exception as error:  # every data set has its own
        reason = " ".join(str(error).split())[:300].rstrip(".")
        message = f"data 'torchvision:{spec}' cannot be loaded: {reason}. Put its files into "
        message += f"{options.get('root', 'place')}, or set {_ROOT} to the folder that holds them."
        raise DatasetError(message) from error
    classes = getattr(data, "classes", None)
    from PIL import Image

    if not isinstance(first, Image.Image) or not all(isinstance(each, (int, np.integer)) for each in targets):
        message = f"data 'torchvision:{spec}' must give pictures with a class number each; the first row is a "
        message += f"{type(first).__name__} with a {type(targets[0]).__name__}. Choose another data set."
        raise DatasetError(message)
    names = [str(each) for each in classes] if isinstance(classes, list) else None
    labels, class_names = number_labels(np.array(targets), f"torchvision:{spec}", names)
    reader = _Rows(data)
    return Dataset(
        name=f"{name}_{split}" if split else name,
        modality="image",
        all_ids=NumberedRows(np.arange(len(data))),
        read=reader.read,
        content=reader.content,
        all_labels=labels,
        class_names=tuple(class_names),
    )


@dataclass(frozen=True)
class _Rows:
    data: Any

    def read(self, row: int) -> Item:
        from transferability.datasets.images import as_rgb

        return as_rgb(self.data[row][0])

    def content(self, row: int) -> bytes:
        picture = self.read(row)
        return b"".join((str(picture.size).encode(), picture.tobytes()))


def _options(kind: Any, name: str, split: str) -> dict[str, Any]:
    """Return the arguments that choose split and folder, however this data set calls them."""
    takes = inspect.signature(kind).parameters
    options: dict[str, Any] = {}
    if "root" in takes:
        options["root"] = _root()
    if "split" in takes:
        if split:
            options["split"] = split
        elif takes["split"].default is inspect.Parameter.empty:
            message = f"data 'torchvision:{name}' have several splits. Choose one, such as torchvision:{name}:train."
            raise UnknownNameError(message)
    elif "train" in takes:
        if split not in ("", "train", "test"):
            message = f"torchvision's {name} has no split {split!r}. {nearest_names(split, ('train', 'test'))}"
            raise UnknownNameError(message)
        options["train"] = split != "test"
    elif split:
        message = f"torchvision's {name} has no splits; got {split!r}. Write torchvision:{name}."
        raise UnknownNameError(message)
    return options


def _open(kind: Any, options: dict[str, Any]) -> Any:
    try:
        return kind(**options)
    except RuntimeError:  # it is not there yet
        if "download" not in inspect.signature(kind).parameters:
            raise
        Path(options["root"]).mkdir(parents=True, exist_ok=True)
        return kind(**options, download=True)


def targets_of(data: Any) -> list[Any]:
    """Return the class numbers, without decoding pictures where the data set has them ready."""
    for attribute in ("targets", "labels", "_labels", "y"):
        found = getattr(data, attribute, None)
        if found is not None and len(found) == len(data):
            return list(found.tolist() if hasattr(found, "tolist") else found)
    for attribute in ("_samples", "samples"):
        found = getattr(data, attribute, None)
        if found is not None and len(found) == len(data):
            return [label for _, label in found]
    return [data[row][1] for row in range(len(data))]


def _root() -> str:
    import platformdirs

    chosen = os.environ.get(_ROOT)
    return str(Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("transferability") / "torchvision")
