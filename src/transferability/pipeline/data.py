"""Data sets of a run: loaded, and split into rows for fitting and for measuring."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from transferability._array import IntArray
from transferability.datasets import Dataset, folds, load_dataset, same_rows, split_rows
from transferability.encoders import Encoder, FeatureFiles
from transferability.errors import LabelError, OptionError, TaskError
from transferability.features import Features
from transferability.pipeline.packs import PREFIX, PackSource
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.references import LEAST_ROWS
from transferability.settings import Settings
from transferability.task import Task

__all__ = [
    "AnyEncoder",
    "Data",
    "Part",
    "Progress",
    "Split",
    "as_list",
    "check_folds",
    "check_own_half",
    "load_part",
    "note_overlap",
    "notes_of",
    "prepare",
    "unlabelled_notes",
    "without_folds",
]

Data = str | os.PathLike[str] | Dataset | ReferencePack | Any
"""An identifier, a path, a data set, what `load_dataset` takes in memory, or a pack."""
AnyEncoder = str | Encoder | FeatureFiles
"""An identifier, with an alias perhaps, or an encoder."""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many items are done, and how many there are."""


_FOLDS = 5
_MANY_ROWS = 2_000  # enough that a third of them measures well


class Split(NamedTuple):
    """A data set and its rows for fitting and for measuring; as a target perhaps in folds."""

    dataset: Dataset
    fit_rows: IntArray
    test_rows: IntArray
    folds: Sequence[tuple[IntArray, IntArray]] | None = None
    groups: IntArray | None = None  # of all rows: copies, and what looks alike where asked; None where none repeats

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.dataset.name

    def copies(self, rows: IntArray, labels: IntArray | None = None) -> IntArray | None:
        """Return of each of some rows the place of the first with its content and label; None where none repeats.

        Copies of different classes are different rows: to count one of them would be to choose the label. `labels` are
        those of the rows, by default the data's.
        """
        if self.groups is None:
            return None
        if labels is None and self.dataset.labels is not None:
            labels = self.dataset.labels[rows]
        of_one = self.groups[rows] if labels is None else np.stack([self.groups[rows], labels], axis=1)
        _, first, place = np.unique(of_one, axis=0, return_index=True, return_inverse=True)
        return first[place.ravel()]

    def n_different(self, rows: IntArray) -> int:
        """Return how many of some rows are no copies of others of them."""
        copies = self.copies(rows)
        return len(rows) if copies is None else len(np.unique(copies))

    def tasks(self, features: Features, *, use_labels: bool = True) -> tuple[Task, Task]:
        """Return the fitting and the test task."""
        labels = features.labels if use_labels else None
        names = features.class_names
        if names is None and labels is not None:  # both parts keep the numbers that the whole has
            names = tuple(map(str, range(int(labels.max()) + 1)))
        fit, test = (
            Task(
                features.features[rows],
                None if labels is None else labels[rows],
                name=self.dataset.name,
                class_names=names,
            )
            for rows in (self.fit_rows, self.test_rows)
        )
        return fit, test

    def target_tasks(self, features: Features, *, use_labels: bool = True) -> tuple[Task, Task | None]:
        """Return the fitting and the test task of a target; all rows and None where it is cross-fitted."""
        if self.folds is None:
            return self.tasks(features, use_labels=use_labels)
        labels = features.labels if use_labels else None
        return Task(features.features, labels, name=self.dataset.name, class_names=features.class_names), None


Part = Split | PackSource


def prepare(data: Any, settings: Settings) -> Split:
    """Load a data set and split its rows, the same way whatever encoder comes."""
    dataset = data if isinstance(data, Dataset) else load_dataset(data, limit=settings.limit, seed=settings.seed)
    labels = np.zeros(len(dataset), dtype=np.int64) if dataset.labels is None else dataset.labels
    if dataset.labels is not None and len(np.unique(labels)) == 1:
        name = str(labels[0]) if dataset.class_names is None else dataset.class_names[labels[0]]
        message = (
            f"all {len(dataset):,} rows of data {dataset.name!r} are of one class, {name!r}; at least two classes "
        )
        message += "are needed. "
        fix = "Add rows of another class, or take other labels: a folder for each class, or FILE#label=COLUMN."
        raise LabelError(message + (" ".join(dataset.notes) or fix))
    if dataset.labels is not None and len(dataset) > 2 and len(np.unique(labels)) == len(dataset):
        message = f"all {len(dataset):,} rows of data {dataset.name!r} have labels of their own, which name rows, not "
        raise LabelError(message + "classes. Name the column of the classes: FILE#label=COLUMN.")
    lonely = np.flatnonzero(np.bincount(labels) == 1)
    if len(lonely):
        name = str(lonely[0]) if dataset.class_names is None else dataset.class_names[lonely[0]]
        limited = not isinstance(data, Dataset) and settings.limit is not None and settings.limit == len(dataset)
        message = f"class {name!r} of data {dataset.name!r} has a single row"
        message += f" among the {settings.limit} that `limit` leaves" if limited else ""
        message += "; at least two are needed, one to fit on and one to measure on. "
        raise TaskError(message + ("Raise the limit, or add rows." if limited else "Add rows, or leave the class out."))
    rows = split_rows(dataset, settings.test_share, settings.seed, near=settings.near_duplicates)
    if rows.notes:
        dataset = replace(dataset, notes=(*dataset.notes, *rows.notes))
    own = dataset.in_test is not None and settings.folds == "auto"
    divided = None if own else _folds(labels, rows.groups, settings)
    repeat = len(np.unique(rows.groups)) < len(labels)
    return Split(dataset, rows.fit_rows, rows.test_rows, divided, rows.groups if repeat else None)


