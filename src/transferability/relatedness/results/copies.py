"""What results say of rows that repeat."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from transferability._array import IntArray
from transferability._criteria import COUNTED_ONCE
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.tasks.test_parts import first_copies
from transferability.task import Task

__all__ = ["FOLDS_DIVIDE", "counted_once", "with_copies"]

_SHOWN_APART = 0.0005  # of the accuracy of all rows: what tables show
_ON_BOTH_SIDES = "copies of a row are fitted on and measured on, which flatters the result"
FOLDS_DIVIDE = f"{_ON_BOTH_SIDES}: the folds given divide copies"
"""How the note on given folds begins."""


def counted_once(result: Relatedness, copies: IntArray) -> Relatedness:
    """Return a result whose intervals count only the first of rows that are copies, which a note says where it matters.

    Parameters
    ----------
    result : Relatedness
    copies : array of int of shape (n_T,)
        The first that each row is a copy of.
    """
    notes = [note for note in result.notes if not note.startswith(COUNTED_ONCE)]
    right, first = result.transferred_correct, np.unique(copies)
    if right is not None and abs(float(np.mean(right[first])) - float(np.mean(right))) >= _SHOWN_APART:
        share = f"{100 * float(np.mean(right[first])):.1f} %"
        notes.append(
            f"{COUNTED_ONCE}, accuracy and loss count every row: of the {len(first):,} different rows of "
            f"{len(right):,} {share} are right"
        )
    return dataclasses.replace(result, first_copies=copies, notes=tuple(notes))


def with_copies(
    results: Sequence[Relatedness],
    measured: Task,
    least: int,
    folds: int | Sequence[tuple[IntArray, IntArray]] | None = None,
) -> list[Relatedness]:
    """Return results that know which rows are copies, and say where copies of one row are on both sides.

    Parameters
    ----------
    results : sequence of Relatedness
        Measured on rows that nothing was fitted on.
    measured : Task
        The rows that they were measured on.
    least : int
        Different rows that a class needs for copies to be kept on one side; 0 where the sides were given.
    folds : int, or (fitting rows, test rows) for each fold, optional
        Those that were given may divide copies.
    """
    copies = first_copies(measured)
    if copies is None:
        return list(results)
    labels = measured.require_labels()
    notes: tuple[str, ...] = ()
    different = np.bincount(labels[np.unique(copies)], minlength=measured.n_classes)
    few = np.flatnonzero((different < least) & (different < np.bincount(labels, minlength=measured.n_classes)))
    if len(few):
        names = measured.class_names or tuple(map(str, range(measured.n_classes)))
        which = ", ".join(repr(names[k]) for k in few[:3]) + (" …" if len(few) > 3 else "")
        why = f"class {which} has fewer than {least} different rows. Add others, or leave the class out"
        notes = (f"{_ON_BOTH_SIDES}: {why}",)
    elif folds is not None and not isinstance(folds, int | np.integer):
        fold = np.empty(len(labels), dtype=np.int64)
        for k, (_, tested) in enumerate(folds):
            fold[tested] = k
        divided = int((fold != fold[copies]).sum())
        if divided:
            notes = (f"{FOLDS_DIVIDE} of {divided:,} rows. Keep them in one fold",)
    return [counted_once(dataclasses.replace(each, notes=(*each.notes, *notes)), copies) for each in results]
