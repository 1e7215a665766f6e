"""Labels of any kind to class numbers: names keep their names, nothing is made into something else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import IntArray
from transferability._validate import as_array, check_labels, how_to_flatten
from transferability.errors import LabelError, nearest_names

__all__ = ["class_codes", "in_class_order", "name_integers", "number_classes", "place_names", "storable_labels"]


def number_classes(labels: Any, argument: str = "labels") -> tuple[IntArray, tuple[str, ...] | None]:
    """Return labels of any kind as int64 numbers, and the names of the classes where the labels are names.

    Integers and floats with whole values are class numbers and stay as they are. Strings and booleans are numbered in
    order (`in_class_order`). One column, (n_samples, 1), is a list.

    Raises
    ------
    LabelError
        For another dtype or rank, missing labels, or strings beside numbers.
    """
    array = as_array(labels, argument, LabelError)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        message = (
            f"`{argument}` must be a list of one label per sample; got shape {array.shape}. {how_to_flatten(array)}"
        )
        raise LabelError(message.rstrip())
    if array.dtype.kind == "O" or (array.dtype.kind in "US" and isinstance(labels, list | tuple)):
        # NumPy makes the string "1" of a 1, and "nan" of a NaN, that stands beside strings.
        array = _of_one_kind(list(labels) if isinstance(labels, list | tuple) else array.tolist(), argument)
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            message = f"`{argument}` must be text in UTF-8; got bytes that are not: {error}. Decode them first."
            raise LabelError(message) from error
    if array.dtype.kind in "Ub":
        present, numbers = np.unique(array, return_inverse=True)
        if array.dtype.kind == "U" and len(present) and not present[0].strip():
            message = (
                f"`{argument}` must name a class in every row; row {int(np.argmax(array == present[0]))} is empty."
            )
            raise LabelError(message + " Fill it or drop the row.")
        names = in_class_order(map(str, present.tolist()))
        place = {name: number for number, name in enumerate(names)}
        return np.array([place[str(each)] for each in present], dtype=np.int64)[numbers], names
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.round(array)) & (np.abs(array) < 2.0**53)
        if not whole.all():
            row = int(np.argmin(whole))
            message = f"`{argument}` must be integers or strings; row {row} is {array[row]}. "
            message += "Fill it or drop the row." if np.isnan(array[row]) else "Numbers to predict are `targets`."
            raise LabelError(message)
    elif array.dtype.kind not in "iu":
        message = (
            f"`{argument}` must be integers or strings; got dtype {array.dtype}. Convert them: labels.astype(str)."
        )
        raise LabelError(message)
    elif array.size and int(array.max()) > np.iinfo(np.int64).max:
        message = f"`{argument}` must be class numbers; got {int(array.max())}. Renumber them: "
        message += "numpy.unique(labels, return_inverse=True)[1]."
        raise LabelError(message)
    return array.astype(np.int64, copy=False), None


def name_integers(numbers: IntArray) -> tuple[IntArray, tuple[str, ...] | None]:
    """Return integers as class numbers from 0 without gaps, and their former values as names where that changes them.

    Examples
    --------
    >>> name_integers(np.array([-1, 1, 1]))
    (array([0, 1, 1]), ('-1', '1'))
    >>> name_integers(np.array([0, 1, 1]))
    (array([0, 1, 1]), None)
    """
    present, places = np.unique(numbers, return_inverse=True)
    if np.array_equal(present, np.arange(len(present))):
        return numbers, None
    return places.astype(np.int64), tuple(map(str, present.tolist()))


def in_class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names sorted; names that are all whole numbers by their value.

    Examples
    --------
    >>> in_class_order(["10", "9", "-1"]), in_class_order(["10", "9", "b"])
    (('-1', '9', '10'), ('10', '9', 'b'))
    """
    ordered = sorted(names)
    if all(len(name) < 19 and name.removeprefix("-").isdecimal() and name.isascii() for name in ordered):
        ordered.sort(key=int)
    return tuple(ordered)


