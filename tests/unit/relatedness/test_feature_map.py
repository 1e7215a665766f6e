import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from transferability.relatedness.maps.feature_map import AffineMap, RidgeRegression, fit_margins, lift_logit_map


def rotation(rng: np.random.Generator, d: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


# ── affine maps ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("d_out", "d_in"), [(3, 3), (5, 2), (2, 5)])
def test_identity_keeps_the_dimensions_that_both_have(d_out: int, d_in: int) -> None:
    z = np.random.default_rng(0).normal(size=(4, d_in))
    mapped = AffineMap.identity(d_out, d_in).apply(z)
    common = min(d_out, d_in)
    np.testing.assert_array_equal(mapped[:, :common], z[:, :common])
    assert not mapped[:, common:].any()


@pytest.mark.parametrize(("d_out", "d_in"), [(3, 3), (5, 2), (2, 5)])
def test_truncated_is_the_map_after_the_identity(d_out: int, d_in: int) -> None:
    rng = np.random.default_rng(1)
    W, c, z = rng.normal(size=(4, d_out)), rng.normal(size=4), rng.normal(size=(6, d_in))
    expected = AffineMap.identity(d_out, d_in).then(W, c).apply(z)
    np.testing.assert_allclose(AffineMap.truncated(W, c, d_in).apply(z), expected, atol=1e-14)


def test_inverse_undoes_and_then_composes() -> None:
    rng = np.random.default_rng(2)
    f = AffineMap(rng.normal(size=(4, 4)), rng.normal(size=4))
    z = rng.normal(size=(10, 4))
    np.testing.assert_allclose(f.inverse().apply(f.apply(z)), z, atol=1e-10)
    W, c = rng.normal(size=(3, 4)), rng.normal(size=3)
    np.testing.assert_allclose(f.then(W, c).apply(z), f.apply(z) @ W.T + c, atol=1e-12)


# ── ridge regression ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 40), (12, 12)])
@pytest.mark.parametrize("ridge", [1e-3, 0.3, 10.0])
def test_ridge_solves_the_normal_equations_in_both_shapes(n: int, d: int, ridge: float) -> None:
    rng = np.random.default_rng(n)
    x, y, weight = rng.normal(size=(n, d)) + 2, rng.normal(size=(n, 3)), rng.dirichlet(np.ones(n))
    prior = AffineMap(rng.normal(size=(3, d)), np.zeros(3))
    regression = RidgeRegression(x, weight)
    found = regression.solve(y, prior, ridge)

    centred, goal = x - weight @ x, y - weight @ y
    variance = float(weight @ (centred**2).sum(axis=1)) / d
    gram = (centred * weight[:, None]).T @ centred + ridge * variance * np.eye(d)
    right = (centred * weight[:, None]).T @ goal + ridge * variance * prior.matrix.T
    np.testing.assert_allclose(found.matrix, np.linalg.solve(gram, right).T, atol=1e-9)
    np.testing.assert_allclose(weight @ found.apply(x), weight @ y, atol=1e-12)  # means meet
    # The same as an ordinary least-squares problem with d rows appended.
    stacked = np.vstack([np.sqrt(weight)[:, None] * centred, np.sqrt(ridge * variance) * np.eye(d)])
    wanted = np.vstack([np.sqrt(weight)[:, None] * goal, np.sqrt(ridge * variance) * prior.matrix.T])
    np.testing.assert_allclose(found.matrix, np.linalg.lstsq(stacked, wanted, rcond=None)[0].T, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (4, 9)])
def test_strong_ridge_gives_the_prior_and_weak_ridge_the_data(n: int, d: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, d))
    y = x @ rng.normal(size=(d, d)) + 5
    regression, prior = RidgeRegression(x, np.full(n, 1 / n)), AffineMap.identity(d, d)
    np.testing.assert_allclose(regression.solve(y, prior, 1e12).matrix, np.eye(d), atol=1e-9)
    np.testing.assert_allclose(regression.solve(y, prior, 1e-12).apply(x), y, atol=1e-6)


