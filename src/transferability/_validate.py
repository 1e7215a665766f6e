"""Checks of user input. Each returns the checked array or raises one sentence that says what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import FloatArray, IntArray, as_numpy, is_sparse, refuse_masked
from transferability.errors import FeatureError, LabelError, OptionError, nearest_names

__all__ = [
    "as_array",
    "check_choice",
    "check_features",
    "check_labels",
    "check_magnitude",
    "check_positive",
    "check_same_length",
    "check_seed",
    "check_targets",
    "how_to_flatten",
    "told_of_features",
]

_ROWS_PER_BLOCK = 1 << 14
LARGEST, SMALLEST = 1e15, 1e-60
"""In size; beyond, fourth powers, or squares of sums, leave the range of double precision. No encoder comes near."""


def check_features(features: Any, argument: str = "features") -> FloatArray:
    """Return features as a finite (n_samples, n_features) float array, without a copy where possible.

    float32 and float64 stay as they are; float16 and integers become float32 and float64.

    Raises
    ------
    FeatureError
        For another dtype or rank, no rows or columns, NaN or infinite values (naming the first row).
    """
    array = as_array(features, argument, FeatureError)
    if array.ndim != 2:
        fix = ""
        if array.ndim == 1:
            fix = " One sample must still be a row: features[None, :]."
        elif array.ndim > 2:
            fix = " Pool or flatten the axes after the first: features.reshape(len(features), -1)."
        message = f"`{argument}` must be 2-D (n_samples, n_features); got {array.ndim}-D of shape {array.shape}.{fix}"
        raise FeatureError(message)
    if 0 in array.shape:
        message = f"`{argument}` must have at least one row and one column; got shape {array.shape}."
        raise FeatureError(message)
    if array.dtype.kind == "f" and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype not in (np.float32, np.float64):
        message = (
            f"`{argument}` must hold real floating numbers; got dtype {array.dtype}. "
            "Convert them first: numpy.asarray(features, dtype='float32')."
        )
        raise FeatureError(message)
    for start in range(0, len(array), _ROWS_PER_BLOCK):  # in blocks: a mask of everything would cost memory
        block = array[start : start + _ROWS_PER_BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):  # a sum may overflow where every term is finite
            suspicious = not math.isfinite(float(block.sum(dtype=np.float64)))
        if suspicious:
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                count = int((~np.isfinite(array).all(axis=1)).sum())
                message = (
                    f"`{argument}` must be finite; row {row} holds NaN or infinity ({count} such rows in all). "
                    "Drop these rows or repair the encoder that made them."
                )
                raise FeatureError(message)
    return array


def check_labels(
    labels: Any,
    n_samples: int | None = None,
    argument: str = "labels",
    *,
    class_names: Sequence[Any] | None = None,
) -> IntArray:
    """Return labels as (n_samples,) int64, classes 0..K−1 each with at least one sample, K ≥ 2.

    Raises
    ------
    LabelError
        For another dtype, rank or length, negative labels, a single class or an empty class.
    """
    array = as_array(labels, argument, LabelError)
    if array.ndim != 1:
        message = f"`{argument}` must be 1-D (n_samples,); got shape {array.shape}. {how_to_flatten(array)}"
        raise LabelError(message.rstrip())
    if array.dtype.kind not in "iu":
        fix = "Number the classes first: numpy.unique(labels, return_inverse=True)[1]."
        if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.round(array)).all():
            fix = "Convert them: labels.astype(int)."
        message = f"`{argument}` must be integers from 0; got dtype {array.dtype}. {fix}"
        raise LabelError(message)
    if n_samples is not None and len(array) != n_samples:
        message = f"`{argument}` must have one entry per row of the features; got {len(array)} for {n_samples} rows."
        raise LabelError(message)
    if array.size == 0:
        message = f"`{argument}` must not be empty."
        raise LabelError(message)
    array = array.astype(np.int64, copy=False)
    if array.min() < 0:
        row = int(np.argmax(array < 0))
        message = (
            f"`{argument}` must be integers from 0; row {row} is {int(array[row])}. "
            "Number the classes first: numpy.unique(labels, return_inverse=True)[1]."
        )
        raise LabelError(message)
    n_classes = int(array.max()) + 1
    if n_classes == 1:
        name = repr(str(class_names[0])) if class_names else "0"
        message = f"`{argument}` must hold at least two classes; all {len(array):,} samples are of class {name}. "
        message += "Add samples of another class, or take labels that differ."
        raise LabelError(message)
    # A label of 10**12 must give a sentence, not ask for terabytes: look for gaps among the values present.
    present = np.unique(array)
    if len(present) != n_classes:
        missing = int(np.argmax(present != np.arange(len(present))))
        message = (
            f"`{argument}` must use every class from 0 to {n_classes - 1}; class {missing} has no sample. "
            "Renumber the classes: numpy.unique(labels, return_inverse=True)[1]."
        )
        raise LabelError(message)
    return array


def as_array(value: Any, argument: str, error: type[FeatureError | LabelError]) -> npt.NDArray[Any]:
    """Return what is given as a NumPy array, or say that it is none."""
    refuse_masked(value, f"`{argument}`")
    if is_sparse(value):
        message = f"`{argument}` must be a dense array; got a sparse {type(value).__name__} of shape {value.shape}. "
        raise error(message + "Write x.toarray().")
    try:
        return as_numpy(value)
    except FeatureError:
        raise
    except (TypeError, ValueError, OverflowError) as reason:
        message = f"`{argument}` must be an array; {reason}. Give every row the same length and type."
        raise error(message) from reason


def how_to_flatten(array: npt.NDArray[Any]) -> str:
    """Return what to write for labels in two dimensions."""
    if array.ndim != 2:
        return ""
    if array.shape[1] == 1:
        return "Flatten them: labels.ravel()."
    return "For one-hot labels pass labels.argmax(axis=1)."


def check_targets(targets: Any, n_samples: int, argument: str = "targets") -> FloatArray:
    """Return numbers to predict as a finite float64 array (n_samples,) or (n_samples, n_outputs).

    Raises
    ------
    LabelError
        For another dtype, rank or length, NaN or infinity (naming the first row).
    """
    array = as_array(targets, argument, LabelError)
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or array.shape[0] != n_samples or 0 in array.shape:
        message = f"`{argument}` must be numbers of shape ({n_samples},) or ({n_samples}, n_outputs); "
        message += f"got {array.dtype} of shape {array.shape}. Give one row per sample."
        raise LabelError(message)
    array = np.ascontiguousarray(array, dtype=np.float64)
    finite = np.isfinite(array.reshape(n_samples, -1)).all(axis=1)  # (n,) or (n, n_outputs) -> (n,)
    if not finite.all():
        message = f"`{argument}` must be finite; row {int(np.argmin(finite))} holds NaN or infinity. "
        message += "Fill it or drop the row."
        raise LabelError(message)
    check_magnitude(np.abs(array.reshape(n_samples, -1)).max(axis=0), argument, LabelError)
    return array


def check_magnitude(largest: npt.ArrayLike, argument: str, error: type[FeatureError | LabelError]) -> None:
    """Raise `error` where sums of powers of finite numbers would overflow, or underflow to nothing.

    Parameters
    ----------
    largest : array of shape (n_columns,) or float
        Largest size of the numbers, of each column or of all. Zero is allowed.
    argument : str
    error : class
    """
    sizes = np.ravel(np.asarray(largest, dtype=np.float64))
    bad = (sizes > LARGEST) | ((sizes > 0) & (sizes < SMALLEST))
    if bad.any():
        column = int(np.argmax(bad))
        where = f" in column {column}" if len(sizes) > 1 else ""
        limit = f"smaller than {LARGEST:.0e}" if sizes[column] > LARGEST else f"larger than {SMALLEST:.0e}"
        message = f"`{argument}` must be {limit} in size; the largest{where} is {sizes[column]:.1e}. Rescale them."
        raise error(message)


@contextmanager
def told_of_features(what: str) -> Iterator[None]:
    """Raise `FeatureError`, by which an encoder or a score is skipped, where a matrix cannot be factorised."""
    try:
        yield
    except np.linalg.LinAlgError as error:
        message = (
            f"`features` must be such that double precision resolves them; {what} met a matrix that it does not: "
            f"{error}. Standardise them, or drop rows and columns that are larger than the others by far."
        )
        raise FeatureError(message) from error


def check_same_length(first: npt.NDArray[Any], second: npt.NDArray[Any], names: tuple[str, str]) -> None:
    """Raise `FeatureError` unless both arrays have the same number of rows."""
    if len(first) != len(second):
        message = f"`{names[0]}` and `{names[1]}` must have the same length; got {len(first)} and {len(second)}."
        raise FeatureError(message)


def check_choice(value: Any, valid: Iterable[str], argument: str) -> str:
    """Return `value` if it is one of `valid`, else raise `OptionError` with the nearest."""
    options = list(valid)
    if not isinstance(value, str) or value not in options:
        message = f"`{argument}` must be one of {', '.join(map(repr, options))}; got {value!r}."
        if isinstance(value, str):
            message += f" {nearest_names(value, options)}"
        raise OptionError(message)
    return value


def check_positive(value: Any, argument: str, *, zero: bool = False) -> float:
    """Return `value` as a finite positive float (or zero, if allowed), else raise `OptionError`."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        wanted = "a finite number ≥ 0" if zero else "a finite number > 0"
        message = f"`{argument}` must be {wanted}; got {value!r}."
        raise OptionError(message)
    return number


def check_seed(value: Any, argument: str = "seed") -> int:
    """Return `value` as a seed, an integer from 0, else raise `OptionError`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        message = f"`{argument}` must be an integer from 0; got {value!r}."
        raise OptionError(message)
    return int(value)
