r"""The smallest ground cost that bounds the change of the loss: ``exact``, the default.

.. math:: c\bigl((u, j), v\bigr) = \bigl(\ell_j(v) - \ell_j(u)\bigr)_+, \qquad \ell_j = -\log h_j .

A ground cost must cover the change of the loss from `u` to `v`; this one is that change, where it is a rise. It depends
on two numbers, so the sorted coupling is optimal, and for a class i made of one reference class

.. math::
    \text{reference loss} + \text{mismatch} = \int_0^1 \max\bigl(Q_R(p), Q_T(p)\bigr) \, dp

over the quantiles of the losses. A class made of several reference classes is compared by the loss of :math:`h'`,

.. math:: c\bigl((u, j), v\bigr) = \Bigl(-\log \sum_k B_{ik} h_k(v) - \bigl[\ell_j(u) - \log B_{ij}\bigr]\Bigr)_+ ,

two numbers again: one summand in place of the sum would charge each target point for the choice of a reference class.

The cost says how much harder the target's samples are than the reference's, not where they lie: that is what the other
costs are for. The map is fitted by softmax regression (`fit_cross_entropy`), with a ridge
towards the reference classifier, calibrated to the target.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.certificate import (
    Certificate,
    Coupler,
    certify_sample,
    losses_of,
    mixture_losses,
    transformed_losses,
)
from transferability.relatedness.classifier.scale import best_scale, doubt, minimize_over_scales
from transferability.relatedness.costs.base import FittedMap, GroundCost, class_weights
from transferability.relatedness.costs.ridge_path import ridge_path
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import ClassPoints, PairCosts, QuantilePairCosts
from transferability.relatedness.maps.feature_map import AffineMap, fit_cross_entropy
from transferability.relatedness.tasks.sample import HeldOut, Sample, at_most, hold_out_apart
from transferability.transport.cost import exact_cost
from transferability.transport.coupling import MAX_POINTS, Coupling
from transferability.transport.sorted import sorted_coupling

__all__ = ["ExactCost", "sorted_coupler"]

_MOST_ROWS = 2_000  # that strengths of the ridge are compared on
_DEFAULT_RIDGE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class ExactCost(GroundCost):
    """The rise of the loss from one point to the other."""

    name: ClassVar[str] = "exact"
    certificate: ClassVar[str] = "Certified: the exact cost is the change of the loss of every pair of points."

    def price(self, left: FloatArray, labels: IntArray, right: FloatArray) -> FloatArray:
        """Return ``max(ℓ_j(v) − ℓ_j(u), 0)`` for each pair."""
        return exact_cost(left, labels, right)

    def coupler(
        self,
        left: FloatArray,
        labels: IntArray,
        right: FloatArray,
        *,
        max_points: int = MAX_POINTS,
        rng: np.random.Generator | None = None,
    ) -> Coupler:
        """Couple in sorted order."""
        return sorted_coupler(left, labels, right)

    def pair_costs(self, reference: ClassPoints, target: ClassPoints, losses: FloatArray) -> PairCosts:
        """Return the integrals of ``max(Q_R, Q_T)``."""
        return QuantilePairCosts(reference, target)

    def best_scale(
        self,
        held_out: HeldOut,
        target: Sample,
        feature_map: AffineMap,
        transform: LabelTransform,
        certificate: Certificate,
    ) -> float:
        """Return the scale at which the bound between held-out reference rows and the target is smallest."""
        right = self.logit_map(feature_map).apply(target.features)
        linear = doubt(*held_out) + doubt(right, transform.class_map[target.labels])

        def value(scale: float) -> float:
            left = Sample(scale * held_out.logits, held_out.labels)
            return _bound(left, scale * right, target.labels, transform) + scale * linear

        return minimize_over_scales(value)

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
        """Fit the map by softmax regression on the target, with a ridge towards the calibrated reference classifier.

        The reference classifier and the regression have a scale each, chosen on held-out rows: what the map does to the
        scale of the target's logits is the map's own affair.
        """
        n_classes, d = len(transform.shares), target.features.shape[1]
        priors = np.bincount(target.labels, minlength=n_classes) / len(target.labels)
        sigma = best_scale(*held_out, weight=class_weights(held_out, transform, priors)) if scale else 1.0
        with np.errstate(divide="ignore"):
            log_shares = np.log(transform.B(priors))
        start = self.start(d)
        if scale:
            start = _sharpened(start, _best_sharpness(start, target, transform, priors))
        rows, reduced = target.rows, AffineMap(target.rows.reduce(start.matrix), start.offset)

        def regress(chosen: IntArray, place_map: AffineMap, ridge: float, *, careful: bool = False) -> AffineMap:
            some = rows if len(chosen) == len(target.labels) else rows.take(chosen)
            shares = log_shares[target.labels[chosen]]
            return fit_cross_entropy(some, shares, place_map, reduced, ridge, careful=careful)

        def finished(place_map: AffineMap, ridge: float, bound: float, factor: float = 1.0) -> FittedMap:
            expanded = AffineMap(rows.expand(place_map.matrix, start.matrix), place_map.offset)
            feature_map = self.scaled(sigma).lift(_sharpened(expanded, factor), d)
            return FittedMap(feature_map, ridge, sigma, bound, ())

        everything = np.arange(len(target.labels))
        some = at_most(target.labels, _MOST_ROWS, rng)
        seen, unseen = (some[rows] for rows in hold_out_apart(target.features[some], target.labels[some], rng))
        if len(unseen) == 0 or len(held_out.labels) == 0:
            place_map = regress(everything, reduced, _DEFAULT_RIDGE, careful=True)
            return finished(place_map, _DEFAULT_RIDGE, float("nan"))
        rest = Sample(rows.coordinates[unseen], target.labels[unseen])
        left = Sample(sigma * held_out.logits, held_out.labels)

        def sharpness(place_map: AffineMap) -> float:
            return _best_sharpness(place_map, rest, transform, priors) if scale else 1.0

        def judge(place_map: AffineMap) -> float:
            right = sharpness(place_map) * place_map.apply(rest.features)
            return _bound(left, right, rest.labels, transform)

        choice = ridge_path(reduced, lambda place_map, ridge: regress(seen, place_map, ridge), judge)
        place_map = reduced
        if np.isfinite(choice.ridge):
            place_map = regress(everything, choice.place_map, choice.ridge, careful=True)
        return finished(place_map, choice.ridge, choice.bound, sharpness(choice.place_map))


def sorted_coupler(left: FloatArray, labels: IntArray, right: FloatArray) -> Coupler:
    """Return the coupler of the exact cost for logits of both samples."""
    own = losses_of(left, labels)

    def coupler(rows: IntArray, masses: FloatArray | int, columns: IntArray, log_B: FloatArray) -> Coupling:
        classes = labels[rows]
        here = own[rows]
        if np.isfinite(log_B).sum() == 1:  # B of the class is on both sides
            there = losses_of(right[columns], np.full(len(columns), classes[0]))
        else:
            here, there = here - log_B[classes], mixture_losses(right[columns], log_B)
        return sorted_coupling(here, there, None if isinstance(masses, int) else masses)

    return coupler


def _bound(left: Sample, right: FloatArray, target_labels: IntArray, transform: LabelTransform) -> float:
    """Return the bound between logits and labels of reference rows, and those of target rows."""
    coupler = sorted_coupler(left.features, left.labels, right)
    losses = losses_of(left.features, left.labels)
    return certify_sample(coupler, losses, left.labels, target_labels, transform).bound


def _best_sharpness(place_map: AffineMap, target: Sample, transform: LabelTransform, priors: FloatArray) -> float:
    """Return the factor of a map's logits at which ``h'`` loses least on a sample."""
    logits = place_map.apply(target.features)
    if (transform.shares.max(axis=1) == 1).all():  # B only adds constants
        return best_scale(logits, transform.class_map[target.labels])

    linear = doubt(logits, transform.class_map[target.labels])

    def loss(factor: float) -> float:
        losses, _ = transformed_losses(factor * logits, target.labels, transform, priors)
        return float(np.mean(losses)) + factor * linear  # type: ignore[arg-type]  # there are labels

    return minimize_over_scales(loss)


def _sharpened(place_map: AffineMap, factor: float) -> AffineMap:
    return AffineMap(factor * place_map.matrix, factor * place_map.offset)
