"""What every ground cost offers: places, price, coupling, the bound on a sample, and the fit of the map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.certificate import Certificate, Coupler, by_transport, certify_sample, losses_of
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.classifier.scale import best_scale
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import ClassPoints, PairCosts
from transferability.relatedness.maps.feature_map import AffineMap, lift_logit_map
from transferability.relatedness.tasks.sample import HeldOut, Sample
from transferability.transport.coupling import MAX_POINTS

__all__ = ["FittedMap", "GroundCost"]


class FittedMap(NamedTuple):
    """A feature map and how it came about."""

    feature_map: AffineMap
    ridge: float  # infinite where the features were best left as they are
    scale: float  # of the reference classifier's logits
    held_out_bound: float  # at that scale, on the part it was chosen by; nan if there was none
    history: tuple[float, ...]  # mean cost of the matched pairs, round by round


@dataclass(frozen=True, eq=False)
class GroundCost(ABC):
    """The reference classifier and the cost that its points and the target's are compared with.

    Points are compared at *places*. For the exact and the loss cost a place is a vector of logits. For the Euclidean
    one it is a point of the reference's space, or of the target's. A *place map* takes target features there.

    Attributes
    ----------
    classifier : SoftmaxClassifier
        ``h_R``.
    tau : float
        Lipschitz constant that the Euclidean cost multiplies with.
    space : {"reference", "target"}
        Where the Euclidean cost is measured; the others know one place only.
    """

    name: ClassVar[str]
    in_logits: ClassVar[bool] = True  # whether places are logits, and the bound holds whatever the classifier
    certificate: ClassVar[str] = ""  # why the bound holds, of a cost in logits
    classifier: SoftmaxClassifier
    tau: float
    space: str = "reference"

    def scaled(self, scale: float) -> Self:
        """Return the cost for the classifier whose logits are multiplied by `scale`."""
        return replace(self, classifier=self.classifier.scaled(scale), tau=scale * self.tau)

    def losses(self, reference: Sample) -> FloatArray:
        """Return the loss of each reference sample under its own label, shape (n,)."""
        return losses_of(self.classifier.logits(reference.features), reference.labels)

    def losses_at(self, places: FloatArray, reference: Sample) -> FloatArray:
        """Return `losses`, from the places of the samples where these are their logits."""
        return losses_of(places, reference.labels) if self.in_logits else self.losses(reference)

    def logit_map(self, feature_map: AffineMap) -> AffineMap:
        """Return the map from target features to reference logits."""
        return feature_map.then(self.classifier.weights, self.classifier.intercept)

    # ── where ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def places(self, reference: Sample, target: Sample, feature_map: AffineMap) -> tuple[FloatArray, FloatArray]:
        """Return the places of both samples."""
        return self.classifier.logits(reference.features), self.logit_map(feature_map).apply(target.features)

    def start(self, n_target_features: int) -> AffineMap:
        """Return the place map that leaves the features as they are."""
        return AffineMap.truncated(self.classifier.weights, self.classifier.intercept, n_target_features)

    def lift(self, place_map: AffineMap, n_target_features: int) -> AffineMap:
        """Return the feature map, target to reference, behind a place map."""
        prior = AffineMap.identity(self.classifier.weights.shape[1], n_target_features)
        return lift_logit_map(place_map, self.classifier.weights, self.classifier.intercept, prior)

    # ── at what price ────────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def price(self, left: FloatArray, labels: IntArray, right: FloatArray) -> FloatArray:
        """Return the cost of each pair of places, shape (m, n); `labels` are those of the reference points."""

    @abstractmethod
    def pair_costs(self, reference: ClassPoints, target: ClassPoints, losses: FloatArray) -> PairCosts:
        """Return what it costs to match each reference class with each target class."""

    def coupler(
        self,
        left: FloatArray,
        labels: IntArray,
        right: FloatArray,
        *,
        max_points: int = MAX_POINTS,
        rng: np.random.Generator | None = None,
    ) -> Coupler:
        """Return what couples the points of one class: a transport problem, where nothing faster will do."""
        return by_transport(lambda r, c: self.price(left[r], labels[r], right[c]), max_points=max_points, rng=rng)

    # ── the bound ────────────────────────────────────────────────────────────────────────────────────────────────────

    def certify(
        self,
        reference: Sample,
        target: Sample,
        feature_map: AffineMap,
        transform: LabelTransform,
        B: FloatArray | None = None,
        *,
        max_points: int = MAX_POINTS,
        rng: np.random.Generator | None = None,
    ) -> Certificate:
        """Measure the bound on one sample of each task."""
        left, right = self.places(reference, target, feature_map)
        return self.certify_places(left, right, reference, target.labels, transform, B, max_points=max_points, rng=rng)

    def certify_places(
        self,
        left: FloatArray,
        right: FloatArray,
        reference: Sample,
        target_labels: IntArray,
        transform: LabelTransform,
        B: FloatArray | None = None,
        *,
        max_points: int = MAX_POINTS,
        rng: np.random.Generator | None = None,
    ) -> Certificate:
        """Measure the bound between points that are already where they are compared."""
        coupler = self.coupler(left, reference.labels, right, max_points=max_points, rng=rng)
        losses = self.losses_at(left, reference)
        return certify_sample(coupler, losses, reference.labels, target_labels, transform, B)

    def best_scale(
        self,
        held_out: HeldOut,
        target: Sample,
        feature_map: AffineMap,
        transform: LabelTransform,
        certificate: Certificate,
    ) -> float:
        r"""Return the scale at which a bound that was measured at scale 1 is smallest.

        This cost is homogeneous in the logits: with the same coupling the bound at σ is
        :math:`\sum_j D_j L_j(\sigma) + H + \sigma m`, and :math:`L_j` is taken on held-out rows.
        """
        return best_scale(
            *held_out, weight=class_weights(held_out, transform, certificate.priors), mismatch=certificate.terms[2]
        )

    # ── the map ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def fit(
        self,
        reference: Sample,
        held_out: HeldOut,
        target: Sample,
        transform: LabelTransform,
        rng: np.random.Generator,
        *,
        scale: bool,
    ) -> FittedMap:
        """Fit the map for given classes.

        Parameters
        ----------
        reference, target : Sample
            Fitting samples.
        held_out : HeldOut
            What the reference classifier does on reference rows it has not seen.
        transform : LabelTransform
            The reference classes of each target class.
        rng : numpy Generator
            Draws the rows that the strength of the ridge and the scale are chosen on, and those that are matched.
        scale : bool
            Whether the scale of the reference classifier is fitted, or stays 1.
        """


def class_weights(held_out: HeldOut, transform: LabelTransform, priors: FloatArray) -> FloatArray:
    """Return the weight of each held-out reference row under the transformed prior D; they sum to 1."""
    counts = np.bincount(held_out.labels, minlength=held_out.logits.shape[1])
    weight: FloatArray = (transform.D(priors) / np.maximum(counts, 1))[held_out.labels]
    total = float(weight.sum())
    return weight / total if total > 0 else np.full(len(weight), 1.0 / max(len(weight), 1))
