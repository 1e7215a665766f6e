"""The frozen summary of a relatedness: numbers and per-sample arrays, without the transformation that gave them.

Rankings, studies and reports hold this. It is what a JSON record says, and is made again from one.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from transferability._array import BoolArray, FloatArray, IntArray
from transferability._criteria import TRANSFERRED_ACCURACY, TRANSFERRED_LOSS
from transferability._validate import check_choice
from transferability.relatedness.results.class_terms import ClassTerms, NearestClass, ReferenceFit
from transferability.relatedness.results.visual_summary import VisualSummary
from transferability.statistics.bounded_means import betting_interval, largest_smoothed_loss, smoothed_losses
from transferability.statistics.intervals import ConfidenceInterval, clopper_pearson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["REFERENCE_ON_FIT", "ClassTerms", "NearestClass", "ReferenceFit", "RelatednessSummary"]

_NUMBERS = [
    "reference", "target",
    "bound", "reference_loss", "label_mismatch", "distribution_mismatch",
    "transferred_loss", "transferred_accuracy", "accuracy_without_map",
    "transferability", "transferability_accuracy", "gap",
    "tau", "scale", "certified_tau", "certified", "certificate",
    "chance", "log_n_classes", "fit_bound", "evaluated_on",
    "ground_cost", "space", "solver", "seconds",
    "ridge", "exact_transport",
]  # fmt: skip

_ROUNDING = 1e-9  # of a share of rows
REFERENCE_ON_FIT = (
    "the reference loss is of the rows that the reference's classifier was fitted to, of others it is larger: give "
    "`reference_test`"
)
"""A note."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RelatednessSummary:
    """Numbers of the relatedness of one reference and one target; the attributes are those of `Relatedness`.

    `classes` has the terms of each target class, `bound_per_sample` each target sample's part of the bound (its mean is
    the bound); both may be empty or None for the others of `references`.
    """

    reference: str
    target: str
    bound: float
    reference_loss: float
    label_mismatch: float
    distribution_mismatch: float
    transferred_loss: float | None
    transferred_accuracy: float | None
    transferability: float | None
    transferability_accuracy: float | None
    tau: float
    scale: float
    certified_tau: float
    certified: bool
    certificate: str
    chance: float | None
    log_n_classes: float
    fit_bound: float
    evaluated_on: str
    ground_cost: str
    space: str
    solver: str
    ridge: float
    exact_transport: bool
    seconds: float
    history: tuple[float, ...]
    class_map: IntArray
    classes: tuple[ClassTerms, ...]
    reference_fit: ReferenceFit
    accuracy_without_map: float | None = None
    accuracy_lost: Mapping[str, float] | None = None
    tau_path: tuple[tuple[float, float], ...] = ()
    pseudo_labels: IntArray | None = None
    bound_per_sample: FloatArray | None = None
    transferred_losses: FloatArray | None = None
    transferred_correct: BoolArray | None = None
    first_copies: IntArray | None = None
    others: tuple[RelatednessSummary, ...] = ()
    notes: tuple[str, ...] = ()
    details: VisualSummary | None = None
    nearest: tuple[NearestClass, ...] = ()
    reference_chosen: bool = True

    @property
    def gap(self) -> float | None:
        """``bound − transferability``: how much the bound leaves open."""
        return None if self.transferability is None else self.bound - self.transferability

    @property
    def below_chance(self) -> bool:
        """Whether the transferred classifier is right less often than the largest class alone; False if unknown."""
        accuracy, chance = self.transferred_accuracy, self.chance
        return accuracy is not None and chance is not None and accuracy < chance - _ROUNDING

    @property
    def references(self) -> Sequence[RelatednessSummary]:
        """The results of all references, in the order given; the union and the target's own half come last."""
        return self.others or (self,)

    @property
    def panel(self) -> Sequence[RelatednessSummary]:
        """The former name of `references`."""
        warnings.warn("`panel` is called `references` now.", DeprecationWarning, stacklevel=2)
        return self.references

    def interval(
        self, quantity: Literal["transferred_accuracy", "transferred_loss"] = "transferred_accuracy"
    ) -> ConfidenceInterval | None:
        """Return where the accuracy or the loss of ``h'`` lies on new data, with 95 % confidence.

        The interval is shared over the references among which these rows chose. With folds it is of the mean over the
        fold classifiers, and approximate. The loss is smoothed: that of ``(1 − ε) h' + ε / K``. Of rows that are copies
        of each other one counts, as intervals are of independent rows. None without labels, and where all was measured
        on the fitting rows.
        """
        check_choice(quantity, (TRANSFERRED_ACCURACY, TRANSFERRED_LOSS), "quantity")
        if self.evaluated_on == "fit" or self.transferred_correct is None or self.transferred_losses is None:
            return None
        n_shared = len(self.references) if self.reference_chosen else 1
        rows = slice(None) if self.first_copies is None else np.unique(self.first_copies)
        if quantity == TRANSFERRED_ACCURACY:
            correct = self.transferred_correct[rows]
            return clopper_pearson(int(np.count_nonzero(correct)), len(correct), n_shared=n_shared)
        n_classes = len(self.class_map)
        losses, largest = smoothed_losses(self.transferred_losses[rows], n_classes), largest_smoothed_loss(n_classes)
        return betting_interval(losses, largest, n_shared=n_shared)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the target's classes."""
        return tuple(each.target_class for each in self.classes)

    def closest(self) -> RelatednessSummary:
        """Return the result of the references with the smallest bound."""
        return min(self.references, key=lambda result: result.bound)

    def per_class(self) -> list[dict[str, Any]]:
        """Return the terms of each target class: they sum, over classes, to the three terms."""
        return [dict(vars(each)) for each in self.classes]

    def __repr__(self) -> str:
        accuracy = "" if self.transferred_accuracy is None else f", accuracy {self.transferred_accuracy:.1%}"
        return (
            f"Relatedness({self.reference!r} → {self.target!r}: bound {self.bound:.3f} nats = "
            f"{self.reference_loss:.3f} + {self.label_mismatch:.3f} + {self.distribution_mismatch:.3f}, "
            f"{'certified' if self.certified else 'not certified'}{accuracy}"
            f"{', all on the fitting rows' if self.evaluated_on == 'fit' else ''}"
            f"{', the reference on its fitting rows' if REFERENCE_ON_FIT in self.notes else ''})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays of the transformation as JSON values."""
        one = self._record()
        one["per_class"] = self.per_class()
        one["notes"] = list(self.notes)
        one["nearest"] = [each._asdict() for each in self.nearest]
        one["reference_chosen"] = self.reference_chosen
        standing = self.interval()
        one["standing"] = None if standing is None else dataclasses.asdict(standing)
        one["panel"] = [each._record() for each in self.references]
        return one

    def detail_records(self) -> list[dict[str, Any] | None]:
        """Return what a report keeps beside the record: points and samples."""
        return [None if self.details is None else self.details.to_dict()]

    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        for name in ("certified_tau", "fit_bound", "ridge"):  # JSON knows no infinity
            record[name] = record[name] if math.isfinite(record[name]) else None
        record["accuracy_lost"] = None if self.accuracy_lost is None else dict(self.accuracy_lost)
        record["class_map"] = [int(j) for j in self.class_map]
        record["class_map_names"] = {each.target_class: each.reference_class for each in self.classes}
        record["tau_path"] = [list(pair) for pair in self.tau_path]
        record["history"] = list(self.history)
        record["reference_classifier"] = self.reference_fit._asdict()
        record["pseudo_labels"] = None if self.pseudo_labels is None else [int(y) for y in self.pseudo_labels]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], **arrays: Any) -> RelatednessSummary:
        """Return the summary that a record of `to_dict` says.

        Parameters
        ----------
        record : mapping
            Of a layout that was checked; what earlier versions did not write is derived or left out.
        **arrays
            `bound_per_sample`, `transferred_losses`, `transferred_correct`, `first_copies` and `details`, which a
            record does not hold.
        """
        one = _from_record(record, **arrays)
        panel = [_from_record(each) for each in record.get("panel", ()) if "tau" in each]
        return dataclasses.replace(one, others=tuple(panel) if len(panel) > 1 else ())

    def plot(
        self,
        ax: Axes | None = None,
        *,
        kind: Literal["terms", "classes", "points", "tau", "convergence"] = "terms",
    ) -> Axes:
        """Draw the result; return the axes. Needs the extra `plot`.

        Parameters
        ----------
        ax : Axes, optional
            Where; by default on a figure of its own.
        kind : {"terms", "classes", "points", "tau", "convergence"}, default="terms"
            The three terms, stacked, against the losses they bound, one bar for each reference; the terms
            per target class; target points before and after the map (needs `details`); the bound by τ; the cost of the
            matched pairs, round by round.
        """
        from transferability.display import plots, tables

        record = self.to_dict()
        if check_choice(kind, ("terms", "classes", "points", "tau", "convergence"), "kind") == "terms":
            return plots.plot_terms(tables.terms_table(record["panel"]), ax, target=self.target)
        if kind == "classes":
            return plots.plot_classes(record["per_class"], ax)
        if kind == "points":
            details = None if self.details is None else self.details.to_dict()
            return plots.plot_points(tables.points_table(record, details), ax)
        if kind == "tau":
            return plots.plot_tau(tables.tau_table(record), ax, chosen=self.tau)
        return plots.plot_convergence(tables.convergence_table(record), ax)

    def _repr_html_(self) -> str:
        from transferability.display.notebook import relatedness_html

        return relatedness_html(self.to_dict())


