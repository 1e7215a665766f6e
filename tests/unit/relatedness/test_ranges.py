"""The ends of every range of an option are taken, and what is beyond them is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from transferability import ReferencePack, Task, TaskRelatedness
from transferability.errors import OptionError

TASK = Task(np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 2)


@pytest.mark.parametrize(
    ("option", "inside", "outside"),
    [
        ("epochs", (1, np.int64(1)), (0, -1, 1.5, True)),
        ("batch_size", (1,), (0, -1, 1.5, True)),
        ("seed", (0, 2**40), (-1, 0.5, None)),
        ("tau", (1e-9, 1e9, [1e-9, 1e9]), (0.99e-9, 1.01e9, 0.0, -1.0, [0.1, 2e9], float("nan"))),
        ("covariance_weight", (0.0, 1e3), (-1e-9, float("inf"))),
    ],
)
def test_a_range_ends_where_it_says(option: str, inside: tuple[Any, ...], outside: tuple[Any, ...]) -> None:
    for value in inside:
        assert TaskRelatedness(**{option: value}).get_params()[option] == (
            tuple(value) if isinstance(value, list) else value
        )
    for value in outside:
        with pytest.raises(OptionError, match=f"`{option}` must"):
            TaskRelatedness(**{option: value})


def test_folds_and_rows_of_a_pack_have_ends_too() -> None:
    assert TaskRelatedness(tau=0.5).fit(TASK, TASK, folds=2).evaluated_on == "folds"
    for folds in (1, 0, 13):
        with pytest.raises(OptionError, match="`folds` must"):
            TaskRelatedness(tau=0.5).fit(TASK, TASK, folds=folds)
    assert ReferencePack.from_task(TASK, TASK, tau=0.5, rows=1).has_rows
    assert not ReferencePack.from_task(TASK, TASK, tau=0.5, rows=0).has_rows
    with pytest.raises(OptionError, match="`rows` must"):
        ReferencePack.from_task(TASK, TASK, tau=0.5, rows=-1)
