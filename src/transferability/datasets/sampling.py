"""Rows of a data set: stratified subsamples and splits, deterministic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transferability._array import IntArray
from transferability.errors import OptionError

__all__ = ["split", "stratified_sample"]


def stratified_sample(labels: IntArray | None, n_samples: int, size: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return `size` row numbers, ascending, with the class shares of the whole.

    Parameters
    ----------
    labels : array of int of shape (n_samples,), or None
        Without labels the rows are drawn uniformly.
    n_samples : int
        Number of rows there are.
    size : int
        Number of rows wanted; all of them if there are no more.
    seed : int, default=0
        The same seed gives the same rows.

    Raises
    ------
    OptionError
        If `size` is not positive, or smaller than the number of classes: each class keeps at least one row.

    Examples
    --------
    >>> stratified_sample(np.array([0, 0, 0, 0, 1, 1]), 6, 3)
    array([0, 2, 5])
    """
    if size < 1:
        message = f"`limit` must be at least 1; got {size}."
        raise OptionError(message)
    if size >= n_samples:
        return np.arange(n_samples)
    rng = np.random.default_rng(seed)
    if labels is None:
        return np.sort(rng.permutation(n_samples)[:size])
    classes, counts = np.unique(labels, return_counts=True)
    if size < len(classes):
        message = f"`limit` must leave every class a sample; got {size} for {len(classes)} classes."
        raise OptionError(message)
    quotas = _quotas(counts, size)
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:quota] for label, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def split(
    labels: IntArray, test_share: float = 0.3, seed: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split rows into a fitting and a test part, class by class.

    Parameters
    ----------
    labels : array of int of shape (n_samples,)
        Classes; for an unlabelled task pass zeros.
    test_share : float, default=0.3
        Share of each class that goes to the test part, between 0 and 1. A class with at least two samples has at least
        one on each side; a class with a single sample stays in the fitting part.
    seed : int, default=0
        The same seed gives the same split.

    Returns
    -------
    fit_rows, test_rows : arrays of int
        Ascending row numbers; together every row once.

    Raises
    ------
    OptionError
        If `test_share` is not between 0 and 1.

    Examples
    --------
    >>> split(np.array([0, 0, 1, 1, 2]), 0.5)
    (array([1, 3, 4]), array([0, 2]))
    """
    if not 0 < test_share < 1:
        message = f"`test_share` must be between 0 and 1; got {test_share}."
        raise OptionError(message)
    rng = np.random.default_rng(seed)
    in_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) > 1:
            in_test[rows[: min(max(1, round(len(rows) * test_share)), len(rows) - 1)]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def _quotas(counts: IntArray, size: int) -> npt.NDArray[np.int64]:
    """Share `size` rows among classes in proportion to `counts`, by largest remainder, at least one each."""
    exact = counts * (size / counts.sum())
    quotas: npt.NDArray[np.int64] = np.maximum(np.floor(exact).astype(np.int64), 1)
    while quotas.sum() > size:  # the minimum of one for many rare classes: who has most to spare gives one back
        quotas[np.argmax(np.where(quotas > 1, quotas - exact, -np.inf))] -= 1
    remainder_order = np.argsort(-(exact - quotas), kind="stable")
    quotas[remainder_order[: size - quotas.sum()]] += 1
    return quotas
