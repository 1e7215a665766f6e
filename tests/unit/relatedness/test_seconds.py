"""The seconds that a result says are those that it took."""

import time
from typing import Any

import numpy as np
import pytest

from transferability import ReferencePack, Task, TaskRelatedness


def task(seed: int) -> Task:
    labels = np.arange(24) % 2
    return Task(3 * np.eye(2, 4)[labels] + np.random.default_rng(seed).normal(size=(24, 4)), labels)


@pytest.mark.parametrize(
    ("options", "references", "folds"),
    [
        ({}, [task(0)], None),
        ({}, [task(0), task(1)], 2),
        ({"union": True}, [task(0), task(1)], None),
        ({"solver": "statistics"}, [task(0)], None),
        ({}, [ReferencePack.from_task(task(0), task(1), tau=0.5)], None),
        ({}, None, 2),
    ],
    ids=["samples", "folds", "union", "statistics", "pack", "own half"],
)
def test_seconds_are_those_of_the_fit(options: dict[str, Any], references: Any, folds: int | None) -> None:
    started = time.perf_counter()
    result = TaskRelatedness(tau=0.5, **options).fit(references, task(2), folds=folds)
    took = time.perf_counter() - started
    assert all(0 < each.seconds <= took for each in result.references)
    assert 0 < result.seconds <= took
