"""From a solution and what was measured to the result that users see; the same for every solver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.classifier.scale import is_guess
from transferability.relatedness.measure import Measurement
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.solvers.base import SolverOptions
from transferability.relatedness.solvers.solution import SampleSolution, StatisticsSolution
from transferability.relatedness.tasks.standardize import Scaler
from transferability.task import Task

__all__ = ["Side", "build_result"]

_CHANCE = "so that the bound says no more than chance"


class Side(NamedTuple):
    """What a result says of one of its two tasks."""

    name: str
    class_names: tuple[str, ...]
    scaler: Scaler

    @classmethod
    def of(cls, task: Task, n_classes: int, scaler: Scaler) -> Side:
        """Return this of a task; classes without names are numbered."""
        return cls(task.name, task.class_names or tuple(map(str, range(n_classes))), scaler)


def build_result(
    options: SolverOptions,
    reference: Side,
    target: Side,
    solution: SampleSolution | StatisticsSolution,
    measured: Measurement,
    *,
    reference_features: FloatArray,
    evaluated_on: str,
    certified: bool,
    certificate: str,
    fit_bound: float,
    tau_path: Sequence[tuple[float, float]],
    seconds: float,
    pseudo_labels: IntArray | None = None,
    fold_shares: FloatArray | None = None,
) -> Relatedness:
    """Return the result of one reference and one target.

    Parameters
    ----------
    options : SolverOptions
    reference, target : Side
    solution : Solution
        Fitted to all fitting rows.
    measured : Measurement
        On what `evaluated_on` names: "fit", "test" or "folds".
    reference_features : array of shape (n, d)
        Of the reference, standardised: rows, or means of classes.
    certified, certificate
        Whether the bound is certified, and the sentence that says why or why not.
    fit_bound : float
        The bound on the fitting part.
    tau_path : sequence of (τ, bound)
        Every τ that was tried.
    seconds : float
    pseudo_labels : array of int, optional
        What the labels of the fitting part were guessed to be.
    fold_shares : array of shape (K_T,), optional
        Of the folds, that chose the reference class of the solution.
    """
    classifier, terms = solution.cost.classifier, measured.certificate
    transform = solution.full_transform(len(reference.class_names), (reference.scaler, target.scaler))
    losses, correct, unmapped = measured.losses, measured.correct, measured.correct_without_map
    return Relatedness(
        reference=reference.name,
        target=target.name,
        certificate_terms=terms,
        transform=transform,
        tau=solution.tau,
        scale=solution.scale,
        certified_tau=classifier.certified_tau if options.space == "reference" else transform.lipschitz,
        certified=certified,
        certificate=certificate,
        transferred_loss=None if losses is None else float(losses.mean()),
        transferred_accuracy=None if correct is None else float(correct.mean()),
        accuracy_without_map=None if unmapped is None else float(unmapped.mean()),
        transferability=None,
        transferability_accuracy=None,
        class_map=np.where(terms.priors > 0, solution.class_map, -1),
        fit_bound=fit_bound,
        evaluated_on=evaluated_on,
        ground_cost=options.ground_cost,
        space=options.space,
        solver=options.solver,
        ridge=solution.ridge,
        history=solution.history,
        seconds=seconds,
        reference_classifier=classifier,
        target_classifier=None,
        reference_class_names=reference.class_names,
        target_class_names=target.class_names,
        transferred_losses=None if losses is None else losses.astype(np.float32),
        transferred_correct=correct,
        pseudo_labels=pseudo_labels,
        tau_path=tuple(tau_path) if len(tau_path) > 1 else (),
        accuracy_terms=measured.accuracy_terms,
        match_certainty=solution.certainty,
        fold_shares=fold_shares,
        notes=_notes(options, classifier.logits(reference_features), solution.scale),
    )


def _notes(options: SolverOptions, logits: FloatArray, scale: float) -> tuple[str, ...]:
    """Say that the classifier guesses where it does, and what else can be asked for."""
    if not options.scale or not is_guess(logits):
        return ()
    if is_guess(logits / scale):
        return (f"the reference classifier guesses: it tells no classes of the reference apart, {_CHANCE}",)
    exact = "ground_cost='exact', or " if options.solver == "alternating" and options.ground_cost != "exact" else ""
    return (
        f"the reference classifier guesses: its logits are scaled to nearly nothing, which costs least, {_CHANCE}. "
        f"Take {exact}scale=False for the bound of the classifier as it was trained",
    )
