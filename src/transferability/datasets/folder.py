"""Folders of pictures: one folder per class, or one folder of pictures without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transferability.datasets.base import Dataset
from transferability.datasets.pictures import open_picture
from transferability.errors import DatasetError

__all__ = ["PICTURE_SUFFIXES", "load_folder"]

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def load_folder(spec: str) -> Dataset:
    """Return the pictures under a folder, in sorted order.

    Each folder in it is a class, numbered by sorted name, with its pictures at any depth; hidden files and files that
    are not pictures by their suffix are passed over. A folder that holds pictures only, and no folders, is a data set
    without labels. Row ids are paths within the folder.

    Raises
    ------
    DatasetError
        If there is no such folder, if it holds no pictures, if a class folder is empty, or if pictures lie beside
        class folders.
    """
    root = Path(spec).expanduser()
    if not root.is_dir():
        message = f"{root} is a file, not a folder." if root.exists() else f"there is no folder {root}."
        raise DatasetError(message)
    loose = [path for path in _visible(root) if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES]
    classes = [path for path in _visible(root) if path.is_dir()]
    if loose and classes:
        message = f"folder {root} must hold class folders or pictures; got both ({loose[0].name!r} beside "
        message += f"{classes[0].name!r}). Move the pictures into class folders."
        raise DatasetError(message)
    if not loose and not classes:
        message = f"folder {root} must hold pictures or one folder of pictures per class; it holds neither."
        raise DatasetError(message)

    paths, labels = loose, []
    for number, folder in enumerate(classes):
        found = _pictures_below(folder)
        if not found:
            message = f"class folder {folder} holds no picture. Remove it, or add pictures of that class."
            raise DatasetError(message)
        paths += found
        labels += [number] * len(found)
    return Dataset(
        name=root.resolve().name,
        modality="image",
        all_ids=np.array([path.relative_to(root).as_posix() for path in paths], dtype=np.str_),
        read=lambda row: open_picture(paths[row], str(paths[row])),
        content=lambda row: paths[row].read_bytes(),
        all_labels=np.array(labels, dtype=np.int64) if classes else None,
        class_names=tuple(folder.name for folder in classes) if classes else None,
    )


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _pictures_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in _visible(folder):
        if path.is_dir():
            found += _pictures_below(path)
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            found.append(path)
    return found
