"""What a result says of single classes, and of the classifier of its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ClassTerms", "NearestClass", "ReferenceFit"]


class NearestClass(NamedTuple):
    """The class of a reference pack that a target class lies nearest to."""

    target_class: str
    reference: str
    reference_class: str
    share: float  # of the rows of the target class, whose nearest class it is
    runner_up: str | None = None  # "reference: class" that comes second; None where all rows agree


class ReferenceFit(NamedTuple):
    """How well the classifier of the reference was fitted."""

    loss: float
    accuracy: float
    gap: float | None  # bound on loss − optimum, in nats
    converged: bool


@dataclass(frozen=True)
class ClassTerms:
    """What is known of one target class; the terms are weighted by its prior, so that they sum to those of the bound.

    Attributes
    ----------
    target_class : str
    reference_class : str or None
        The one with the largest share in it; None where the class has no sample.
    prior : float
    reference_loss, label_mismatch, distribution_mismatch : float
        In nats.
    accuracy_lost_on_reference, accuracy_lost_to_labels, accuracy_lost_on_target : float or None
        Shares of all rows; None without labels.
    alternative_class : str or None
        What the best other assignment would match it with.
    margin, margin_error : float or None
        Nats that it costs more, and the standard error of that.
    share_of_folds : float or None
        Share of the folds that chose the reference class.
    """

    target_class: str
    reference_class: str | None
    prior: float
    reference_loss: float
    label_mismatch: float
    distribution_mismatch: float
    accuracy_lost_on_reference: float | None = None
    accuracy_lost_to_labels: float | None = None
    accuracy_lost_on_target: float | None = None
    alternative_class: str | None = None
    margin: float | None = None
    margin_error: float | None = None
    share_of_folds: float | None = None

    @property
    def bound(self) -> float:
        """Its part of the bound."""
        return self.reference_loss + self.label_mismatch + self.distribution_mismatch