def _from_record(record: Mapping[str, Any], **arrays: Any) -> RelatednessSummary:
    names = {each.name for each in dataclasses.fields(ClassTerms)}
    rows = record.get("per_class", ())
    priors = [row["prior"] for row in rows] or [math.nan]
    given = {name: record[name] for name in _NUMBERS if name in record and name != "gap"}
    for name in ("certified_tau", "fit_bound", "ridge"):
        given[name] = math.inf if record[name] is None else record[name]
    labels = record.get("pseudo_labels")
    fit = record["reference_classifier"]
    derived = {"scale": 1.0, "space": "reference", "chance": max(priors), "log_n_classes": math.log(len(priors))}
    return RelatednessSummary(
        **derived | given,
        accuracy_lost=record.get("accuracy_lost"),
        class_map=np.array(record["class_map"], dtype=np.int64),
        classes=tuple(ClassTerms(**{name: value for name, value in row.items() if name in names}) for row in rows),
        tau_path=tuple((tau, bound) for tau, bound in record["tau_path"]),
        history=tuple(record["history"]),
        reference_fit=ReferenceFit(fit["loss"], fit["accuracy"], fit.get("gap"), fit["converged"]),
        pseudo_labels=None if labels is None else np.array(labels, dtype=np.int64),
        notes=tuple(record.get("notes", ())),
        nearest=tuple(NearestClass(**each) for each in record.get("nearest", ())),
        reference_chosen=record.get("reference_chosen", True),
        **arrays,
    )
