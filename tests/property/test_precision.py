"""Scores on features that cost digits: far from the origin, in groups far apart, of any unit, with copies.

The reference is slow and takes no product of large numbers: differences, or singular values of the features themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferability import scores

seeds = st.integers(0, 10_000)
few = settings(max_examples=4, deadline=None)


def problem(seed: int, n: int = 120, d: int = 8, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    return rng.normal(size=(n, d)) + 0.8 * rng.normal(size=(n_classes, d))[labels], labels


def outlier(x: np.ndarray, size: float) -> np.ndarray:
    return np.concatenate([x[:-1], np.full((1, x.shape[1]), size)])


def groups(x: np.ndarray, distance: float) -> np.ndarray:
    return x + distance * np.where(np.arange(len(x)) % 4 < 2, 1, -1)[:, None]


HAZARDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda x: x,
    "unit of 1e-6": lambda x: x * 1e-6,
    "unit of 1e6": lambda x: x * 1e6,
    "from the origin 1e4": lambda x: x + 1e4,
    "from the origin 1e8": lambda x: x + 1e8,
    "groups 1e4": lambda x: groups(x, 1e4),
    "groups 1e6": lambda x: groups(x, 1e6),
    "groups 1e8": lambda x: groups(x, 1e8),
    "outlier 1e6": lambda x: outlier(x, 1e6),
    "outlier 1e9": lambda x: outlier(x, 1e9),
    "copied columns": lambda x: np.concatenate([x, x], axis=1),
    "copied rows": lambda x: np.concatenate([x[: len(x) // 2]] * 2),
    "constant columns": lambda x: np.concatenate([x, np.full((len(x), 2), [0.1, 1e8 + 0.1])], axis=1),
    "more features than rows": lambda x: np.concatenate([x, np.random.default_rng(0).normal(size=(len(x), 200))], 1),
    "rows and columns far apart": lambda x: groups(x, 1e5) * np.logspace(-3, 3, x.shape[1]),
}
DTYPES = [np.float32, np.float64]


def nearest_neighbour_accuracy(features: np.ndarray, labels: np.ndarray, k: int = 3) -> float:
    wide = features.astype(np.float64)
    distances = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    votes = labels[np.argsort(distances, axis=1, kind="stable")[:, :k]]
    counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    return float((votes[np.arange(len(votes)), counts.argmax(axis=1)] == labels).mean())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hazard", HAZARDS)
@given(seed=seeds)
@few
def test_knn(hazard: str, dtype: type, seed: int) -> None:
    x, labels = problem(seed)
    features = HAZARDS[hazard](x).astype(dtype)
    assert float(scores.knn(features, labels)) == pytest.approx(nearest_neighbour_accuracy(features, labels), abs=1e-9)


@pytest.mark.parametrize("hazard", ["plain", "from the origin 1e4", "groups 1e4", "outlier 1e6", "copied columns"])
def test_knn_of_other_array_libraries_in_single_precision(hazard: str) -> None:
    x, labels = problem(0)
    features = HAZARDS[hazard](x).astype(np.float32)
    expected = nearest_neighbour_accuracy(features, labels)
    # Where the features themselves are rounded to a few steps, ties may fall either way.
    assert float(scores.knn(array_api_strict.asarray(features), labels)) == pytest.approx(expected, abs=0.02)


def test_knn_of_copies_takes_the_first_of_them() -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(2, 5)), 200, axis=0) + 1e6 * np.repeat([1, -1], 200)[:, None]
    labels = np.tile([0, 1], 200)
    assert float(scores.knn(x, labels)) == pytest.approx(nearest_neighbour_accuracy(x, labels), abs=1e-12)