def _folds(labels: IntArray, groups: IntArray, settings: Settings) -> Sequence[tuple[IntArray, IntArray]] | None:
    """Return the folds of a target, None for one split."""
    wanted = settings.folds
    if wanted == "auto":
        wanted = _FOLDS if len(labels) < _MANY_ROWS else 1
    n_folds = min(wanted, len(np.unique(groups)))  # of references, which have none; `check_folds` asks targets
    return None if n_folds < 2 else folds(labels, n_folds, settings.seed, groups)


def check_folds(target: Part, settings: Settings, solver: str = "alternating") -> None:
    """Raise where a target has fewer different rows than folds are asked for, or folds of statistics are.

    Raises
    ------
    OptionError
    """
    if not isinstance(target, Split) or settings.folds == "auto":
        return
    if solver == "statistics" and settings.folds != 1:
        message = "`folds` must be left out where everything is compared by statistics (--ground-cost gamma, solver "
        message += f"'statistics', packs without rows); got {settings.folds}. They are measured on a test part: "
        raise OptionError(message + "`test_share` is its share.")
    given = 1 if target.folds is None else len(target.folds)
    if given < settings.folds:
        message = f"`folds` must be at most the number of different rows of target {target.name!r}, {given}; "
        message += f"got {settings.folds}. Five are usual; 1 is a single split."
        raise OptionError(message)


def load_part(data: Data, settings: Settings) -> Part:
    """Return a data set, split, or a pack; what has been loaded already is returned as it is."""
    if isinstance(data, Split | PackSource):
        return data
    if isinstance(data, ReferencePack) or (isinstance(data, str) and data.startswith(PREFIX)):
        return PackSource(data)
    return prepare(data, settings)


def without_folds(part: Part) -> Part:
    """Return a target with one split: what is compared by statistics is not cross-fitted."""
    return part._replace(folds=None) if isinstance(part, Split) else part


def note_overlap(target: Part, references: Sequence[Part]) -> Part:
    """Return the target with a note on each reference that has rows of it: the reference's classifier has seen them."""
    if not isinstance(target, Split):
        return target
    notes = []
    for part in references:
        shared = same_rows(target.dataset, part.dataset) if isinstance(part, Split) else 0
        if shared:
            notes.append(f"{shared:,} of {len(target.dataset):,} rows are in the reference {part.name!r} too.")
    return target._replace(dataset=replace(target.dataset, notes=(*target.dataset.notes, *notes)))


def check_own_half(target: Part, *, packs: bool = False) -> None:
    """Raise before hours of extraction what a target without a reference lacks: labels, or rows of a class.

    Where there are `packs` to take the place of the own half, rows of a class are not missed here.

    Raises
    ------
    LabelError
        Naming the columns that may hold the labels, or the class.
    """
    if not isinstance(target, Split):
        return
    dataset = target.dataset
    if dataset.labels is None:
        hints = " ".join(dataset.notes) or "Name the column or file that holds them."
        message = f"target {dataset.name!r} has no labels, and without a reference they are needed. {hints} Or give a "
        raise LabelError(message + "labelled reference.")
    counts = np.bincount(dataset.labels)
    if counts.min() < LEAST_ROWS and not packs:
        number = int(counts.argmin())
        name = str(number) if dataset.class_names is None else dataset.class_names[number]
        message = f"class {name!r} of {dataset.name!r} has {counts.min()} rows; without a reference each half of the "
        message += "target needs two rows of each class. Add rows of it, leave the class out, or give a reference."
        raise LabelError(message)


def unlabelled_notes(target: Part, settings: Settings) -> tuple[str, ...]:
    """Return what must be said, before anything is computed, of a target whose labels are missing and not left out."""
    if not isinstance(target, Split) or target.dataset.labels is not None or not settings.use_labels:
        return ()
    return (f"target {target.name!r} has no labels: encoders are ranked by guessed labels.", *target.dataset.notes)


def notes_of(parts: Sequence[Part]) -> tuple[str, ...]:
    """Return what must be known of how data were read, each note once, with the name of its data."""
    notes = [f"{part.name}: {note}" for part in parts if isinstance(part, Split) for note in part.dataset.notes]
    return tuple(dict.fromkeys(notes))


def as_list(data: Data | Sequence[Data]) -> list[Data]:
    """Return one or several data sets as a list; a pair (items, labels) is one."""
    named = str, os.PathLike, Dataset, ReferencePack
    is_split = isinstance(data, Split)
    if isinstance(data, list) or (isinstance(data, tuple) and not is_split and all(isinstance(x, named) for x in data)):
        return list(data)
    return [data]
