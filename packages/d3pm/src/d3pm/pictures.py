"""Pictures from files: arrays, folders, saved Hugging Face datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from d3pm.config import DataConfig
from d3pm.errors import DataError, NoSuchFileError, require_extra
from d3pm.picture_values import faults_of, picture_values, shown
from d3pm.tables import is_table, read_table, read_whole_table

__all__ = ["Pictures", "load_pictures", "split_pictures"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
TEST_NAMES = ("test", "val", "valid", "validation")
KEYS = ("x_train", "y_train", "x_test", "y_test", "images", "labels")


class Pictures(NamedTuple):
    """Pictures uint8 (n, H, W) or (n, H, W, C), with labels int64 (n,) and names of classes where there are any.

    `rows` says where in the data each of them was, first those to train on; None if they are in order. `names` are
    those of the files, in the order of the data.
    """

    train: np.ndarray
    train_labels: np.ndarray | None
    test: np.ndarray
    test_labels: np.ndarray | None
    classes: tuple[str, ...] = ()
    rows: np.ndarray | None = None
    names: tuple[str, ...] = ()


def load_pictures(config: DataConfig, whole: bool = False, say_unlabelled: bool = False) -> Pictures:
    """Read the pictures at `config.path`, those of files and datasets as they are `d3pm.picture_values.shown`.

    Grey if all are grey, else RGB.

    Parameters
    ----------
    config : DataConfig
    whole : bool, default=False
        All of them are meant, of every split, so that none need be there to test on.
    say_unlabelled : bool, default=False
        Warn where labels are no classes and left out.

    Raises
    ------
    DataError
        If the path is missing or holds something else.
    """
    path = Path(config.path)
    if not path.exists():
        message = (
            f"`path` must name an .npz, .npy or .parquet file or a folder of pictures; there is nothing at {path}."
        )
        raise NoSuchFileError(message)
    if is_table(path):
        pictures = _from_table(path, config, whole, say_unlabelled)
    elif path.is_dir():
        pictures = _from_folder(path, config.size, whole)
    else:
        pictures = _from_arrays(path, config.size)
    n_rows = len(pictures.train) + len(pictures.test)
    for name, images in (("training", pictures.train), ("test", pictures.test)):
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or not (n_rows if whole else len(images)):
            message = (
                f"`path` must hold uint8 pictures (n, H, W) or (n, H, W, C); the {name} pictures of {path} are "
                f"{images.dtype} {images.shape}."
            )
            raise DataError(message)
    if not whole and (path.is_dir() or is_table(path)) and (pictures.train == pictures.train.flat[0]).all():
        message = (
            f"`path` must hold pictures that show something; those of {path} to train on are {pictures.train.flat[0]} "
            "everywhere. Drawings in white on nothing, for example, are read on white: give them a ground."
        )
        raise DataError(message)
    if pictures.train.shape[1:] != pictures.test.shape[1:]:
        message = (
            f"`path` must hold pictures of one shape; {path} has {pictures.train.shape[1:]} to train on and "
            f"{pictures.test.shape[1:]} to test on."
        )
        raise DataError(message)
    return pictures._replace(
        train_labels=_check_labels(pictures.train_labels, len(pictures.train), path),
        test_labels=_check_labels(pictures.test_labels, len(pictures.test), path),
    )


def split_pictures(images: np.ndarray, labels: np.ndarray | None, n_train: int) -> Pictures:
    """Return a random part to train on and the rest to test on, the same at every call."""
    order = np.random.default_rng(0).permutation(len(images))
    first, rest = order[:n_train], order[n_train:]
    if labels is None:
        return Pictures(images[first], None, images[rest], None, rows=order)
    return Pictures(images[first], labels[first], images[rest], labels[rest], rows=order)


def _check_labels(labels: Any, n: int, path: Path) -> np.ndarray | None:
    if labels is None:
        return None
    values = np.asarray(labels)
    if values.shape != (n,) or values.dtype.kind not in "iu" or (n and int(values.min()) < 0):
        message = (
            f"`path` must hold labels as whole numbers from 0, one per picture; {path} has {values.dtype} "
            f"{values.shape} for {n} pictures. Map class names to numbers: np.unique(names, return_inverse=True)."
        )
        raise DataError(message)
    return values.astype(np.int64)


def _from_arrays(path: Path, size: int) -> Pictures:
    pictures = _read_arrays(path)
    if not size or pictures.train.dtype != np.uint8 or pictures.train.ndim not in (3, 4):
        return pictures
    channels = pictures.train.shape[-1] if pictures.train.ndim == 4 else 1
    if channels not in (1, 3, 4):
        message = f"`data.size` must be 0 for pictures of {channels} channels, which are not scaled; got {size}."
        raise DataError(message)
    image = require_extra("PIL.Image", "data", "scaling pictures")
    n = len(pictures.train)
    every = [*pictures.train, *pictures.test]
    opened = [image.fromarray(x.squeeze(-1) if x.ndim == 3 and x.shape[-1] == 1 else x) for x in every]
    scaled = stack_pictures([shown(picture, f"row {i}") for i, picture in enumerate(opened)], size, [""] * len(every))
    return pictures._replace(train=scaled[:n], test=scaled[n:])


def _read_arrays(path: Path) -> Pictures:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"images": loaded}
        else:
            with loaded as archive:
                arrays = {key: archive[key] for key in archive.files if key in KEYS}
    except (OSError, ValueError, EOFError, TypeError) as error:
        message = f"`path` must be an .npz or .npy file or a folder of pictures; {path} cannot be read as one: {error}."
        raise DataError(message) from error
    single = next((key for key, array in arrays.items() if not array.ndim), None)
    if single is not None:
        message = f"`path` must hold arrays with a row per picture; {single} of {path} is a single value."
        raise DataError(message)
    if "x_train" in arrays and "x_test" in arrays:
        return Pictures(arrays["x_train"], arrays.get("y_train"), arrays["x_test"], arrays.get("y_test"))
    if "images" in arrays:
        images, labels = arrays["images"], arrays.get("labels")
        if labels is not None and len(labels) != len(images):
            message = f"`path` must hold one label per picture; {path} has {len(labels)} for {len(images)}."
            raise DataError(message)
        return split_pictures(images, labels, len(images) * 9 // 10)
    message = f"`path` must hold x_train and x_test, or images; {path} holds {sorted(arrays) or 'neither'}."
    raise DataError(message)


def _from_folder(path: Path, size: int, whole: bool) -> Pictures:
    """Read train/ and test/, or one folder that is split; subfolders below are classes."""
    parts = _parts(path)
    if parts and whole:
        return _all_parts(parts, path, size)
    if parts and parts[0].name.lower() != "train":
        names = ", ".join(part.name for part in parts)
        message = (
            f"`path` must hold pictures to train on, in a folder `train` or in folders of classes; {path} has {names} "
            f"alone. To take them all the same, name the folder itself: {parts[0]}."
        )
        raise DataError(message)
    if len(parts) > 1:
        files, labels, classes = _listed(parts[0], None)
        test_files, test_labels, _ = _listed(parts[1], classes)
        images = _opened([*files, *test_files], size)
        names_of_files = _names([*files, *test_files], path)
        n = len(files)
        return Pictures(images[:n], labels, images[n:], test_labels, tuple(classes), None, names_of_files)
    files, labels, classes = _listed(parts[0] if parts else path, None)
    divided = split_pictures(_opened(files, size), labels, len(files) * 9 // 10)
    return divided._replace(classes=tuple(classes), names=_names(files, path))


def _parts(path: Path) -> list[Path]:
    """Return the folders train/ and test/ (val/ …), that to train on first; none of a folder that is not so divided."""
    folders = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."}
    parts = [folders[name] for name in ("train", *TEST_NAMES) if name in folders]
    alone = len(parts) == len(folders) and not any(file.suffix.lower() in SUFFIXES for file in path.iterdir())
    return parts if alone or ("train" in folders and len(parts) > 1) else []


def _all_parts(parts: list[Path], path: Path, size: int) -> Pictures:
    """Return the pictures of all parts, in the place of those to train on."""
    listed = [_listed(part, None) for part in parts]
    files = [file for found, _, _ in listed for file in found]
    known = sorted({name for _, _, names in listed for name in names})
    images = _opened(files, size)
    pictures = Pictures(images, None, images[:0], None, names=_names(files, path))
    numbers = [[known.index(names[i]) for i in labels] for _, labels, names in listed if labels is not None]
    if len(numbers) < len(parts):
        return pictures
    labels = np.array([number for part in numbers for number in part], dtype=np.int64)
    return pictures._replace(train_labels=labels, test_labels=labels[:0], classes=tuple(known))


def _names(files: list[Path], path: Path) -> tuple[str, ...]:
    return tuple(file.relative_to(path).as_posix() for file in files)


def _listed(path: Path, classes: list[str] | None) -> tuple[list[Path], np.ndarray | None, list[str]]:
    """Return the picture files of a folder, and their labels and classes if they lie in folders by class."""
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        message = f"`path` must be a folder of pictures ({', '.join(SUFFIXES)}); {path} holds none."
        raise DataError(message)
    names = [file.relative_to(path).parts[0] if file.parent != path else "" for file in found]
    present = sorted(set(names))
    if present == [""]:
        return found, None, []
    unknown = [name for name in present if not name or (classes is not None and name not in classes)]
    if unknown:
        where = f"a folder {unknown[0]!r}" if unknown[0] else "pictures"
        message = (
            f"`path` must hold the same class folders to train and to test on, and nothing beside; {path} has {where}."
        )
        raise DataError(message)
    known = classes or present
    return found, np.array([known.index(name) for name in names], dtype=np.int64), known


def _opened(files: list[Path], size: int) -> np.ndarray:
    image = require_extra("PIL.Image", "data", "reading pictures")
    pictures = []
    for file in files:
        with faults_of(str(file)), image.open(file) as opened:
            pictures.append(shown(opened, str(file)))
    return stack_pictures(pictures, size, [str(file) for file in files])


def stack_pictures(pictures: list[Any], size: int, names: list[str]) -> np.ndarray:
    """Return pictures that are `shown` as one array: grey if all are grey, else RGB; cut to a square of `size`."""
    if not pictures:
        message = "`path` must hold pictures; it has no rows."
        raise DataError(message)
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    arrays = [picture_values(picture, mode, (size, size) if size else None) for picture in pictures]
    for array, name in zip(arrays, names, strict=True):
        if array.shape != arrays[0].shape:
            (height, width), (other_height, other_width) = arrays[0].shape[:2], array.shape[:2]
            message = (
                f"`path` must hold pictures of one size; {names[0]} has {(width, height)} and {name} has "
                f"{(other_width, other_height)}. Scale them: --set data.size=32."
            )
            raise DataError(message)
    return np.stack(arrays)


def _from_table(path: Path, config: DataConfig, whole: bool, say_unlabelled: bool) -> Pictures:
    if whole:
        train, test = read_whole_table(path, config, "image", say_unlabelled), None
    else:
        train, test = read_table(path, config, "image", say_unlabelled)
    names = [f"row {i} of {path}" for part in (train, test) if part for i in range(len(part.items))]
    opened = [*train.items, *(test.items if test else [])]
    opened = [shown(picture, name) for picture, name in zip(opened, names, strict=True)]
    images = stack_pictures(opened, config.size, names)
    n = len(train.items)
    if whole:
        no_labels = None if train.labels is None else train.labels[:0]
        return Pictures(images, train.labels, images[:0], no_labels, train.classes)
    if test is None:
        return split_pictures(images, train.labels, n * 9 // 10)._replace(classes=train.classes)
    return Pictures(images[:n], train.labels, images[n:], test.labels, train.classes)
