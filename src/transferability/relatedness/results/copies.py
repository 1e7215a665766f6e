"""What results say of rows that repeat."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.tasks.test_parts import first_copies
from transferability.task import Task

__all__ = ["with_copies"]


def with_copies(results: Sequence[Relatedness], measured: Task, least: int) -> list[Relatedness]:
    """Return results that know which rows are copies, and say where copies of one row are on both sides.

    Parameters
    ----------
    results : sequence of Relatedness
        Measured on rows that nothing was fitted on.
    measured : Task
        The rows that they were measured on.
    least : int
        Different rows that a class needs for copies to be kept on one side; 0 where the sides were given.
    """
    copies = first_copies(measured)
    if copies is None:
        return list(results)
    labels = measured.require_labels()
    different = np.bincount(labels[np.unique(copies)], minlength=measured.n_classes)
    few = np.flatnonzero((different < least) & (different < np.bincount(labels, minlength=measured.n_classes)))
    notes: tuple[str, ...] = ()
    if len(few):
        names = measured.class_names or tuple(map(str, range(measured.n_classes)))
        which = ", ".join(repr(names[k]) for k in few[:3]) + (" …" if len(few) > 3 else "")
        notes = (
            f"copies of a row are fitted on and measured on, which flatters the result: class {which} has fewer than "
            f"{least} different rows. Add others, or leave the class out",
        )
    return [dataclasses.replace(each, first_copies=copies, notes=(*each.notes, *notes)) for each in results]
