"""What a fit returns: the bound, its terms, and the transformation that explains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from transferability._array import BoolArray, FloatArray, IntArray
from transferability._validate import check_choice
from transferability.relatedness.certificate import AccuracyTerms, Certificate
from transferability.relatedness.lipschitz import SoftmaxClassifier
from transferability.relatedness.matching import MatchCertainty
from transferability.relatedness.transform import Transform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferability.relatedness.details import Details
    from transferability.relatedness.resemblance import NearestClass

__all__ = ["Relatedness"]


@dataclass(frozen=True, eq=False, repr=False)
class Relatedness:
    """Task-relatedness of one reference and one target. Losses and bounds in nats; lower means more related.

    Measured on the test tasks or the folds where there were any, else on the tasks that were fitted (`evaluated_on`).
    The bound is on the loss of ``h'`` on the rows that it was measured on, and on nothing else.

    Attributes
    ----------
    bound : float
        Upper bound on `transferred_loss`: the sum of the three terms that follow.
    reference_loss, label_mismatch, distribution_mismatch : float
        Re-weighted reference loss, ``H(Y''|Y')``, cost of the transport.
    transferred_loss, transferred_accuracy : float or None
        Of ``h' = B h_R(f(z))``; None without target labels, or without samples of the target.
    transferred_losses : float32 array of shape (n_T,), or None
        The loss of ``h'`` on each sample; their mean is `transferred_loss`.
    transferred_correct : bool array of shape (n_T,), or None
        Whether ``h'`` is right on each sample; their mean is `transferred_accuracy`.
    transferability, transferability_accuracy : float or None
        Loss and accuracy of a classifier ``h_T`` trained on the target, in the smallest Lipschitz class that holds both
        the constant of ``h_R`` and ``h'``; None without target labels.
    tau : float
        Lipschitz constant asked of ``h_R`` when it was trained.
    scale : float
        Factor σ of its logits, fitted afterwards.
    certified_tau : float
        Lipschitz constant that is known, with the scale: of ``h_R`` in the reference's space, of ``h_R(A^{-1} z)`` in
        the target's.
    certified : bool
        Whether the bound is a theorem on this sample; `certificate` says why or why not.
    class_map : array of int of shape (K_T,)
        Reference class with the largest share in each target class; −1 where the target class has no sample.
    fit_bound : float
        The bound on the fitting tasks.
    evaluated_on : {"test", "folds", "fit"}
        What the numbers were measured on. With "folds" every row was measured by a classifier fitted without it, and
        `transform` is fitted to all rows.
    accuracy_terms : AccuracyTerms or None
        The three terms in accuracy: per target class, where it is lost. All of them sum to 1 − `transferred_accuracy`.
    match_certainty : MatchCertainty or None
        How much more the best other assignment of classes would cost, and the standard error of that.
    fold_shares : array of shape (K_T,), or None
        Share of the folds that chose the reference class in `class_map`.
    pseudo_labels : array of int or None
        Guessed labels of the fitting target, if it came without.
    tau_path : tuple of (tau, held-out bound)
        What the choice of τ was made from; empty for a single τ.
    panel : tuple of Relatedness
        The results of all references, in the order given, this one among them.
    notes : tuple of str
        What must be known of how the data were read: rows left out, copies, rows that both tasks hold.
    nearest : tuple of NearestClass
        The class of the installed reference packs that each target class lies nearest to, in the encoder's features.
    details : Details or None
        Points and samples for pictures, where somebody asked for them (`relatedness.details.describe`).
    """

    reference: str
    target: str
    certificate_terms: Certificate
    transform: Transform
    tau: float
    scale: float
    certified_tau: float
    certified: bool
    certificate: str
    transferred_loss: float | None
    transferred_accuracy: float | None
    transferability: float | None
    transferability_accuracy: float | None
    class_map: IntArray
    fit_bound: float
    evaluated_on: str
    ground_cost: str
    space: str
    solver: str
    ridge: float
    history: tuple[float, ...]
    seconds: float
    reference_classifier: SoftmaxClassifier
    target_classifier: SoftmaxClassifier | None
    reference_class_names: tuple[str, ...]
    target_class_names: tuple[str, ...]
    transferred_losses: FloatArray | None = None
    transferred_correct: BoolArray | None = None
    pseudo_labels: IntArray | None = None
    tau_path: tuple[tuple[float, float], ...] = ()
    others: tuple[Relatedness, ...] = field(default=())
    notes: tuple[str, ...] = ()
    details: Details | None = None
    accuracy_terms: AccuracyTerms | None = None
    match_certainty: MatchCertainty | None = None
    fold_shares: FloatArray | None = None
    nearest: tuple[NearestClass, ...] = ()

    @property
    def bound(self) -> float:
        """The sum of the three terms."""
        return self.certificate_terms.bound

    @property
    def reference_loss(self) -> float:
        """Re-weighted reference loss ``Σ_j D_j L_j``."""
        return self.certificate_terms.terms[0]

    @property
    def label_mismatch(self) -> float:
        """Conditional entropy ``H(Y''|Y'; B, D)``."""
        return self.certificate_terms.terms[1]

    @property
    def distribution_mismatch(self) -> float:
        """Cost of the transport, ``Σ_i P_T(i) OT_c(R''_i, f#T_i)``."""
        return self.certificate_terms.terms[2]

    @property
    def gap(self) -> float | None:
        """``bound − transferability``: how much the bound leaves open."""
        return None if self.transferability is None else self.bound - self.transferability

    @property
    def panel(self) -> tuple[Relatedness, ...]:
        """The results of all references, in the order given; the union and the target's own half come last."""
        return self.others or (self,)

    @property
    def chance(self) -> float:
        """Share of the largest class: the accuracy of always saying the same."""
        return float(self.certificate_terms.priors.max())

    @property
    def log_n_classes(self) -> float:
        """The loss of guessing among the target's classes, in nats."""
        return float(np.log(len(self.certificate_terms.priors)))

    def beside(self, other: Relatedness) -> Relatedness:
        """Return the one with the smaller bound of this result and another of the same target, with both panels."""
        closest = min(self, other, key=lambda result: result.bound)
        return dataclasses.replace(closest, others=(*self.panel, *other.panel))

    def with_references(self, others: Sequence[Relatedness], nearest: tuple[NearestClass, ...]) -> Relatedness:
        """Return this result with those of further references before it in its panel."""
        return dataclasses.replace(self, others=(*others, *self.panel), nearest=nearest)

    def closest(self) -> Relatedness:
        """Return the result of the panel with the smallest bound, with the panel."""
        best = min(self.panel, key=lambda result: result.bound)
        return dataclasses.replace(best, others=self.others, nearest=self.nearest)

    def __repr__(self) -> str:
        accuracy = "" if self.transferred_accuracy is None else f", accuracy {self.transferred_accuracy:.1%}"
        return (
            f"Relatedness({self.reference!r} → {self.target!r}: bound {self.bound:.3f} nats = "
            f"{self.reference_loss:.3f} + {self.label_mismatch:.3f} + {self.distribution_mismatch:.3f}, "
            f"{'certified' if self.certified else 'not certified'}{accuracy})"
        )

    def predict_proba(self, features: FloatArray) -> FloatArray:
        """Return ``h'(z)`` for target features, shape (n, K_T)."""
        return self.transform.predict_proba(features)

    def per_class(self) -> list[dict[str, Any]]:
        """Return the terms of each target class: they sum, over classes, to the three terms."""
        terms = self.certificate_terms
        rows: list[dict[str, Any]] = []
        for i, j in enumerate(self.class_map):
            row: dict[str, Any] = {
                "target_class": self.target_class_names[i],
                "reference_class": None if j < 0 else self.reference_class_names[j],
                "prior": float(terms.priors[i]),
                "reference_loss": float(terms.reference_loss[i]),
                "label_mismatch": float(terms.label_mismatch[i]),
                "distribution_mismatch": float(terms.distribution_mismatch[i]),
            }
            for name in AccuracyTerms._fields:
                values = None if self.accuracy_terms is None else getattr(self.accuracy_terms, name)
                row[f"accuracy_lost_{name}"] = None if values is None else float(values[i])
            rows.append(row | self._certainty_of(i))
        return rows

    def _certainty_of(self, i: int) -> dict[str, Any]:
        """Return how sure the match of a target class is."""
        certainty = self.match_certainty
        share = None if self.fold_shares is None else float(self.fold_shares[i])
        if certainty is None or certainty.alternative[i] < 0:
            return {"alternative_class": None, "margin": None, "margin_error": None, "share_of_folds": share}
        return {
            "alternative_class": self.reference_class_names[certainty.alternative[i]],
            "margin": float(certainty.margin[i]),
            "margin_error": float(certainty.standard_error[i]) if np.isfinite(certainty.standard_error[i]) else None,
            "share_of_folds": share,
        }

    @property
    def accuracy_lost(self) -> dict[str, float] | None:
        """Return where accuracy is lost, over all classes; None without labels. Sums to 1 − `transferred_accuracy`."""
        if self.accuracy_terms is None:
            return None
        return {name: float(getattr(self.accuracy_terms, name).sum()) for name in AccuracyTerms._fields}

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays of the transformation as JSON values."""
        one = self._summary()
        one["per_class"] = self.per_class()
        one["notes"] = list(self.notes)
        one["nearest"] = [each._asdict() for each in self.nearest]
        one["panel"] = [each._summary() for each in self.panel]
        return one

    def _summary(self) -> dict[str, Any]:
        names = (
            "reference target bound reference_loss label_mismatch distribution_mismatch transferred_loss "
            "transferred_accuracy transferability transferability_accuracy gap tau scale certified_tau certified "
            "certificate chance log_n_classes fit_bound evaluated_on ground_cost space solver seconds"
        )
        summary: dict[str, Any] = {name: getattr(self, name) for name in names.split()}
        for name in ("certified_tau", "fit_bound"):  # JSON knows no infinity
            summary[name] = summary[name] if np.isfinite(summary[name]) else None
        summary["ridge"] = self.ridge if np.isfinite(self.ridge) else None
        summary["accuracy_lost"] = self.accuracy_lost
        summary["exact_transport"] = self.certificate_terms.exact
        summary["class_map"] = [int(j) for j in self.class_map]
        summary["class_map_names"] = {row["target_class"]: row["reference_class"] for row in self.per_class()}
        summary["tau_path"] = [list(pair) for pair in self.tau_path]
        summary["history"] = list(self.history)
        summary["reference_classifier"] = {
            "loss": self.reference_classifier.loss,
            "accuracy": self.reference_classifier.accuracy,
            "gap": self.reference_classifier.gap,
            "converged": self.reference_classifier.converged,
        }
        summary["pseudo_labels"] = None if self.pseudo_labels is None else [int(y) for y in self.pseudo_labels]
        return summary

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
        from transferability.report import plots

        if check_choice(kind, ("terms", "classes", "points", "tau", "convergence"), "kind") == "terms":
            return plots.plot_terms(self.panel, ax)
        drawn = {
            "classes": plots.plot_classes,
            "points": plots.plot_points,
            "tau": plots.plot_tau,
            "convergence": plots.plot_convergence,
        }
        return drawn[kind](self, ax)

    def _repr_html_(self) -> str:
        from transferability.report.notebook import relatedness_html

        return relatedness_html(self)
