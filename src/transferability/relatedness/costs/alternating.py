r"""The fit of the two costs that compare places: alternate between matching points within classes and fitting the map.

Points are matched on a capped sample, with reference points drawn anew in each round, by assignment in blocks of 100.
The step that follows is the cost's own: margins for the loss cost, ridge regression for the Euclidean one. The strength
of the ridge, and the scale of the reference classifier, are chosen on a part of the fitting sample that the map has not
seen.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.certificate import losses_of
from transferability.relatedness.classifier.scale import best_scale
from transferability.relatedness.costs.base import FittedMap, class_weights
from transferability.relatedness.costs.ridge_path import ridge_path
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.maps.feature_map import AffineMap, RidgeRegression
from transferability.relatedness.tasks.sample import HeldOut, Sample, hold_out_apart
from transferability.transport.coupling import couple

if TYPE_CHECKING:
    from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier

__all__ = ["Alternation", "PlaceCost", "fit_by_alternation", "settle_map"]

_PAIRS_IN_ALL = 2_000
_PAIRS_TO_JUDGE = 1_000
_PAIRS_PER_CLASS = 20  # at least
_BLOCK = 100
_DEFAULT_RIDGE = 0.1


class PlaceCost(Protocol):
    """What the alternation asks of a cost."""

    first_rounds: ClassVar[int]  # from the features as they are
    next_rounds: ClassVar[int]  # from the map of the ridge before

    @property
    def classifier(self) -> SoftmaxClassifier:
        """``h_R``."""

    @property
    def pushes(self) -> bool:
        """Whether reference points are moved to the target, and not target points to the reference."""

    def start(self, n_target_features: int) -> AffineMap:
        """Return the place map that leaves the features as they are."""

    def lift(self, place_map: AffineMap, n_target_features: int) -> AffineMap:
        """Return the feature map behind a place map."""

    def price(self, left: FloatArray, labels: IntArray, right: FloatArray) -> FloatArray:
        """Return the cost of each pair of places."""

    def matching_price(self, left: FloatArray, labels: IntArray, right: FloatArray) -> FloatArray:
        """Return the cost that pairs are matched by."""

    def reference_places(self, reference: Sample) -> FloatArray:
        """Return where reference points are compared."""

    def step(self, alternation: Alternation, place_map: AffineMap, rows: IntArray, ridge: float) -> AffineMap:
        """Return a better place map for points matched with these reference rows."""


def fit_by_alternation(
    cost: PlaceCost,
    reference: Sample,
    held_out: HeldOut,
    target: Sample,
    transform: LabelTransform,
    rng: np.random.Generator,
    *,
    scale: bool,
) -> FittedMap:
    """Fit the map from target to reference features for given classes.

    Arguments as in `GroundCost.fit`.

    Notes
    -----
    At most 2,000 pairs take part (and at least 20 per class). Per round: assignments in blocks of 100, then 15 L-BFGS
    steps of O(pairs · d · K), or one ridge solution of O(pairs · d²).
    """
    first, more = cost.first_rounds, cost.next_rounds
    d = target.features.shape[1]
    seen, unseen = hold_out_apart(*target, rng)
    reference_seen, reference_unseen = hold_out_apart(*reference, rng)
    whole = Alternation(cost, reference, target, transform, rng)
    unseen_counts = np.bincount(reference.labels[reference_unseen], minlength=transform.shares.shape[1])
    if len(unseen) == 0 or unseen_counts[transform.shares.sum(axis=0) > 0].min() == 0:
        current, history = whole.run(whole.start, _DEFAULT_RIDGE, first + more)
        sigma = whole.bound(current, held_out, scale=scale)[1]
        return FittedMap(cost.lift(current, d), _DEFAULT_RIDGE, sigma, float("nan"), history)

    part = Alternation(cost, reference.take(reference_seen), target.take(seen), transform, rng)
    rest = reference.take(reference_unseen), target.take(unseen)
    judge = Alternation(cost, *rest, transform, rng, pairs=_PAIRS_TO_JUDGE)

    def fit(place_map: AffineMap, ridge: float) -> AffineMap:
        return part.run(place_map, ridge, first if place_map is part.start else more)[0]

    choice = ridge_path(part.start, fit, lambda place_map: judge.bound(place_map, held_out, scale=scale)[0])
    bound, sigma = judge.bound(choice.place_map, held_out, scale=scale)
    if np.isinf(choice.ridge):
        return FittedMap(cost.lift(whole.start, d), choice.ridge, sigma, bound, ())
    current, history = whole.run(choice.place_map, choice.ridge, more + 1)
    return FittedMap(cost.lift(current, d), choice.ridge, sigma, bound, history)


class Alternation:
    """One fitting sample: a capped draw of the target, fixed, and reference points drawn anew in each round."""

    def __init__(
        self,
        cost: PlaceCost,
        reference: Sample,
        target: Sample,
        transform: LabelTransform,
        rng: np.random.Generator,
        pairs: int = _PAIRS_IN_ALL,
    ) -> None:
        self.cost, self.reference, self.transform, self.rng = cost, reference, transform, rng
        counts = np.bincount(target.labels, minlength=len(transform.shares))
        cap = max(_PAIRS_PER_CLASS, pairs // max(int((counts > 0).sum()), 1))
        chosen = []
        for i in np.flatnonzero(counts):
            rows = np.flatnonzero(target.labels == i)
            chosen.append(rng.choice(rows, cap, replace=False) if len(rows) > cap else rows)
        self.target = target.take(np.concatenate(chosen))
        kept = np.bincount(self.target.labels, minlength=len(counts))
        self.weight = counts[self.target.labels] / kept[self.target.labels] / len(target.labels)
        self.start = cost.start(target.features.shape[1])
        self.reference_places = cost.reference_places(reference)

    @cached_property
    def regression(self) -> RidgeRegression:
        """Ridge regression on the target's features, decomposed once for every round and strength."""
        return RidgeRegression(self.target.features, self.weight)

    @cached_property
    def _judged_by(self) -> IntArray:
        return self._draw_reference_rows()

    def bound(self, place_map: AffineMap, held_out: HeldOut, *, scale: bool) -> tuple[float, float]:
        """Return the bound on this sample, with the same reference points for every map, and the scale it is at."""
        counts = np.bincount(self.target.labels, weights=self.weight, minlength=len(self.transform.shares))
        priors = counts / counts.sum()
        mismatch = self._match(place_map, self._judged_by)[1]
        weight = class_weights(held_out, self.transform, priors)
        sigma = best_scale(*held_out, weight=weight, mismatch=mismatch) if scale else 1.0
        losses = float(weight @ losses_of(sigma * held_out.logits, held_out.labels))
        return losses + float(self.transform.entropy_per_class(priors).sum()) + sigma * mismatch, sigma

    def run(self, place_map: AffineMap, ridge: float, rounds: int) -> tuple[AffineMap, tuple[float, ...]]:
        """Alternate from `place_map`; return the last map and the cost of the pairs in each round."""
        history = []
        for _ in range(rounds):
            rows, mean_cost = self._match(place_map, self._draw_reference_rows())
            history.append(mean_cost)
            place_map = self.cost.step(self, place_map, rows, ridge)
        return place_map, tuple(history)

    def _compare(self, place_map: AffineMap, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        if self.cost.pushes:
            return place_map.apply(self.reference.features[rows]), self.target.features
        return self.reference_places[rows], place_map.apply(self.target.features)

    def _match(self, place_map: AffineMap, drawn: IntArray) -> tuple[IntArray, float]:
        """Return which of the drawn reference rows goes with each target point, and the mean cost of these pairs."""
        left, right = self._compare(place_map, drawn)
        labels = self.reference.labels[drawn]
        matched = np.empty(len(drawn), dtype=np.int64)
        total = 0.0
        for i in np.unique(self.target.labels):
            mine = np.flatnonzero(self.target.labels == i)
            u, j, v = left[mine], labels[mine], right[mine]
            coupling = couple(
                lambda r, c, u=u, j=j, v=v: self.cost.matching_price(u[r], j[r], v[c]),  # type: ignore[misc]
                len(mine),
                len(mine),
                max_points=_BLOCK,
                rng=self.rng,
            )
            matched[mine[coupling.target]] = drawn[mine[coupling.source]]
            pairs = coupling.source, coupling.target
            total += float(self.weight[mine].sum()) * float(coupling.mass @ self._pair_costs(u, j, v, *pairs))
        return matched, total

    def _pair_costs(self, u: FloatArray, j: IntArray, v: FloatArray, source: IntArray, target: IntArray) -> FloatArray:
        """Return the price of single pairs, block by block of the diagonal."""
        prices = np.empty(len(source))
        for start in range(0, len(source), _BLOCK):
            rows, columns = source[start : start + _BLOCK], target[start : start + _BLOCK]
            prices[start : start + _BLOCK] = np.diagonal(self.cost.price(u[rows], j[rows], v[columns]))
        return prices

    def _draw_reference_rows(self) -> IntArray:
        """Draw as many reference rows for each target class as it has points, by the shares of the transformation."""
        labels = self.reference.labels
        counts = np.bincount(labels, minlength=self.transform.shares.shape[1])
        drawn = np.empty(len(self.target.labels), dtype=np.int64)
        for i in np.unique(self.target.labels):
            mine = np.flatnonzero(self.target.labels == i)
            mass = self.transform.shares[i, labels] / counts[labels]
            rows = np.flatnonzero(mass)
            if np.ptp(labels[rows]) == 0:  # one class: each row as often as any other
                repeats = -(-len(mine) // len(rows))
                drawn[mine] = np.concatenate([self.rng.permutation(rows) for _ in range(repeats)])[: len(mine)]
            else:
                drawn[mine] = self.rng.choice(rows, len(mine), p=mass[rows] / mass[rows].sum())
        return drawn


def settle_map(
    cost: PlaceCost,
    reference: Sample,
    target: Sample,
    transform: LabelTransform,
    start: AffineMap | None,
    ridge: float,
    rng: np.random.Generator,
) -> AffineMap:
    """Take one round from `start` at a given ridge, without choosing its strength; for the Euclidean cost."""
    alternation = Alternation(cost, reference, target, transform, rng)
    place_map, _ = alternation.run(alternation.start if start is None else start, ridge, rounds=1)
    return cost.lift(place_map, target.features.shape[1])
