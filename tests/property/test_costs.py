"""The three ground costs: each covers the change of the loss, none is smaller than the exact one, and so the bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from transferability.relatedness.certificate import transformed_losses
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.costs import GROUND_COSTS
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.tasks.sample import Sample

ORDER = ("exact", "loss", "euclidean")
PROBLEMS = {
    "seed": st.integers(0, 2**31),
    "n_references": st.integers(2, 5),
    "n_targets": st.integers(2, 5),
    "shares": st.sampled_from(["one class each", "mixed"]),
    "size": st.sampled_from([1e-3, 0.3, 1.0, 30.0]),
}


class Problem:
    """A classifier that nobody trained, samples of both tasks, a map and shares."""

    def __init__(self, seed: int, n_references: int, n_targets: int, shares: str, size: float) -> None:
        rng = np.random.default_rng(seed)
        d, d_target = rng.integers(1, 5, size=2)
        weights, intercept = size * rng.normal(size=(n_references, d)), rng.normal(size=n_references)
        self.tau = float(cdist(weights, weights).max())
        self.classifier = SoftmaxClassifier(weights, intercept, 0.0, 0.0, self.tau, 0.0, True, 0)
        j = rng.permutation(np.concatenate([np.arange(n_references), rng.integers(n_references, size=20)]))
        y = rng.permutation(np.concatenate([np.arange(n_targets), rng.integers(n_targets, size=15)]))
        self.reference = Sample(rng.normal(size=(len(j), d)), j)
        self.target = Sample(rng.normal(size=(len(y), d_target)) + 1, y)
        self.map = AffineMap(rng.normal(size=(d, d_target)), rng.normal(size=d))
        if shares == "mixed":
            self.transform = LabelTransform(rng.dirichlet(np.full(n_references, 0.5), size=n_targets))
        else:
            self.transform = LabelTransform.from_class_map(rng.integers(n_references, size=n_targets), n_references)
        self.other_priors = rng.dirichlet(np.ones(n_targets)) + 1e-3
        self.other_priors /= self.other_priors.sum()

    def bound(self, name: str, B: np.ndarray | None = None) -> float:
        cost = GROUND_COSTS[name](self.classifier, self.tau)
        return cost.certify(self.reference, self.target, self.map, self.transform, B).bound


@given(**PROBLEMS)
@settings(max_examples=150)
def test_costs_and_bounds_are_ordered_and_cover_the_change_of_the_loss(**options) -> None:
    problem = Problem(**options)
    u, j = problem.reference
    v = problem.map.apply(problem.target.features)
    before = -log_softmax(problem.classifier.logits(u), axis=1)[np.arange(len(j)), j]
    there = -log_softmax(problem.classifier.logits(v), axis=1)
    change = there.T[j] - before[:, None]
    slack = 1e-9 * (1 + np.abs(there).max())
    prices = []
    for name in ORDER:
        cost = GROUND_COSTS[name](problem.classifier, problem.tau)
        left, right = cost.places(problem.reference, problem.target, problem.map)
        prices.append(cost.price(left, j, right))
        assert (prices[-1] >= change - slack).all()
        assert (prices[-1] >= 0).all()
    np.testing.assert_allclose(prices[0], np.maximum(change, 0), atol=slack)
    assert (prices[0] <= prices[1] + slack).all()
    assert (prices[1] <= prices[2] + slack).all()
    bounds = [problem.bound(name) for name in ORDER]
    assert bounds[0] <= bounds[1] + slack
    assert bounds[1] <= bounds[2] + slack


@given(**PROBLEMS)
@settings(max_examples=150)
def test_a_frozen_label_map_is_bounded_by_the_cross_entropy(**options) -> None:
    """h′ keeps the B of other priors: the bound holds with the cross-entropy, which is never below the entropy."""
    problem = Problem(**options)
    B = problem.transform.B(problem.other_priors)
    logits = problem.classifier.logits(problem.map.apply(problem.target.features))
    losses, _ = transformed_losses(logits, problem.target.labels, problem.transform, problem.other_priors)
    priors = np.bincount(problem.target.labels, minlength=len(problem.other_priors)) / len(problem.target.labels)
    joint = priors[:, None] * problem.transform.shares
    used = joint > 0
    for name in ORDER:
        cost = GROUND_COSTS[name](problem.classifier, problem.tau)
        found = cost.certify(problem.reference, problem.target, problem.map, problem.transform, B)
        assert found.bound >= losses.mean() - 1e-9 * (1 + found.bound)
        assert found.terms[1] == pytest.approx(-(joint[used] * np.log(B[used])).sum(), abs=1e-12)
        own = cost.certify(problem.reference, problem.target, problem.map, problem.transform)
        assert own.terms[1] <= found.terms[1] + 1e-12
        assert own.terms[0] == pytest.approx(found.terms[0], rel=1e-9, abs=1e-12)
        if name != "exact":  # which compares losses of h′ itself where a class is a mixture
            assert own.terms[2] == pytest.approx(found.terms[2], rel=1e-9, abs=1e-12)
        assert found.per_point.mean() == pytest.approx(found.bound, rel=1e-9)
        assert (found.per_point >= losses - 1e-9 * (1 + found.per_point)).all()


@given(**PROBLEMS)
@settings(max_examples=100)
def test_exact_bound_is_the_integral_of_the_larger_loss(**options) -> None:
    """Of the reference's points, each with the price of its label, and of h′ on the target's points."""
    problem = Problem(**options)
    found = GROUND_COSTS["exact"](problem.classifier, problem.tau).certify(
        problem.reference, problem.target, problem.map, problem.transform
    )
    (u, j), y, shares = problem.reference, problem.target.labels, problem.transform.shares
    priors = np.bincount(y, minlength=len(shares)) / len(y)
    B = problem.transform.B(priors)
    own = -log_softmax(problem.classifier.logits(u), axis=1)[np.arange(len(j)), j]
    h = np.exp(log_softmax(problem.classifier.logits(problem.map.apply(problem.target.features)), axis=1))
    total = 0.0
    for i in range(len(shares)):
        rows = shares[i, j] > 0
        a, mass = own[rows] - np.log(B[i, j[rows]]), (shares[i, j] / np.bincount(j)[j])[rows]
        b = np.sort(-np.log(h[y == i] @ B[i]))
        ends = np.cumsum(mass[np.argsort(a)])
        edges = np.union1d(np.append(ends[:-1], 1.0), np.arange(1, len(b) + 1) / len(b))
        middle = edges - np.diff(edges, prepend=0) / 2
        of_a = np.sort(a)[np.minimum(np.searchsorted(ends, middle), len(a) - 1)]
        of_b = b[np.minimum((middle * len(b)).astype(int), len(b) - 1)]
        total += priors[i] * float(np.diff(edges, prepend=0) @ np.maximum(of_a, of_b))
    assert found.bound == pytest.approx(total, rel=1e-9, abs=1e-9)


def test_a_class_between_two_reference_classes_costs_nothing() -> None:
    """h′ does not choose between reference classes of one target class: one summand of it would cost log 2 a point."""
    classifier = SoftmaxClassifier(np.array([[5.0, 5], [5, -5], [-5, 0]]), np.zeros(3), 0.0, 0.0, 11.2, 0.0, True, 0)
    reference = Sample(np.array([[2.0, 2], [2, -2], [-2, 0]]), np.arange(3))
    target = Sample(np.array([[2.0, 0], [2, 0], [-2, 0]]), np.array([0, 0, 1]))
    transform = LabelTransform(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    bounds = {
        name: GROUND_COSTS[name](classifier, 11.2).certify(reference, target, AffineMap.identity(2, 2), transform)
        for name in ORDER
    }
    assert bounds["exact"].bound < 1e-6
    assert bounds["loss"].bound >= 2 / 3 * np.log(2)
