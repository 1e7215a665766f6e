"""What `TaskRelatedness` says to options and tasks that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.errors import FeatureError, LabelError, OptionError, TaskError, TransferabilityError


def task(n_classes: int = 3, d: int = 6, **options: Any) -> Task:
    """Return classes at the axes."""
    labels = np.arange(90) % n_classes
    return Task(5 * np.eye(n_classes, d)[labels] + np.random.default_rng(0).normal(size=(90, d)), labels, **options)


GOOD = task(name="good")
NAMELESS = Task(GOOD.features, name="nameless")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TaskRelatedness(0.0), OptionError, r"`tau` must be a finite number > 0; got 0\.0"),
        (lambda: TaskRelatedness([0.2, -1]), OptionError, r"`tau` must be a finite number > 0; got -1"),
        (lambda: TaskRelatedness([]), OptionError, r"`tau` must be a positive number, .*got an empty sequence"),
        (
            lambda: TaskRelatedness("outo"),
            OptionError,
            r"`tau` must be one of 'scaled', 'auto'; got 'outo'\. Did you mean 'auto'",
        ),
        (lambda: TaskRelatedness(ground_cost="los"), OptionError, r"`ground_cost` .*got 'los'\. Did you mean 'loss'"),
        (lambda: TaskRelatedness(space="there"), OptionError, r"`space` must be one of 'reference', 'target'"),
        (lambda: TaskRelatedness(solver="adam"), OptionError, r"`solver` must be one of 'alternating', 'sgd'"),
        (lambda: TaskRelatedness(matching="assign"), OptionError, r"`matching` must be .*Did you mean 'assignment'"),
        (
            lambda: TaskRelatedness(matching=[0.5, 1]),
            OptionError,
            r"`matching` must be one of .*one reference class \(int\) per target class, or shares",
        ),
        (lambda: TaskRelatedness(matching=[]), OptionError, r"`matching` must be one of .*got \[\]"),
        (lambda: TaskRelatedness(seed=-1), OptionError, r"`seed` must be an integer ≥ 0; got -1"),
        (lambda: TaskRelatedness(seed=0.5), OptionError, r"`seed` must be an integer ≥ 0; got 0\.5"),
    ],
)
def test_bad_options(make: Callable[[], object], error: type[TransferabilityError], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((NAMELESS, GOOD), LabelError, r"task 'nameless' has no labels, and they are needed here"),
        ((GOOD, GOOD, NAMELESS), LabelError, r"task 'nameless' has no labels"),
        (([GOOD, NAMELESS], GOOD), LabelError, r"task 'nameless' has no labels"),
        (([], GOOD), TaskError, r"`reference` must be a task or a sequence of tasks; got an empty sequence"),
        ((GOOD, GOOD.features), TaskError, r"tasks must be of type Task; got ndarray\. Pass Task\(features, labels\)"),
        ((["good"], GOOD), TaskError, r"tasks must be of type Task; got str"),
        ((GOOD, GOOD, None, GOOD.features), TaskError, r"tasks must be of type Task; got ndarray"),
        ((GOOD, GOOD, [GOOD.features]), TaskError, r"tasks must be of type Task; got ndarray"),
        ((GOOD, NAMELESS, None, GOOD.features), TaskError, r"tasks must be of type Task; got ndarray"),
        (([GOOD, GOOD], GOOD, GOOD), TaskError, r"one task for each reference; got 1 for 2 references"),
        ((GOOD, GOOD, None, task(d=4)), TaskError, r"the test part of 'good' must have 6 features.*got 4"),
        ((GOOD, GOOD, task(d=4)), TaskError, r"the test part of 'good' must have 6 features.*got 4"),
        ((GOOD, GOOD, None, task(n_classes=2)), LabelError, r"class 2 of 'good' is absent from its test part"),
        ((GOOD, GOOD, task(n_classes=2)), LabelError, r"class 2 of 'good' is absent from its test part"),
        ((GOOD, GOOD, None, task(n_classes=4)), LabelError, r"class 3 of 'good' is in its test part but not in"),
        (
            (GOOD, NAMELESS, None, task(n_classes=4)),
            TaskError,
            r"taken to have the 3 classes .*but its test part",
        ),
        (
            (GOOD, Task(GOOD.features, class_names=["a", "b", "c", "d"])),
            TaskError,
            r"must not have more classes than the reference; got 4 for 3\. Use a reference with more classes",
        ),
    ],
)
def test_tasks_that_do_not_fit(arguments: tuple, error: type[TransferabilityError], message: str) -> None:
    with pytest.raises(error, match=message):
        TaskRelatedness().fit(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "sgd", "ground_cost": "loss"}, r"`ground_cost` must be 'euclidean' with solver='sgd'; got 'loss'"),
        ({"solver": "sgd", "ground_cost": "exact"}, r"`ground_cost` must be 'euclidean' with solver='sgd'"),
        ({"solver": "sgd", "space": "reference"}, r"`space` must be 'target' with solver='sgd'"),
        (
            {"solver": "statistics", "ground_cost": "exact"},
            r"'loss' or 'euclidean' or 'gamma' with solver='statistics'",
        ),
        ({"ground_cost": "gamma"}, r"got 'gamma'\. Use solver='statistics'"),
        ({"epochs": 0}, r"`epochs` must be an integer ≥ 1; got 0"),
        ({"epochs": True}, r"`epochs` must be an integer ≥ 1; got True"),
        ({"batch_size": 2.5}, r"`batch_size` must be an integer ≥ 1; got 2\.5"),
        ({"matching": [[0.5, -0.5, 1]]}, r"`matching` must be one of .*or shares ≥ 0 of shape"),
        ({"matching": [[1, 0, 0], [0, 0, 0]]}, r"`matching` must be one of .*of each row some > 0"),
        ({"matching": [[np.nan, 1]]}, r"`matching` must be one of"),
        ({"matching": np.zeros((2, 0))}, r"`matching` must be one of"),
        ({"matching": np.ones((2, 2, 2))}, r"`matching` must be one of"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TaskRelatedness(**options)


def test_options_that_do_not_fit_the_tasks() -> None:
    many = task(n_classes=5)
    with pytest.raises(OptionError, match=r"`matching='identity'` needs a reference class for every target class"):
        TaskRelatedness(matching="identity").fit(GOOD, many)
    for bad in ([0, 1], [0, 1, 3], [0, -1, 2]):
        with pytest.raises(
            OptionError, match=r"`matching` must give one reference class from 0 to 2 for each of the 3"
        ):
            TaskRelatedness(matching=bad).fit(GOOD, GOOD)
    for shares in (np.ones((2, 3)), np.ones((3, 4)), np.ones((3, 2))):
        with pytest.raises(OptionError, match=r"`matching` must give a share of each of the 3 reference classes"):
            TaskRelatedness(matching=shares).fit(GOOD, GOOD)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_features_beyond_single_precision_must_be_standardised(scale: float) -> None:
    task = Task(GOOD.features * scale, GOOD.labels, name="odd units")
    with pytest.raises(FeatureError, match=r"task 'odd units' must lie within .*Use standardize=True, or rescale"):
        TaskRelatedness(standardize=False).fit(GOOD, task)
    assert TaskRelatedness().fit(GOOD, task).certified


def test_the_papers_solver_says_when_features_are_too_large_for_it() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    tasks = [Task(1e15 * rng.normal(size=(40, 3)), labels) for _ in range(2)]
    model = TaskRelatedness(0.2, solver="sgd", standardize=False, epochs=50)
    with pytest.raises(FeatureError, match=r"moderate size for solver='sgd'.*standardize=True"):
        model.fit(*tasks)