@pytest.mark.parametrize("d", [2, 7])
def test_planted_rotation_and_translation_come_back(d: int) -> None:
    rng = np.random.default_rng(d)
    x, Q, shift = rng.normal(size=(50, d)), rotation(rng, d), 10 * rng.normal(size=d)
    found = RidgeRegression(x, np.full(50, 1 / 50)).solve(x @ Q.T + shift, AffineMap.identity(d, d), 1e-10)
    np.testing.assert_allclose(found.matrix, Q, atol=1e-8)
    np.testing.assert_allclose(found.offset, shift, atol=1e-8)


def test_inputs_without_spread_leave_the_prior() -> None:
    regression = RidgeRegression(np.full((5, 3), 2.0), np.full(5, 0.2))
    found = regression.solve(np.arange(15.0).reshape(5, 3), AffineMap.identity(3, 3), 0.1)
    np.testing.assert_allclose(found.matrix, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found.apply(np.full((1, 3), 2.0))[0], [6, 7, 8], atol=1e-12)


# ── margins ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Margins:
    """A matched sample and the objective, written out once more: loops, float64, no gradients."""

    def __init__(self, seed: int, n: int = 16, d: int = 2, n_classes: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.x, self.logits = rng.normal(size=(n, d)), 3 * rng.normal(size=(n, n_classes))
        self.labels, self.weight = rng.integers(n_classes, size=n), rng.dirichlet(np.ones(n))
        self.prior = AffineMap(0.5 * rng.normal(size=(n_classes, d)), np.zeros(n_classes))

    def fit(self, ridge: float, steps: int) -> AffineMap:
        return fit_margins(
            self.x, self.logits, self.labels, self.weight, start=self.prior, prior=self.prior, ridge=ridge, steps=steps
        )

    def objective(self, found: AffineMap, ridge: float) -> float:
        spread = np.sqrt(np.mean((self.logits - self.logits.mean(axis=1, keepdims=True)) ** 2))
        size = np.sqrt(np.mean(self.x**2))
        total = 0.0
        for x, s, j, omega in zip(self.x, self.logits, self.labels, self.weight, strict=True):
            delta = (found.matrix @ x + found.offset - s) / spread
            total += omega * (np.log(np.exp(10 * (delta - delta.max())).sum()) / 10 + delta.max() - delta[j])
        return total + ridge / 2 * float((((found.matrix - self.prior.matrix) * size / spread) ** 2).sum())

    def cost(self, found: AffineMap) -> float:
        delta = found.apply(self.x) - self.logits
        return float(self.weight @ (delta.max(axis=1) - delta[np.arange(len(delta)), self.labels]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ridge", [0.03, 0.3])
def test_no_step_from_the_fitted_margins_leads_downhill(seed: int, ridge: float) -> None:
    case = Margins(seed)
    found = case.fit(ridge, steps=500)
    size = found.matrix.size

    def objective(theta: np.ndarray) -> float:
        return case.objective(AffineMap(theta[:size].reshape(found.matrix.shape), theta[size:]), ridge)

    theta = np.concatenate([found.matrix.ravel(), found.offset])
    slope = np.array([(objective(theta + e) - objective(theta - e)) / 2e-5 for e in 1e-5 * np.eye(len(theta))])
    start = np.concatenate([case.prior.matrix.ravel(), case.prior.offset])
    steep = np.array([(objective(start + e) - objective(start - e)) / 2e-5 for e in 1e-5 * np.eye(len(start))])
    assert np.abs(slope).max() < 0.02 * np.abs(steep).max()  # a wrong gradient would not have led here
    best = minimize(objective, theta, method="BFGS", options={"gtol": 1e-6}).fun
    assert objective(theta) <= best + 1e-3 * (objective(start) - best)


def test_margins_lower_the_cost_step_by_step_and_ridge_holds_back() -> None:
    case = Margins(4)
    costs = [case.cost(case.prior), *(case.cost(case.fit(1e-3, steps)) for steps in (3, 10, 100))]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.9 * costs[0]
    distance = [np.linalg.norm(case.fit(ridge, 200).matrix - case.prior.matrix) for ridge in (1e-3, 0.1, 10.0, 1e5)]
    assert distance == sorted(distance, reverse=True)
    assert distance[-1] < 1e-3 * distance[0]


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_margins_do_not_depend_on_units(scale: float) -> None:
    case = Margins(5)
    plain = case.cost(case.fit(0.1, 50))
    case.x, case.logits = case.x * scale, case.logits / scale
    case.prior = AffineMap(case.prior.matrix / scale**2, case.prior.offset)
    assert case.cost(case.fit(0.1, 50)) * scale == pytest.approx(plain, rel=1e-3)


def test_margins_can_be_met_exactly() -> None:
    rng = np.random.default_rng(6)
    labels = np.arange(30) % 3
    z = 4 * np.eye(3)[labels] + rng.normal(size=(30, 3))
    start = AffineMap(np.zeros((3, 3)), np.zeros(3))
    goal = 0.1 * z  # less margin than the features can give
    found = fit_margins(z, goal, labels, np.full(30, 1 / 30), start=start, prior=start, ridge=1e-6, steps=300)
    delta = found.apply(z) - goal
    assert np.mean(delta.max(axis=1) - delta[np.arange(30), labels]) < 1e-3


# ── from logits back to features ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("n_classes", "d_reference", "d_target"), [(3, 8, 8), (3, 8, 5), (5, 4, 9), (2, 1, 3)])
def test_lifted_map_has_the_same_logits_up_to_a_constant(n_classes: int, d_reference: int, d_target: int) -> None:
    rng = np.random.default_rng(n_classes)
    W, c = rng.normal(size=(n_classes, d_reference)), rng.normal(size=n_classes)
    wanted = AffineMap(rng.normal(size=(n_classes, d_target)), rng.normal(size=n_classes))
    prior = AffineMap.identity(d_reference, d_target)
    lifted = lift_logit_map(wanted, W, c, prior)
    z = rng.normal(size=(20, d_target))
    np.testing.assert_allclose(
        log_softmax(lifted.apply(z) @ W.T + c, axis=1), log_softmax(wanted.apply(z), axis=1), atol=1e-9
    )
    # Directions that the classifier ignores are where the prior has them.
    centred = W - W.mean(axis=0)
    ignored = np.eye(d_reference) - np.linalg.pinv(centred) @ centred
    np.testing.assert_allclose(ignored @ lifted.matrix, ignored @ prior.matrix, atol=1e-9)
    np.testing.assert_allclose(ignored @ lifted.offset, 0, atol=1e-9)


def test_lifting_what_the_prior_does_already_changes_nothing() -> None:
    rng = np.random.default_rng(7)
    W, c, prior = rng.normal(size=(4, 6)), rng.normal(size=4), AffineMap.identity(6, 5)
    lifted = lift_logit_map(AffineMap.truncated(W, c, 5), W, c, prior)
    np.testing.assert_allclose(lifted.matrix, prior.matrix, atol=1e-12)
    np.testing.assert_allclose(lifted.offset, 0, atol=1e-12)


def test_logits_out_of_reach_get_the_nearest_that_are_not() -> None:
    rng = np.random.default_rng(8)
    W, c = rng.normal(size=(6, 2)), np.zeros(6)  # six classes in two dimensions: most logits cannot be had
    wanted = AffineMap(rng.normal(size=(6, 3)), np.zeros(6))
    lifted = lift_logit_map(wanted, W, c, AffineMap.identity(2, 3))
    centred, goal = W - W.mean(axis=0), wanted.matrix - wanted.matrix.mean(axis=0)
    nearest = np.linalg.lstsq(centred, goal, rcond=None)[0]
    np.testing.assert_allclose(lifted.matrix, nearest, atol=1e-9)
