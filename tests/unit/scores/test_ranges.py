"""The ends of every range of a score's options are taken, and what is beyond them is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from transferability import TaskRelatedness, scores
from transferability.agreement import agreement
from transferability.errors import OptionError
from transferability.ranking.intervals import clopper_pearson
from transferability.scores.ncti import _unit_geometry

N = 12
X = np.random.default_rng(0).normal(size=(N, 3)) + 2 * np.eye(3)[np.arange(N) % 2]
Y = np.arange(N) % 2


@pytest.mark.parametrize(
    ("call", "inside", "outside"),
    [
        (lambda n: scores.knn(X, Y, n_neighbors=n), (1, N - 1), (0, N, 1.5, True)),
        (lambda n: scores.linear_probe(X, Y, n_folds=n), (2, N), (1, N + 1, 2.5, True)),
        (lambda n: scores.probe(X, Y, X, Y, n_folds=n), (2, N), (1, N + 1, 2.5, True)),
        (lambda n: scores.n_leep(X, Y, n_components=n), (1, N), (0, N + 1, 1.5, True)),
        (lambda share: scores.energy(X, share=share), (1e-9, 1, 1.0), (0.0, 1.001, -0.5)),
        (lambda n: clopper_pearson(n, N), (0, N), (-1, N + 1, 0.5, True)),
    ],
    ids=["knn", "linear_probe", "probe", "n_leep", "energy", "clopper_pearson"],
)
def test_a_range_ends_where_it_says(
    call: Callable[[Any], Any], inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    for value in inside:
        call(value)
    for value in outside:
        with pytest.raises(OptionError):
            call(value)


def test_the_geometry_of_ncti_without_and_with_differences_between_classes() -> None:
    assert _unit_geometry(0.0, 0, N) == 0.0  # none, so nothing is said
    assert _unit_geometry(0.5, 0, N) == 1.0
    assert _unit_geometry(4 * np.sqrt(N), 2, N) == 0.5
    assert _unit_geometry(np.sqrt(N), 2, N) == 0.0


@pytest.mark.parametrize("function", [*(getattr(scores, name) for name in scores.__all__), agreement, TaskRelatedness])
def test_whoever_draws_begins_with_seed_zero(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    assert "seed" not in parameters or parameters["seed"].default in (0, inspect.Parameter.empty)
