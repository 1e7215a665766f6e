import itertools

import numpy as np
import pytest
from scipy.special import xlogy

from transferability.relatedness.labels import matching
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.matching import (
    ClassPoints,
    TransportPairCosts,
    assign_classes,
    gradient_matching,
    random_matching,
)
from transferability.transport.cost import euclidean_cost, loss_cost
from transferability.transport.coupling import optimal_coupling


def best_classes(reference: ClassPoints, target: ClassPoints, losses: np.ndarray, tau: float | None) -> np.ndarray:
    return assign_classes(TransportPairCosts(reference, target, losses, tau), target.priors)


class Problem:
    """Random classes, with every transport solved and every choice of classes priced."""

    def __init__(self, seed: int, n_targets: int, n_references: int, tau: float | None, spread: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        d = n_references if tau is None else 3  # logits, or features
        self.tau, self.shape = tau, (n_targets, n_references)
        self.losses = rng.exponential(0.3, size=n_references)
        samples = []
        for k in self.shape:
            labels = rng.permutation(np.concatenate([np.arange(k), rng.integers(k, size=9 * k)]))
            samples.append((rng.normal(size=(10 * k, d)) + spread * rng.normal(size=(k, d))[labels], labels))
        (v, y), (u, j) = samples
        self.target, self.reference = ClassPoints(v, y, n_targets, rng), ClassPoints(u, j, n_references, rng)
        self.priors = np.bincount(y) / len(y)
        self.costs = np.empty(self.shape)
        for i, k in np.ndindex(self.shape):
            a, b = u[j == k], v[y == i]
            cost = loss_cost(a, np.full(len(a), k), b) if tau is None else euclidean_cost(a, b, tau)
            self.costs[i, k] = self.losses[k] + optimal_coupling(cost).value

    def price(self, class_map: np.ndarray) -> float:
        rows = np.arange(len(class_map))
        entropy = LabelTransform.from_class_map(np.asarray(class_map), self.shape[1]).entropy_per_class(self.priors)
        return float(self.priors @ self.costs[rows, class_map] + entropy.sum())

    def best_one_to_one(self) -> float:
        n_targets, n_references = self.shape
        return min(self.price(np.array(each)) for each in itertools.permutations(range(n_references), n_targets))

    def best_shared(self) -> float:
        n_targets, n_references = self.shape
        return min(self.price(np.array(each)) for each in itertools.product(range(n_references), repeat=n_targets))

    def match(self) -> np.ndarray:
        return best_classes(self.reference, self.target, self.losses, self.tau)


@pytest.mark.parametrize("tau", [None, 0.5])
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
@pytest.mark.parametrize(("n_targets", "n_references"), [(2, 2), (4, 4), (3, 5), (2, 6)])
@pytest.mark.parametrize("seed", range(4))
def test_lazy_assignment_is_the_best_of_all_permutations(
    tau: float | None, spread: float, n_targets: int, n_references: int, seed: int
) -> None:
    problem = Problem(seed, n_targets, n_references, tau, spread)
    chosen = problem.match()
    assert len(set(chosen.tolist())) == n_targets
    assert problem.price(chosen) == pytest.approx(problem.best_one_to_one(), rel=1e-9)


@pytest.mark.parametrize("tau", [None, 0.5])
@pytest.mark.parametrize("spread", [0.3, 3.0])
@pytest.mark.parametrize(("n_targets", "n_references"), [(3, 2), (5, 2), (5, 3)])
@pytest.mark.parametrize("seed", range(4))
def test_shared_classes_are_a_local_optimum_close_to_the_best(
    tau: float | None, spread: float, n_targets: int, n_references: int, seed: int
) -> None:
    problem = Problem(seed, n_targets, n_references, tau, spread)
    chosen = problem.match()
    price = problem.price(chosen)
    assert problem.best_shared() - 1e-12 <= price <= 1.25 * problem.best_shared()


def test_only_a_few_transports_are_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(0, 8, 12, 0.5, spread=4.0)
    solved = []
    real = matching.couple
    monkeypatch.setattr(matching, "couple", lambda *args: solved.append(1) or real(*args))
    problem.match()
    assert 8 <= len(solved) < 8 * 12 / 2


@pytest.mark.parametrize("tau", [None, 1.0])
@pytest.mark.parametrize("n_references", [6, 9])
def test_planted_classes_are_found(tau: float | None, n_references: int) -> None:
    rng = np.random.default_rng(3)
    centres = 6 * np.eye(n_references)
    planted = rng.permutation(n_references)[:6]
    j, y = np.repeat(np.arange(n_references), 30), np.repeat(np.arange(6), 25)
    reference = ClassPoints(centres[j] + rng.normal(size=(len(j), n_references)), j, n_references, rng)
    target = ClassPoints(centres[planted][y] + rng.normal(size=(len(y), n_references)), y, 6, rng)
    losses = np.full(n_references, 0.1)
    assert best_classes(reference, target, losses, tau).tolist() == planted.tolist()
    costs = TransportPairCosts(reference, target, losses, tau)
    learned = gradient_matching(costs, reference.priors, target.priors, np.random.default_rng(0))
    assert learned.class_map.tolist() == planted.tolist()


def test_each_shared_class_serves_its_neighbours() -> None:
    rng = np.random.default_rng(4)
    centres = np.array([[0.0, 0], [20, 0]])
    home = np.array([1, 0, 0, 1])
    j, y = np.repeat([0, 1], 20), np.repeat(np.arange(4), 15)
    reference = ClassPoints(centres[j] + rng.normal(size=(40, 2)), j, 2, rng)
    target = ClassPoints(centres[home][y] + rng.normal(size=(60, 2)), y, 4, rng)
    assert best_classes(reference, target, np.zeros(2), 1.0).tolist() == home.tolist()


@pytest.mark.parametrize("tau", [None, 0.5])
@pytest.mark.parametrize(("n_targets", "n_references"), [(3, 3), (2, 5), (5, 2)])
def test_gradient_keeps_the_constraint_and_is_no_worse_than_a_plain_choice(
    tau: float | None, n_targets: int, n_references: int
) -> None:
    problem = Problem(5, n_targets, n_references, tau, 2.0)
    rng = np.random.default_rng(0)
    costs = TransportPairCosts(problem.reference, problem.target, problem.losses, tau)
    learned = gradient_matching(costs, problem.reference.priors, problem.target.priors, rng)
    B, D = learned.B(problem.priors), learned.D(problem.priors)
    np.testing.assert_allclose(B @ D, problem.priors, atol=1e-12)
    price = float((B * D * problem.costs).sum() - xlogy(B * D, np.where(B * D > 0, B, 1)).sum())
    by_chance = [problem.price(random_matching(n_targets, n_references, rng)) for _ in range(200)]
    assert price <= np.median(by_chance)


@pytest.mark.parametrize(("n_targets", "n_references"), [(3, 3), (3, 8), (8, 3)])
def test_random_matching_uses_each_class_once_before_any_twice(n_targets: int, n_references: int) -> None:
    draws = [random_matching(n_targets, n_references, np.random.default_rng(seed)) for seed in range(20)]
    for draw in draws:
        assert draw.shape == (n_targets,)
        counts = np.bincount(draw, minlength=n_references)
        assert counts.max() - counts.min() <= 1
    assert len({tuple(draw) for draw in draws}) > 1
    np.testing.assert_array_equal(draws[0], random_matching(n_targets, n_references, np.random.default_rng(0)))


def test_class_points_are_capped_and_keep_their_priors() -> None:
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1, 2], [1000, 3, 1])
    points = ClassPoints(rng.normal(size=(1004, 2)), labels, 3, rng)
    assert [len(sample) for sample in points.samples] == [200, 3, 1]
    np.testing.assert_allclose(points.priors, np.array([1000, 3, 1]) / 1004)
    np.testing.assert_array_equal(points.means[2], points.samples[2][0])
