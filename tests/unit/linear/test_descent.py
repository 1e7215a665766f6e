"""The descent against SciPy's optimiser, and its parts against their definitions."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import log_softmax, logsumexp

from transferability.linear.descent import Descent, Quadratic, cross_entropy, mixture_entropy
from transferability.linear.rows import Rows, Spectrum

N, D, K = 60, 7, 4


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weight = rng.uniform(size=N)
    return rng.normal(size=(N, D)) * np.arange(1, D + 1), np.arange(N) % K, weight / weight.sum()


def test_minimum_is_that_of_an_independent_optimiser(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, weight = problem
    rng = np.random.default_rng(1)
    between = rng.uniform(size=(K, K))
    between += between.T
    center = rng.normal(size=(K, D))
    quadratic = Quadratic(0.05 * (np.diag(between.sum(axis=1)) - between) + 0.01 * np.eye(K), center)
    rows = Rows.of(x)
    loss = cross_entropy(y, weight, np.float64)
    descent = Descent(rows.coordinates, loss, rows.spectrum, center, np.ones(K))
    while descent.move(descent.direction(quadratic, descent.remembered(quadratic)), quadratic) > 1e-14:
        pass

    def value(theta: np.ndarray) -> float:
        W, c = theta[: K * D].reshape(K, D), theta[K * D :]
        away = W - center
        loss = -weight @ log_softmax(x @ W.T + c, axis=1)[np.arange(N), y]
        return float(loss + 0.5 * np.einsum("kd,kj,jd", away, quadratic.Q, away))

    best = minimize(value, np.zeros(K * D + K), method="BFGS", options={"gtol": 1e-7}).fun
    found = descent.look.loss + quadratic.value(descent.weights)
    assert found == pytest.approx(best, rel=1e-7)
    assert found <= best + 1e-9
    assert descent.passes < 60


def test_slopes_of_both_losses(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, y, weight = problem
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(K, N))
    B = rng.dirichlet(np.ones(3), size=K).T  # (K_T, K): columns sum to 1
    with np.errstate(divide="ignore"):
        log_shares = np.log(np.where(B > 0.2, B, 0.0))[y % 3]
    log_shares[np.isinf(log_shares).all(axis=1)] = 0.0
    for loss, expected in (
        (cross_entropy(y, weight, np.float64), lambda s: -weight @ log_softmax(s, axis=0)[y, np.arange(N)]),
        (
            mixture_entropy(log_shares, weight, np.float64),
            lambda s: -weight @ logsumexp(log_softmax(s, axis=0) + log_shares.T, axis=0),
        ),
    ):
        look = loss(logits.copy())
        assert look.loss == pytest.approx(float(expected(logits)), rel=1e-12)
        numeric = approx_fprime(logits.ravel(), lambda flat, f=expected: float(f(flat.reshape(K, N))), 1e-7)  # type: ignore[misc]
        np.testing.assert_allclose(look.slopes, numeric.reshape(K, N), atol=1e-7)
        p = np.exp(log_softmax(logits, axis=0))
        np.testing.assert_allclose(look.curvature, (p * (1 - p)) @ weight, rtol=1e-12)


@pytest.mark.parametrize("d", [20, 300])
def test_division_by_the_moments(d: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(900, d)) * (np.arange(d) + 1.0) ** -2  # beyond 64 axes all but nothing
    spectrum = Spectrum.of(x)
    slopes, curvature, strength = rng.normal(size=(K, d)), rng.uniform(0.1, 1, K), rng.uniform(0.1, 1, K)
    moments = x.T @ x / len(x)
    expected = [
        np.linalg.solve(h * moments + q * np.eye(d), g) for h, q, g in zip(curvature, strength, slopes, strict=True)
    ]
    np.testing.assert_allclose(spectrum.divide(slopes, curvature, strength), expected, rtol=1e-3, atol=1e-3)


def test_fewer_rows_than_features_are_reduced_without_loss() -> None:
    rng = np.random.default_rng(4)
    x, prior = rng.normal(size=(12, 40)), rng.normal(size=(K, 40))
    rows = Rows.of(x)
    assert rows.coordinates.shape == (12, 12)
    weights = rng.normal(size=(K, 12))
    np.testing.assert_allclose(x @ rows.expand(weights).T, rows.coordinates @ weights.T, atol=1e-10)
    kept = rows.expand(weights, prior)
    np.testing.assert_allclose(x @ kept.T, rows.coordinates @ weights.T, atol=1e-10)
    across = np.linalg.svd(x)[2][12:]  # where there are no rows the prior stays
    np.testing.assert_allclose(kept @ across.T, prior @ across.T, atol=1e-10)
    np.testing.assert_allclose(rows.reduce(kept), weights, atol=1e-10)


def test_features_that_are_all_zero() -> None:
    rows = Rows.of(np.zeros((3, 5)))
    assert rows.coordinates.shape == (3, 1)
    assert not rows.expand(np.ones((2, 1))).any()
