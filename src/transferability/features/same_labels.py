"""Whether the labels of a feature file say the same of each row as those of the data it is used with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from transferability._array import IntArray
from transferability.datasets import Dataset
from transferability.errors import LabelError

__all__ = ["refuse_other_labels"]


def refuse_other_labels(
    labels: IntArray, class_names: Sequence[str], dataset: Dataset, source: str, *, named: bool
) -> None:
    """Raise `LabelError` where labels of a file contradict those of the data.

    Class numbers are an accident of whoever numbered the classes, so names are compared, row by row: "b" with "b", and
    as values where both are numbers or booleans, 1 with "1", "1.0" and True. Numbers without names may also count the
    classes of the data in their order. Where one side has words and the other numbers, the same rows must be of one
    class on both sides: more cannot be known.

    Parameters
    ----------
    labels : array of int of shape (n,)
        Of the file, for the rows of the data set.
    class_names : sequence of str
        Of the file: one per class.
    dataset : Dataset
        With labels.
    source : str
        What to call the file in messages.
    named : bool
        Whether the names are the file's own, and not the values of its numbers.
    """
    assert dataset.labels is not None
    here = dataset.labels
    names_here = dataset.class_names or tuple(map(str, range(int(here.max()) + 1)))
    width = len(names_here)
    pairs = [divmod(int(code), width) for code in np.unique(labels * width + here)]  # (class there, class here)
    values, values_here = list(map(_value, class_names)), list(map(_value, names_here))
    are_numbers, are_numbers_here = None not in values, None not in values_here
    if all(class_names[i] == names_here[j] for i, j in pairs):
        return
    if are_numbers and are_numbers_here and all(values[i] == values_here[j] for i, j in pairs):
        return
    if not named and all(values[i] == j for i, j in pairs):
        return
    only_groups = are_numbers != are_numbers_here
    if only_groups and len(pairs) == len({i for i, _ in pairs}) == len({j for _, j in pairs}):
        return
    message = f"labels of {source} and of data {dataset.name!r} must agree; "
    if only_groups:
        row, other = _first_of_two_groups(labels, here)
        message += f"row {str(dataset.ids[row])!r} has {class_names[labels[row]]!r} there and "
        message += f"{names_here[here[row]]!r} here, row {str(dataset.ids[other])!r} {class_names[labels[other]]!r} "
        message += f"there and {names_here[here[other]]!r} here. "
    else:
        as_values = are_numbers and are_numbers_here
        there, wanted = (values, values_here) if as_values else (class_names, names_here)
        differing = [i * width + j for i, j in pairs if there[i] != wanted[j]]
        row = int(np.argmax(np.isin(labels * width + here, differing)))
        message += f"row {str(dataset.ids[row])!r} has {class_names[labels[row]]!r} there and "
        message += f"{names_here[here[row]]!r} here. "
    message += "The file belongs to other data or another order"
    raise LabelError(message + ("." if named else ", or its `class_names` are missing."))


def _value(name: str) -> float | None:
    """Return the number that a name writes, 0 and 1 for booleans; None of a word."""
    truth = {"false": 0.0, "true": 1.0}.get(name.casefold())
    try:
        number = float(name) if truth is None else truth
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in name else None


def _first_of_two_groups(labels: IntArray, here: IntArray) -> tuple[int, int]:
    """Return the first row that is with another row on one side and apart from it on the other, and that row."""
    first_there: dict[int, int] = {}
    first_here: dict[int, int] = {}
    for row, (there, here_too) in enumerate(zip(labels.tolist(), here.tolist(), strict=True)):
        one, other = first_there.setdefault(there, row), first_here.setdefault(here_too, row)
        if one != other:
            return row, min(one, other)
    message = "both sides have the same groups"
    raise AssertionError(message)