def class_codes(labels: Any, n_samples: int | None = None, argument: str = "labels") -> IntArray:
    """Return labels of any kind as (n_samples,) int64, classes 0..K−1 in order, each with a sample, K ≥ 2.

    Raises
    ------
    LabelError
        For labels that name no classes, another length, or a single class.

    Examples
    --------
    >>> class_codes(["b", "a", "b"]), class_codes([-1, 7, 7]), class_codes([True, False])
    (array([1, 0, 1]), array([0, 1, 1]), array([1, 0]))
    """
    numbers, names = number_classes(labels, argument)
    if names is None:
        numbers, names = name_integers(numbers)
    return check_labels(numbers, n_samples, argument, class_names=names)


def place_names(
    numbers: IntArray, found: tuple[str, ...], given: Sequence[Any] | None, argument: str
) -> tuple[IntArray, Sequence[Any]]:
    """Return labels that were names as places in the class names given, and these; without any, as they are.

    Booleans beside other names are places too: False is 0.

    Raises
    ------
    LabelError
        For a label that is not among the class names.
    """
    if given is None:
        return numbers, found
    place = {str(name): number for number, name in enumerate(given)}
    if not set(found) - {"False", "True"} and not set(found) & set(place):
        return numbers, given
    unknown = [name for name in found if name not in place]
    if unknown:
        message = (
            f"`{argument}` must be among the class names; {unknown[0]!r} is not. {nearest_names(unknown[0], place)}"
        )
        raise LabelError(message)
    return np.array([place[name] for name in found], dtype=np.int64)[numbers], given


def storable_labels(
    labels: Any, class_names: Sequence[str] | None, n_rows: int
) -> tuple[npt.NDArray[Any], Sequence[str] | None]:
    """Return labels as an array without texts, which need not be numbered from 0, and the names of the classes.

    Raises
    ------
    LabelError
        If there are more or fewer than rows, or labels that are neither numbers nor names.
    """
    array = as_array(labels, "labels", LabelError)
    if array.dtype.kind not in "iufb":
        array, names = number_classes(labels)
        if names is not None:
            array, class_names = place_names(array, names, class_names, "labels")
    if array.ndim == 0 or len(array) != n_rows:
        message = f"`labels` must have one entry per row of the features; got shape {array.shape} for {n_rows} rows."
        raise LabelError(message)
    return np.ascontiguousarray(array), class_names


def _of_one_kind(values: list[Any], argument: str) -> npt.NDArray[Any]:
    """Return labels as an array of strings, booleans, integers or floats; never of one made into another."""
    kinds = {
        "text": (str, np.str_),
        "bytes": (bytes,),
        "boolean": (bool, np.bool_),
        "integer": (int, np.integer),
        "number": (float, np.floating),
    }
    seen: dict[str, int] = {}
    for row, value in enumerate(values):
        if isinstance(value, list | tuple | np.ndarray) and len(value) == 1:  # a column: (n_samples, 1)
            value = values[row] = value[0]
        kind = next((name for name, types in kinds.items() if isinstance(value, types)), type(value).__name__)
        if kind not in kinds or value != value:
            missing = value is None or value is not value or str(value) in ("nan", "NaT", "<NA>")
            message = f"`{argument}` must be integers or strings; row {row} is {value!r:.100}. "
            raise LabelError(message + ("Fill it or drop the row." if missing else "Number or name the classes."))
        seen.setdefault(kind, row)
    if len(seen) > 1 and set(seen) != {"integer", "number"}:
        (first, row), (second, other) = list(seen.items())[:2]
        message = f"`{argument}` must be all of one kind; row {row} is {first} ({values[row]!r:.100}) and row {other} "
        message += f"{second} ({values[other]!r:.100}). Convert them: [str(each) for each in labels]."
        raise LabelError(message)
    try:
        return np.array(values)
    except (OverflowError, ValueError) as error:
        message = f"`{argument}` must be class numbers; {error}. Number the classes from 0."
        raise LabelError(message) from error
