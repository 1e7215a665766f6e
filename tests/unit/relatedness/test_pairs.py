"""The constraint on pairs of classes: bounds on the optimum, and the parts of the solver that keep it."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from transferability.relatedness.certificate import transformed_losses
from transferability.relatedness.classifier import pairs
from transferability.relatedness.classifier.intercepts import refit_intercept
from transferability.relatedness.classifier.lipschitz import fit_lipschitz_softmax
from transferability.relatedness.classifier.pairs import lower_bound, pair_distances_squared, quadratic_of
from transferability.relatedness.labels.label_transform import LabelTransform

K, D, N = 4, 3, 60


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(N) % K
    return 1.5 * rng.normal(size=(K, D))[labels] + rng.normal(size=(N, D)), labels


def loss_and_slopes(weights: np.ndarray, x: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return both at the best intercepts."""
    found = refit_intercept(weights @ x.T, labels, np.full(N, 1 / N), np.zeros(K))
    return found.loss, found.slopes @ x


@pytest.mark.parametrize("tau", [0.02, 0.5, 4.0])
@pytest.mark.parametrize("size", [1e-6, 1e-2, 1.0])
def test_no_weights_and_multipliers_give_a_bound_above_the_optimum(
    rows: tuple[np.ndarray, np.ndarray], tau: float, size: float
) -> None:
    x, labels = rows
    best = fit_lipschitz_softmax(x, labels, tau)
    rng = np.random.default_rng(1)
    for far in (0.0, 0.1, 2.0):
        weights = best.weights + far * tau * rng.normal(size=(K, D))
        multipliers = size * rng.uniform(size=(K, K)) ** 4
        multipliers += multipliers.T
        np.fill_diagonal(multipliers, 0.0)
        loss, slopes = loss_and_slopes(weights, x, labels)
        for slack in (1e-6, 1e-2):
            assert lower_bound(loss, slopes, weights, multipliers, tau, slack=slack) <= best.loss + 1e-12


def test_a_bound_of_no_use_is_zero_and_nearly_none_is_computed(
    rows: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Multipliers of like size have a quadratic that is nearly diagonal, whose bound two products tell."""
    x, labels = rows
    best, tau, rng = fit_lipschitz_softmax(x, labels, 0.5), 0.5, np.random.default_rng(1)
    solved: list[int] = []
    n_cases = 0
    monkeypatch.setattr(
        pairs, "cho_factor", lambda *given, do=pairs.cho_factor, **how: solved.append(1) or do(*given, **how)
    )
    for far in (1e-3, 1e-2, 0.05):
        for size in (1e-2, 0.1, 1.0):
            weights = best.weights + far * rng.normal(size=(K, D))
            multipliers = size * rng.uniform(0.8, 1.2) * (1 - np.eye(K))
            loss, slopes = loss_and_slopes(weights, x, labels)
            whole = lower_bound(loss, slopes, weights, multipliers, tau, slack=1e-6)
            if whole < 0.1:
                continue
            n_cases += 1
            for enough in (0.5 * whole, whole - 1e-9):
                found = lower_bound(loss, slopes, weights, multipliers, tau, slack=1e-6, enough=enough)
                assert found == whole
            solved.clear()
            assert lower_bound(loss, slopes, weights, multipliers, tau, slack=1e-6, enough=1.01 * whole) == 0
            assert not solved
    assert n_cases > 4


def test_the_bound_falls_short_by_the_square_of_the_distance(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """Of the minimum of the Lagrangian, as SciPy finds it."""
    x, labels = rows
    tau, multipliers, slack = 0.5, 0.05 * (1 - np.eye(K)), 1e-8

    def lagrangian(theta: np.ndarray) -> float:
        weights = theta.reshape(K, D)
        held = 0.5 * float((multipliers * (pair_distances_squared(weights) / tau**2 - 1)).sum())
        assert held == pytest.approx(0.5 * np.vdot(weights, quadratic_of(multipliers, tau) @ weights) - 0.3)
        return loss_and_slopes(weights, x, labels)[0] + held

    best = minimize(lagrangian, np.zeros(K * D), method="BFGS", options={"gtol": 1e-8})
    away = np.random.default_rng(2).normal(size=(K, D))
    short = []
    for far in (3e-2, 3e-3):
        weights = best.x.reshape(K, D) + far * away
        loss, slopes = loss_and_slopes(weights, x, labels)
        short.append(best.fun - lower_bound(loss, slopes, weights, multipliers, tau, slack=slack))
    assert best.fun > 0.1
    assert min(short) > 0
    assert short[0] / short[1] == pytest.approx(100, rel=0.3)


@pytest.mark.parametrize("tau", [0.005, 0.02, 0.1])
def test_a_steep_bound_is_reached_in_a_few_passes(rows: tuple[np.ndarray, np.ndarray], tau: float) -> None:
    h = fit_lipschitz_softmax(*rows, tau)
    assert h.gap < 2e-6 * max(h.loss, 1)
    assert h.iterations < 60


def test_intercepts_are_those_of_an_independent_optimiser(rows: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = rows
    plain = np.random.default_rng(3).normal(size=(K, D)) @ x.T
    weight = np.random.default_rng(4).dirichlet(np.ones(N))

    def loss(intercept: np.ndarray) -> float:
        return float(-weight @ log_softmax(plain.T + intercept, axis=1)[np.arange(N), labels])

    best = minimize(loss, np.zeros(K), method="BFGS", options={"gtol": 1e-9})
    for start in (np.zeros(K), np.array([2.0, -1.0, 0.0, 0.5])):
        found = refit_intercept(plain, labels, weight, start)
        assert found.loss == pytest.approx(best.fun, abs=1e-9)
        np.testing.assert_allclose(found.intercept, best.x - best.x.mean(), atol=1e-4)
        np.testing.assert_array_equal(found.right, (plain.T + found.intercept).argmax(axis=1) == labels)


def test_classes_of_their_own_are_predicted_as_by_the_label_map() -> None:
    rng = np.random.default_rng(5)
    logits, labels, priors = rng.normal(size=(N, K)), rng.integers(K, size=N), rng.dirichlet(np.ones(K))
    transform = LabelTransform.from_class_map(rng.permutation(K), K)
    losses, predictions = transformed_losses(logits, labels, transform, priors)
    h = softmax(logits, axis=1) @ transform.B(priors).T
    assert losses is not None
    np.testing.assert_array_equal(predictions, h.argmax(axis=1))
    np.testing.assert_allclose(losses, -np.log(h[np.arange(N), labels]), rtol=1e-12)
