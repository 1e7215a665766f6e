r"""The fast solver: alternate between matching points within classes and fitting the feature map.

Points are matched on a capped sample, with reference points drawn anew in each round, by assignment in blocks of 100.
The fit follows the ground cost: margins for the loss cost, ridge regression for the Euclidean one. For the loss cost
everything happens in logit space, and only the last map is lifted to features. The strength of the ridge is chosen on a
part of the fitting sample that the map has not seen; leaving the features as they are competes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.relatedness.feature_map import AffineMap, RidgeRegression, fit_margins, lift_logit_map
from transferability.relatedness.geometry import Geometry, Sample
from transferability.relatedness.label_transform import LabelTransform
from transferability.transport.coupling import couple

__all__ = ["FittedMap", "fit_map", "settle_map"]

_PAIRS_IN_ALL = 2_000
_PAIRS_TO_JUDGE = 1_000
_PAIRS_PER_CLASS = 20  # at least
_BLOCK = 100
_HELD_OUT = 0.25
_DEFAULT_RIDGE = 0.1
_RIDGES = {"loss": (1.0, 1e-1, 1e-2, 1e-3), "euclidean": (1.0, 0.1, 0.03, 0.01)}
_FIRST_ROUNDS = {"loss": 2, "euclidean": 4}  # from the features as they are
_NEXT_ROUNDS = {"loss": 1, "euclidean": 2}  # from the map of the ridge before
_STEPS_PER_ROUND = 15  # of L-BFGS


class FittedMap(NamedTuple):
    """A feature map and how it came about."""

    feature_map: AffineMap
    ridge: float  # infinite where the features were best left as they are
    held_out_bound: float  # of the chosen ridge, on the part it was chosen by; nan if there was none
    history: tuple[float, ...]  # mean cost of the matched pairs, round by round


def fit_map(
    geometry: Geometry,
    reference: Sample,
    target: Sample,
    transform: LabelTransform,
    rng: np.random.Generator,
) -> FittedMap:
    """Fit the map from target to reference features for given classes.

    Parameters
    ----------
    geometry : Geometry
    reference, target : Sample
        Fitting samples.
    transform : LabelTransform
        Which reference classes stand for which target class.
    rng : numpy Generator

    Notes
    -----
    At most 2,000 pairs take part (and at least 20 per class). Per round: assignments in blocks of 100, then 15 L-BFGS
    steps of O(pairs · d · K), or one ridge solution of O(pairs · d²).
    """
    first, more = _FIRST_ROUNDS[geometry.ground_cost], _NEXT_ROUNDS[geometry.ground_cost]
    seen, unseen = _split(target.labels, rng)
    reference_seen, reference_unseen = _split(reference.labels, rng)
    whole = _Alternation(geometry, reference, target, transform, rng)
    unseen_counts = np.bincount(reference.labels[reference_unseen], minlength=transform.shares.shape[1])
    if len(unseen) == 0 or unseen_counts[transform.shares.sum(axis=0) > 0].min() == 0:
        current, history = whole.run(whole.start, _DEFAULT_RIDGE, first + more)
        return FittedMap(whole.lift(current), _DEFAULT_RIDGE, float("nan"), history)

    part = _Alternation(geometry, reference.take(reference_seen), target.take(seen), transform, rng)
    held_out = reference.take(reference_unseen), target.take(unseen)
    judge = _Alternation(geometry, *held_out, transform, rng, pairs=_PAIRS_TO_JUDGE)
    best_ridge, best_bound, best = float("inf"), judge.held_out_bound(whole.start), whole.start
    current = part.start
    for ridge in _RIDGES[geometry.ground_cost]:  # from strong to weak, each starting where the last one ended
        current, _ = part.run(current, ridge, first if current is part.start else more)
        bound = judge.held_out_bound(current)
        if bound < best_bound:
            best_ridge, best_bound, best = ridge, bound, current
        elif bound > 1.05 * best_bound:
            break
    if np.isinf(best_ridge):
        return FittedMap(whole.lift(whole.start), best_ridge, best_bound, ())
    current, history = whole.run(best, best_ridge, more + 1)
    return FittedMap(whole.lift(current), best_ridge, best_bound, history)


def _split(labels: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Hold out a quarter of each class; classes of one sample stay whole."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = rank < np.repeat(np.floor(counts * _HELD_OUT + 0.5), counts)
    held_out &= np.repeat(counts > 1, counts)
    return order[~held_out], order[held_out]


class _Alternation:
    """One fitting sample: a capped draw of the target, fixed, and reference points drawn anew in each round.

    Works on the *place map*, which takes target features to where they are compared (`Geometry.places`): logits for the
    loss cost, reference features for the Euclidean one, or, in the target's space, reference features the other way.
    """

    def __init__(
        self,
        geometry: Geometry,
        reference: Sample,
        target: Sample,
        transform: LabelTransform,
        rng: np.random.Generator,
        pairs: int = _PAIRS_IN_ALL,
    ) -> None:
        self.geometry, self.reference, self.transform, self.rng = geometry, reference, transform, rng
        counts = np.bincount(target.labels, minlength=len(transform.shares))
        cap = max(_PAIRS_PER_CLASS, pairs // max(int((counts > 0).sum()), 1))
        chosen = []
        for i in np.flatnonzero(counts):
            rows = np.flatnonzero(target.labels == i)
            chosen.append(rng.choice(rows, cap, replace=False) if len(rows) > cap else rows)
        self.target = target.take(np.concatenate(chosen))
        kept = np.bincount(self.target.labels, minlength=len(counts))
        self.weight = counts[self.target.labels] / kept[self.target.labels] / len(target.labels)
        self.shape = (reference.features.shape[1], target.features.shape[1])
        self.in_logits = geometry.ground_cost == "loss"
        self.pushes = not self.in_logits and geometry.space == "target"
        if self.in_logits:
            self.start = AffineMap.truncated(geometry.classifier.weights, geometry.classifier.intercept, self.shape[1])
            self.reference_places = geometry.classifier.logits(reference.features)
        else:
            self.start = AffineMap.identity(*(self.shape[::-1] if self.pushes else self.shape))
            self.reference_places = reference.features
        self._regression: RidgeRegression | None = None
        self._judged_by: IntArray | None = None

    def lift(self, place_map: AffineMap) -> AffineMap:
        """Return the feature map, target to reference, behind a place map."""
        if self.in_logits:
            classifier = self.geometry.classifier
            return lift_logit_map(place_map, classifier.weights, classifier.intercept, AffineMap.identity(*self.shape))
        return place_map.inverse() if self.pushes else place_map

    def held_out_bound(self, place_map: AffineMap) -> float:
        """Measure the bound on this sample, with the same reference points for every map."""
        if self._judged_by is None:
            self._judged_by = self._draw_reference_rows()
        counts = np.bincount(self.target.labels, weights=self.weight, minlength=len(self.transform.shares))
        priors = counts / counts.sum()
        losses = self.geometry.losses(self.reference.take(self._judged_by))
        rest = float(self.weight @ losses) + float(self.transform.entropy_per_class(priors).sum())
        return rest + self._match(place_map, self._judged_by)[1]

    def run(self, place_map: AffineMap, ridge: float, rounds: int) -> tuple[AffineMap, tuple[float, ...]]:
        """Alternate from `place_map`; return the last map and the cost of the pairs in each round."""
        history = []
        for _ in range(rounds):
            rows, cost = self._match(place_map, self._draw_reference_rows())
            history.append(cost)
            place_map = self._margins(place_map, rows, ridge) if self.in_logits else self._least_squares(rows, ridge)
        return place_map, tuple(history)

    def _compare(self, place_map: AffineMap, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        if self.pushes:
            return place_map.apply(self.reference.features[rows]), self.target.features
        return self.reference_places[rows], place_map.apply(self.target.features)

    def _match(self, place_map: AffineMap, drawn: IntArray) -> tuple[IntArray, float]:
        """Return which of the drawn reference rows goes with each target point, and the mean cost of these pairs."""
        left, right = self._compare(place_map, drawn)
        cost = self.geometry.cost(left, self.reference.labels[drawn], right)
        matched = np.empty(len(drawn), dtype=np.int64)
        total = 0.0
        for i in np.unique(self.target.labels):
            mine = np.flatnonzero(self.target.labels == i)
            coupling = couple(
                lambda r, c, mine=mine: cost(mine[r], mine[c]),  # type: ignore[misc]
                len(mine),
                len(mine),
                max_points=_BLOCK,
                rng=self.rng,
            )
            matched[mine[coupling.target]] = drawn[mine[coupling.source]]
            total += float(self.weight[mine].sum()) * coupling.value
        return matched, total

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

    def _margins(self, place_map: AffineMap, rows: IntArray, ridge: float) -> AffineMap:
        return fit_margins(
            self.target.features,
            self.reference_places[rows],
            self.reference.labels[rows],
            self.weight,
            start=place_map,
            prior=self.start,
            ridge=ridge,
            steps=_STEPS_PER_ROUND,
        )

    def _least_squares(self, rows: IntArray, ridge: float) -> AffineMap:
        if self.pushes:
            pushed = self.reference.features[rows]
            return RidgeRegression(pushed, self.weight).solve(self.target.features, self.start, ridge)
        if self._regression is None:
            self._regression = RidgeRegression(self.target.features, self.weight)
        return self._regression.solve(self.reference.features[rows], self.start, ridge)


def settle_map(
    geometry: Geometry,
    reference: Sample,
    target: Sample,
    transform: LabelTransform,
    start: AffineMap | None,
    ridge: float,
    rng: np.random.Generator,
) -> AffineMap:
    """Take one round from `start` at a given ridge, without choosing its strength; for the Euclidean cost."""
    alternation = _Alternation(geometry, reference, target, transform, rng)
    place_map, _ = alternation.run(alternation.start if start is None else start, ridge, rounds=1)
    return alternation.lift(place_map)
