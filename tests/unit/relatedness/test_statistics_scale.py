"""The scale that the solver by statistics gives the logits: how far the labels of few rows are believed."""

import numpy as np
import pytest

from transferability import Relatedness, Task, TaskRelatedness


def corners(seed: int, n: int, order: tuple[int, ...] = (0, 1, 2), times: int = 1) -> Task:
    """Return Gaussian classes around corners, each row `times` over: more rows with the same moments."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    features = 4 * np.eye(3, 5)[np.array(order)[labels]] + rng.normal(size=(n, 5))
    return Task(np.tile(features, (times, 1)), np.tile(labels, times))


def fit(times: int, **options: object) -> Relatedness:
    estimator = TaskRelatedness(solver="statistics", tau=0.5, **options)
    return estimator.fit(corners(0, 30, times=times), corners(2, 240, (2, 0, 1)))


def test_the_labels_of_few_rows_are_believed_less() -> None:
    few, more, many = (fit(times) for times in (1, 10, 100))
    assert few.scale < more.scale < many.scale < 100  # the end of the range, 1,097, is for labels beyond doubt
    assert few.bound > more.bound > many.bound
    assert few.bound == pytest.approx(many.bound, abs=0.05)


def test_the_scale_makes_the_estimate_small() -> None:
    plain, scaled = fit(10, learn_map=False, scale=False), fit(10, learn_map=False)
    assert plain.scale == 1.0
    assert scaled.scale > 2
    assert scaled.bound < 0.8 * plain.bound
