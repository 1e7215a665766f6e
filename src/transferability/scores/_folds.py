"""Folds of rows: drawn, or given and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferability._array import IntArray
from transferability.errors import OptionError

__all__ = ["check_folds", "stratified_folds"]


def stratified_folds(labels: IntArray, n_folds: int, rng: np.random.Generator) -> IntArray:
    """Return the fold of each row: classes in turn, each in random order, dealt like cards."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds


def check_folds(folds: Sequence[tuple[Any, Any]], n_rows: int) -> list[tuple[IntArray, IntArray]]:
    """Return folds as pairs of row numbers; they must test every row once, and fit on others."""
    checked: list[tuple[IntArray, IntArray]] = [
        (np.asarray(fit, dtype=np.int64), np.asarray(test, dtype=np.int64)) for fit, test in folds
    ]
    tests = np.concatenate([test for _, test in checked]) if checked else np.empty(0, dtype=np.int64)
    whole = len(tests) == n_rows and np.array_equal(np.sort(tests), np.arange(n_rows))
    if len(checked) < 2 or not whole:
        message = f"`folds` must be two or more pairs of rows whose test rows are each of the {n_rows} rows once; got "
        message += f"{len(checked)} folds with {len(tests)} test rows. Use `transferability.datasets.folds`."
        raise OptionError(message)
    for k, (fit, test) in enumerate(checked):
        if not len(fit) or fit.min() < 0 or fit.max() >= n_rows or np.isin(fit, test).any():
            message = f"`folds` must fit on other rows than they test; fold {k} does not, or has no fitting rows."
            raise OptionError(message)
    return checked
