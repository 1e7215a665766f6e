"""Scores of a source and a target by transport between them, and the size of the encoder."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transferability import Task, scores
from transferability.errors import LabelError, OptionError, TaskError


def test_transport_of_a_task_to_itself_costs_nothing(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    task = Task(*clusters)
    result = scores.otce(task, task)
    assert (result.distance, result.conditional_entropy) == (pytest.approx(0, abs=1e-12), 0.0)


def test_assignment_and_network_simplex_agree(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = clusters
    source, target = Task(x[:50], y[:50]), Task(x[60:] + 1, y[60:])
    # Every sample twice is the same distribution, and 100 against 60 is solved by the simplex.
    doubled = Task(np.repeat(x[:60], 2, axis=0), np.repeat(y[:60], 2))
    assert scores.ot_nce(doubled, target).distance == pytest.approx(
        scores.ot_nce(Task(x[:60], y[:60]), target).distance, rel=1e-9
    )
    assert scores.ot_nce(source, target).n_source == 50


def test_subset_is_drawn_by_seed_and_told(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    task = Task(*clusters, name="t")
    other = Task(clusters[0] + 0.5, clusters[1])
    first, again = scores.ot_nce(task, other, max_samples=40), scores.ot_nce(task, other, max_samples=40)
    assert first == again
    assert "40 of the 120 samples of 't'" in first.notes[0]
    assert scores.ot_nce(task, other, max_samples=40, seed=1).distance != first.distance


def test_transport_refuses(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    task = Task(*clusters)
    with pytest.raises(TaskError, match="6 and 5"):
        scores.otce(task, Task(clusters[0][:, :5], clusters[1]))
    with pytest.raises(LabelError, match="no labels"):
        scores.otce(task, Task(clusters[0]))
    with pytest.raises(OptionError, match="max_samples"):
        scores.otce(task, task, max_samples=1.5)
    with pytest.raises(OptionError, match="coefficients"):
        scores.otce(task, task, coefficients=(math.inf, 1.0))


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_size_refuses(n: object) -> None:
    with pytest.raises(OptionError, match="n_parameters"):
        scores.size(n)
