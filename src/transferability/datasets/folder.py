"""Folders of pictures: one folder per class, perhaps within folders of splits, or pictures without labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from transferability._array import BoolArray, IntArray
from transferability.datasets._ids import PackedIds
from transferability.datasets._listing import LeftOut, entries_of, identity, pictures_below
from transferability.datasets.base import Dataset, Item
from transferability.datasets.column_labels import alike_names
from transferability.datasets.images import inspect_picture, open_picture, picture_bytes
from transferability.errors import DatasetError, DatasetNameError, NoSuchFileError, nearest_names, no_such_file

__all__ = ["load_folder"]

_KINDS = ("train", "validation", "test")  # in this order: the last that is there measures, those before it fit
_NAMES = {
    name: kind
    for kind, names in zip(_KINDS, ("train training", "val valid validation dev eval", "test testing"), strict=True)
    for name in names.split()
}
_BESIDE = frozenset({"set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures", "seg", "split"})


def load_folder(spec: str) -> Dataset:
    """Return the pictures under a folder, in sorted order.

    Each folder in it is a class, numbered by sorted name, with its pictures at any depth. A folder that holds pictures
    only, and no folders, is a data set without labels. Row ids are paths within the folder. What is left out (files
    that are no pictures by their suffix, hidden files, links that lead nowhere or back) is counted in `Dataset.notes`.

    Folders called train, val (valid, validation, dev, eval) and test in place of classes, or "training_set" and "test
    images", are splits: the classes lie within them. All rows are read; the test split (without one, the validation
    split) is for measuring, the others are for fitting. `DIR:SPLIT` reads one split alone.

    Raises
    ------
    DatasetError
        If there is no such folder, if it holds no pictures, if a class folder is empty, or if pictures lie beside
        class folders.

    Notes
    -----
    Listing asks the folders only, never a file, and the paths are kept packed: 0.6 s and 7 MB for 200,000 pictures.
    """
    root, split = _parse(spec)
    if not root.is_dir():
        if not root.exists():
            raise NoSuchFileError(no_such_file(root, "folder"))
        message = f"{root} is a file, not a folder. Write the path alone, and its suffix says what it is."
        raise DatasetNameError(message)
    listing = _Listing(root)
    try:
        top = entries_of(root, "", listing.left_out)
        splits = _splits(root, [name for name, is_folder in top if is_folder])
        wanted = _wanted(root, splits, split)
        reader = _Pictures(root, PackedIds.pack(listing.add_all(wanted) if wanted else listing.add("", "", top)))
    except OSError as error:
        message = f"folder {root} cannot be listed: {error}. Change its permissions or copy it."
        raise DatasetError(message) from error
    labels, class_names, in_test = listing.labels(splits)
    if labels is None:
        listing.notes.append(
            f"no labels are read: {root} holds pictures and no folders; put them into one for each class."
        )
    return Dataset(
        name=f"{root.resolve().name}_{split}" if split else root.resolve().name,
        modality="image",
        all_ids=reader.paths,
        read=reader.read,
        content=reader.content,
        inspect=reader.inspect,
        all_labels=labels,
        class_names=class_names,
        all_in_test=in_test,
        notes=tuple(listing.notes),
    )


@dataclass(frozen=True)
class _Pictures:
    root: Path
    paths: PackedIds

    def read(self, row: int) -> Item:
        path = self.root / self.paths[row]
        return open_picture(path, str(path))

    def content(self, row: int) -> bytes:
        return picture_bytes(self.root / self.paths[row])

    def inspect(self, row: int) -> int:
        path = self.root / self.paths[row]
        return inspect_picture(path, str(path))


@dataclass
class _Listing:
    """Pictures as they are found: how many of each split and class."""

    root: Path
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: list[str] = field(default_factory=list)
    counts: list[tuple[str, str | None, int]] = field(default_factory=list)  # split, class, pictures

    def add_all(self, splits: list[str]) -> Iterator[str]:
        """Yield the pictures of splits; those without classes are passed over where others have them."""
        tops = {split: entries_of(self.root / split, f"{split}/", self.left_out) for split in splits}
        labelled = [split for split, top in tops.items() if any(is_folder for _, is_folder in top)]
        for split, top in tops.items():
            if not labelled or split in labelled:
                yield from self.add(split, f"{split}/", top)
            else:
                self.notes.append(
                    f"{len(top):,} pictures of split {split!r} have no classes and are left out; "
                    f"folder:{self.root}:{split} reads them."
                )

    def add(self, split: str, within: str, top: list[tuple[str, bool]]) -> Iterator[str]:
        """Yield the pictures of one folder of classes, or of pictures."""
        folder = self.root / split
        loose = [name for name, is_folder in top if not is_folder]
        classes = [name for name, is_folder in top if is_folder]
        if loose and classes:
            message = f"folder {folder} must hold class folders or pictures; got both ({loose[0]!r} beside "
            message += f"{classes[0]!r}). Move the pictures into class folders."
            raise DatasetError(message)
        if not loose and not classes:
            message = f"folder {folder} must hold pictures or one folder of pictures per class; it holds neither."
            raise DatasetError(message + (f" Left out: {self.left_out}." if self.left_out else ""))
        if loose:
            self.counts.append((split, None, len(loose)))
            yield from (f"{within}{name}" for name in loose)
        above = frozenset(identity(each) for each in (self.root, folder))
        for name in classes:
            count = 0
            here = LeftOut()
            for path in pictures_below(folder / name, f"{within}{name}/", here, above):
                count += 1
                yield path
            self.left_out.add(here)
            if count:
                self.counts.append((split, name, count))
            elif here.loops == [f"{within}{name}"]:
                continue  # a link to the folder itself is no class
            else:
                message = f"class folder {folder / name} holds no picture. Remove it, or add pictures of that class."
                raise DatasetError(message + (f" It holds {here}." if here else ""))

    def labels(self, splits: dict[str, str]) -> tuple[IntArray | None, tuple[str, ...] | None, BoolArray | None]:
        """Return labels, class names, and which rows the splits keep for measuring; write the notes."""
        if self.left_out:
            self.notes.insert(0, f"left out: {self.left_out}.")
        numbers = [count for *_, count in self.counts]
        names = sorted({name for _, name, _ in self.counts if name is not None})
        place = {name: number for number, name in enumerate(names)}
        labels = np.repeat([place[name] for _, name, _ in self.counts if name is not None], numbers) if names else None
        self.notes += alike_names(names, f"folder {self.root}")
        if len(names) == 1 and not splits and any(path.is_dir() for path in (self.root / names[0]).iterdir()):
            inner = self.root / names[0]
            self.notes.append(f"{names[0]!r} is the only class; if its folders are classes, write folder:{inner}.")
        used = sorted({splits[split] for split, *_ in self.counts if split}, key=_KINDS.index)
        if len(used) < 2:
            return labels, tuple(names) or None, None
        measured = [splits[split] == used[-1] for split, *_ in self.counts]
        fitted_names, measured_names = (
            {name for (_, name, _), is_measured in zip(self.counts, measured, strict=True) if is_measured == wanted}
            for wanted in (False, True)
        )
        if fitted_names != measured_names:
            differ = ", ".join(map(repr, sorted(filter(None, fitted_names ^ measured_names))[:5]))
            self.notes.append(f"the splits do not hold the same classes ({differ}); their rows are split at random.")
            return labels, tuple(names) or None, None
        in_test = np.repeat(measured, numbers)
        self.notes.append(
            f"splits: {' and '.join(used[:-1])} fit ({int((~in_test).sum()):,} rows), {used[-1]} measures "
            f"({int(in_test.sum()):,} rows); folder:{self.root}:SPLIT reads one alone."
        )
        return labels, tuple(names) or None, in_test


def _parse(spec: str) -> tuple[Path, str]:
    """Split `DIR:SPLIT` or `DIR#SPLIT`; a colon that belongs to the name of a folder stays there."""
    whole = Path(spec).expanduser()
    for mark in ":#":
        path, found, split = spec.rpartition(mark)
        if found and split and "/" not in split and not whole.exists() and Path(path).expanduser().is_dir():
            return Path(path).expanduser(), split
    return whole, ""


def _splits(root: Path, folders: list[str]) -> dict[str, str]:
    """Return the folders that are splits, and of which kind; {} where folders are classes."""
    splits = {name: kind for name in folders if (kind := _kind(name))}
    if len(splits) == len(folders):
        return splits
    kinds = set(splits.values())
    if "train" not in kinds or len(kinds) < 2:
        return {}
    for name in folders:
        if name not in splits and next(pictures_below(root / name, "", LeftOut()), None) is not None:
            message = f"folder {root} must hold splits or classes; got both ({', '.join(map(repr, splits))} beside "
            message += f"{name!r}). Move {name!r} elsewhere, or choose a split: folder:{root}:{next(iter(splits))}."
            raise DatasetError(message)
    return splits


def _kind(name: str) -> str | None:
    """Return which split a folder is by its name, None for any other folder."""
    words = re.findall("[a-z]+", name.casefold())
    kinds = [_NAMES[word] for word in words if word in _NAMES]
    return kinds[0] if len(kinds) == 1 and all(word in _NAMES or word in _BESIDE for word in words) else None


def _wanted(root: Path, splits: dict[str, str], split: str) -> list[str]:
    """Return the folders of splits to read, those that fit first; [] where folders are classes."""
    if not split:
        return sorted(splits, key=lambda name: _KINDS.index(splits[name]))
    named = [name for name in splits if name == split] or [
        name for name in splits if split.casefold() in (name.casefold(), splits[name])
    ]
    if len(named) != 1:
        message = f"folder {root} has no split {split!r}. "
        message += nearest_names(split, splits) if splits else "Its folders are classes: leave the split out."
        raise DatasetNameError(message)
    return named
