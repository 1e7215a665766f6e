"""Solvers and ground costs are registered in one place, and a new one works from there."""

from dataclasses import replace
from typing import ClassVar, get_args

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.errors import OptionError
from transferability.relatedness import choices
from transferability.relatedness.choices import GROUND_COSTS, SOLVERS, Choice, help_of, load_class
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.solvers import alternating
from transferability.relatedness.solvers.alternating import Alternating
from transferability.relatedness.solvers.base import SampleProblem
from transferability.relatedness.solvers.solution import SampleSolution

rng = np.random.default_rng(0)
y = np.arange(90) % 3
REFERENCE = Task(3 * np.eye(3, 5)[y] + rng.normal(size=(90, 5)), y, name="reference")
TARGET = Task(3 * np.eye(3, 5)[y] + rng.normal(size=(90, 5)), y, name="target")


def test_types_name_what_is_registered() -> None:
    assert get_args(choices.SolverName) == tuple(SOLVERS)
    assert get_args(choices.GroundCostName) == tuple(GROUND_COSTS)


@pytest.mark.parametrize("registry", [SOLVERS, GROUND_COSTS])
def test_every_class_is_there_under_its_name(registry: dict[str, Choice]) -> None:
    for name, choice in registry.items():
        places = [place for place in (choice.samples, choice.statistics) if place]
        assert places
        assert {load_class(place).name for place in places} == {name}


def test_help_says_names_and_words() -> None:
    assert help_of({"a": Choice(""), "b": Choice("the paper's")}) == "a, b (the paper's)"


class Still(Alternating):
    """Leaves the features where they are."""

    name: ClassVar[str] = "still"

    @classmethod
    def ground_costs(cls) -> tuple[str, ...]:
        return ("loss",)

    def fit(self, problem: SampleProblem) -> SampleSolution:
        shapes = problem.reference.features.shape[1], problem.target.features.shape[1]
        return replace(super().fit(problem), feature_map=AffineMap.identity(*shapes), criterion=float("nan"))


def test_a_new_solver_is_a_class_and_its_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternating, "Still", Still, raising=False)
    monkeypatch.setitem(SOLVERS, "still", Choice("", samples="solvers.alternating:Still"))
    result = TaskRelatedness(solver="still").fit(REFERENCE, TARGET, folds=3)
    assert (result.solver, result.ground_cost, result.certified) == ("still", "loss", True)
    assert result.transferred_loss is not None
    assert result.bound >= result.transferred_loss
    np.testing.assert_array_equal(result.transform.feature_map.matrix, np.eye(5))
    with pytest.raises(OptionError, match=r"must be 'loss' with solver='still'; got 'exact'"):
        TaskRelatedness(solver="still", ground_cost="exact")
