"""What a fit returns: the bound, its terms, and the transformation that explains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._class_numbers import number_classes
from transferability.errors import LabelError, nearest_names
from transferability.relatedness.certificate import AccuracyTerms, Certificate
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.labels.matching import MatchCertainty
from transferability.relatedness.results.summary import ClassTerms, NearestClass, ReferenceFit, RelatednessSummary
from transferability.relatedness.results.transform import Transform

__all__ = ["Relatedness"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Relatedness(RelatednessSummary):
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
    accuracy_without_map : float or None
        Of the same classifier on the target's features as they are. The map is fitted to the target's labels, so that
        ``h'`` may be right where the reference is of no use: this is what the reference alone gives. None without
        labels, without samples, and where the two tasks have different numbers of features.
    transferred_losses : float32 array of shape (n_T,), or None
        The loss of ``h'`` on each sample; their mean is `transferred_loss`.
    transferred_correct : bool array of shape (n_T,), or None
        Whether ``h'`` is right on each sample; their mean is `transferred_accuracy`.
    first_copies : array of int of shape (n_T,), or None
        The first of the measured rows that each row is a copy of, itself where it is none: same label, same features up
        to rounding. None where no row repeats, and where all was measured on the fitting rows.
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
        `transform` is fitted to all rows. With no reference it is fitted to one half, the other being the reference,
        with a test part too: `transform`, `scale`, `tau` and ``h_T`` are then that half's.
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
    references : tuple of Relatedness
        The results of all references, in the order given, this one among them.
    classes : tuple of ClassTerms
        The terms of each target class, its reference class and how sure that is; `per_class()` has them as dicts.
    bound_per_sample : array of shape (n_T,), or None
        Each target sample's part of the bound; their mean is the bound.
    notes : tuple of str
        What must be known of how the data were read: rows left out, copies, rows that both tasks hold.
    nearest : tuple of NearestClass
        The class of the installed reference packs that each target class lies nearest to, in the encoder's features.
    reference_chosen : bool
        Whether this reference is reported because its bound is the smallest. False for the target's own other half
        beside installed packs.
    details : VisualSummary or None
        Points and samples for pictures, where somebody asked for them (`relatedness.details.describe`).
    """

    certificate_terms: Certificate
    transform: Transform
    reference_classifier: SoftmaxClassifier
    target_classifier: SoftmaxClassifier | None
    reference_class_names: tuple[str, ...]
    target_class_names: tuple[str, ...]
    accuracy_terms: AccuracyTerms | None = None
    match_certainty: MatchCertainty | None = None
    fold_shares: FloatArray | None = None
    others: tuple[Relatedness, ...] = ()
    # Derived of these: what the summary has beside them.
    bound: float = field(init=False)
    reference_loss: float = field(init=False)
    label_mismatch: float = field(init=False)
    distribution_mismatch: float = field(init=False)
    chance: float | None = field(init=False)
    log_n_classes: float = field(init=False)
    exact_transport: bool = field(init=False)
    bound_per_sample: FloatArray | None = field(init=False)
    accuracy_lost: dict[str, float] | None = field(init=False)
    classes: tuple[ClassTerms, ...] = field(init=False)
    reference_fit: ReferenceFit = field(init=False)

    def __post_init__(self) -> None:
        terms, lost, fit = self.certificate_terms, self.accuracy_terms, self.reference_classifier
        derived: dict[str, Any] = dict(
            zip(("reference_loss", "label_mismatch", "distribution_mismatch"), terms.terms, strict=True)
        )
        derived |= {
            "bound": terms.bound,
            # Of guessed labels the largest share is no accuracy that anybody would have.
            "chance": None
            if self.pseudo_labels is not None and self.transferred_accuracy is None
            else float(terms.priors.max()),
            "log_n_classes": float(np.log(len(terms.priors))),
            "exact_transport": terms.exact,
            "bound_per_sample": terms.per_point,
            # Where accuracy is lost, over all classes: it sums to 1 − `transferred_accuracy`.
            "accuracy_lost": None if lost is None else {key: float(row.sum()) for key, row in lost._asdict().items()},
            "classes": tuple(self._class(i) for i in range(len(self.class_map))),
            "reference_fit": ReferenceFit(float(fit.loss), float(fit.accuracy), float(fit.gap), bool(fit.converged)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def _class(self, i: int) -> ClassTerms:
        terms, lost, certainty = self.certificate_terms, self.accuracy_terms, self.match_certainty
        j = self.class_map[i]
        parts: dict[str, Any] = (
            {} if lost is None else {f"accuracy_lost_{key}": float(row[i]) for key, row in lost._asdict().items()}
        )
        one = ClassTerms(
            target_class=self.target_class_names[i],
            reference_class=None if j < 0 else self.reference_class_names[j],
            prior=float(terms.priors[i]),
            reference_loss=float(terms.reference_loss[i]),
            label_mismatch=float(terms.label_mismatch[i]),
            distribution_mismatch=float(terms.distribution_mismatch[i]),
            share_of_folds=None if self.fold_shares is None else float(self.fold_shares[i]),
            **parts,
        )
        if certainty is None or certainty.alternative[i] < 0:
            return one
        error = float(certainty.standard_error[i])
        return dataclasses.replace(
            one,
            alternative_class=self.reference_class_names[certainty.alternative[i]],
            margin=float(certainty.margin[i]),
            margin_error=error if np.isfinite(error) else None,
        )

    def beside(self, other: Relatedness) -> Relatedness:
        """Return the one with the smaller bound of this result and another of the same target, with both panels."""
        closest = min(self, other, key=lambda result: result.bound)
        return dataclasses.replace(closest, others=(*(self.others or (self,)), *(other.others or (other,))))

    def with_references(self, others: Sequence[Relatedness], nearest: tuple[NearestClass, ...]) -> Relatedness:
        """Return this result with those of further references before it; it stays the one reported."""
        references = (*others, *(self.others or (self,)))
        return dataclasses.replace(self, others=references, nearest=nearest, reference_chosen=False)

    def predict_proba(self, features: FloatArray) -> FloatArray:
        """Return ``h'(z)`` for target features, shape (n, K_T)."""
        return self.transform.predict_proba(features)

    def predict(self, features: FloatArray) -> IntArray:
        """Return the most probable target class of each row, shape (n,), numbered as in `target_class_names`."""
        predicted: IntArray = self.predict_proba(features).argmax(axis=1)
        return predicted

    def score(self, features: FloatArray, labels: Sequence[int] | Sequence[str] | IntArray) -> float:
        """Return the accuracy of `predict` on labelled target features; labels are class numbers or class names.

        Raises
        ------
        LabelError
            If there is not one label per row, or a label is none of the target's classes.
        """
        predicted = self.predict(features)
        numbers = _numbered(labels, self.target_class_names)
        if len(numbers) != len(predicted):
            message = f"`labels` must have one entry per row of the features; got {len(numbers)} for {len(predicted)}."
            raise LabelError(message)
        return float((predicted == numbers).mean())


def _numbered(labels: Sequence[int] | Sequence[str] | IntArray, names: tuple[str, ...]) -> IntArray:
    numbers, found = number_classes(labels)
    if found is None:
        outside = (numbers < 0) | (numbers >= len(names))
        if outside.any():
            row = int(np.argmax(outside))
            message = f"`labels` must be from 0 to {len(names) - 1}, the target's classes; row {row} is {numbers[row]}."
            raise LabelError(message)
        return numbers
    place = {name: number for number, name in enumerate(names)}
    unknown = [name for name in found if name not in place]
    if unknown:
        message = f"`labels` must be classes of the target; {unknown[0]!r} is none. {nearest_names(unknown[0], place)}"
        raise LabelError(message)
    return np.array([place[name] for name in found], dtype=np.int64)[numbers]
