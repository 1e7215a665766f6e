"""The solvers and ground costs that there are, with what help says of each: where a new one is registered.

Classes are named, not imported: whoever only asks for help waits for no numerics.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, NamedTuple

__all__ = ["GROUND_COSTS", "SOLVERS", "GroundCostName", "SolverName", "help_of", "load_class"]


class Choice(NamedTuple):
    """One value of an option."""

    help: str  # a few words beside the name; "" where the name says it
    samples: str | None = None  # "module:Class" within `transferability.relatedness`, for tasks with samples
    statistics: str | None = None  # the same for means and covariances of classes


SolverName = Literal["alternating", "sgd", "statistics"]
SOLVERS: dict[str, Choice] = {
    "alternating": Choice("", samples="solvers.alternating:Alternating"),
    "sgd": Choice("the paper's Algorithm 1", samples="solvers.algorithm1:Algorithm1"),
    "statistics": Choice("", statistics="solvers.statistics:Statistics"),
}
"""By the name that `TaskRelatedness(solver=…)` takes; the first is the default."""

GroundCostName = Literal["exact", "loss", "euclidean", "gamma"]
GROUND_COSTS: dict[str, Choice] = {
    "exact": Choice("smallest bound", samples="costs.exact:ExactCost"),
    "loss": Choice("", samples="costs.loss:LossCost", statistics="costs.gaussian_costs:GaussianLoss"),
    "euclidean": Choice(
        "the paper's", samples="costs.euclidean:EuclideanCost", statistics="costs.gaussian_costs:GaussianEuclidean"
    ),
    "gamma": Choice("Eq. 5 of the paper, by statistics", statistics="costs.gaussian_costs:GammaCost"),
}
"""By the name that `TaskRelatedness(ground_cost=…)` takes; of those that a solver takes the first is its default."""


def load_class(place: str) -> Any:
    """Import what ``"module:Class"`` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"transferability.relatedness.{module}"), name)


def help_of(choices: dict[str, Choice]) -> str:
    """Return the names with what help says of each, as in "exact (smallest bound), loss"."""
    return ", ".join(f"{name} ({each.help})" if each.help else name for name, each in choices.items())
