"""What every solver is, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.choices import GROUND_COSTS, SOLVERS, load_class
from transferability.relatedness.costs.base import GroundCost
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.solvers.solution import SampleSolution
from transferability.relatedness.tasks.problem import Head
from transferability.relatedness.tasks.sample import Sample

__all__ = ["SampleProblem", "SampleSolver", "Solver", "SolverOptions", "fitting_priors", "solver_class"]


class SolverOptions(NamedTuple):
    """The options of `TaskRelatedness` that decide the transformation."""

    tau: float | tuple[float, ...] | str
    ground_cost: str
    space: str
    matching: str | IntArray | FloatArray
    learn_map: bool
    solver: str
    standardize: bool
    scale: bool
    epochs: int
    batch_size: int
    covariance_weight: float
    seed: int

    def matches_by(self, name: str) -> bool:
        """Whether classes are matched in this way; `matching` may be an array."""
        return isinstance(self.matching, str) and self.matching == name


class Solver:
    """How a transformation is found. `relatedness.choices` lists the solvers.

    Whatever a solver finds, the bound is measured by the ground cost: a poor solver gives a large bound and never a
    wrong one.
    """

    name: ClassVar[str]
    spaces: ClassVar[tuple[str, ...]] = ("reference", "target")  # of the Euclidean cost; the default first
    reads_samples: ClassVar[bool] = True  # or statistics alone
    reads_packs: ClassVar[bool] = True  # as references

    @classmethod
    def ground_costs(cls) -> tuple[str, ...]:
        """Return the ground costs that it minimises, the default first."""
        return tuple(
            name for name, each in GROUND_COSTS.items() if (each.samples if cls.reads_samples else each.statistics)
        )


@dataclass(frozen=True, eq=False)
class SampleProblem:
    """What is known before the map: fitting samples, the classifier for one τ, and the classes it tells apart."""

    options: SolverOptions
    head: Head  # of the reference classes in use
    cost: GroundCost
    reference: Sample  # fitting rows of the classes in use
    target: Sample  # fitting rows, with guessed labels where `guessed`
    transform: LabelTransform
    guessed: bool
    guessed_map: AffineMap | None  # the map that the guesses came with
    rng: np.random.Generator

    @property
    def priors(self) -> FloatArray:
        """Class priors of the fitting target, (K_T,)."""
        return fitting_priors(self.target.labels, len(self.transform.shares))


class SampleSolver(Solver, ABC):
    """A solver for tasks with samples."""

    @classmethod
    def learns_labels(cls, options: SolverOptions) -> bool:
        """Whether it chooses the reference classes by itself, so that none may be left out before."""
        return False

    @abstractmethod
    def fit(self, problem: SampleProblem) -> SampleSolution:
        """Return the solution; `solve` fills in which classes are in use, and the bound where it is not known."""


def solver_class(name: str) -> type[Solver]:
    """Return the solver of this name."""
    choice = SOLVERS[name]
    solver: type[Solver] = load_class(choice.samples or choice.statistics or "")
    return solver


def fitting_priors(labels: IntArray, n_classes: int) -> FloatArray:
    """Return class priors; a class that was never guessed counts as one row, lest ``h'`` call it impossible."""
    counts = np.maximum(np.bincount(labels, minlength=n_classes), 1)
    priors: FloatArray = counts / counts.sum()
    return priors
