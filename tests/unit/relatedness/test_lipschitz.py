import itertools

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, softmax

from transferability.errors import FeatureError, LabelError, OptionError
from transferability.linear.rows import Rows
from transferability.relatedness.classifier.constrained import Start
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax, fit_rows
from transferability.relatedness.classifier.pairs import feasible


def clusters(
    seed: int, n: int = 60, d: int = 3, n_classes: int = 3, spread: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    return rng.normal(size=(n, d)) + spread * rng.normal(size=(n_classes, d))[labels], labels


def loss_of(weights: np.ndarray, intercept: np.ndarray, z: np.ndarray, y: np.ndarray, omega: np.ndarray) -> float:
    return float(-omega @ log_softmax(z @ weights.T + intercept, axis=1)[np.arange(len(y)), y])


def optimum(z: np.ndarray, y: np.ndarray, tau: float, omega: np.ndarray | None = None) -> float:
    """Solve the convex problem by sequential quadratic programming from SciPy: slow, and nothing of ours."""
    n_classes, d = int(y.max()) + 1, z.shape[1]
    omega = np.full(len(y), 1 / len(y)) if omega is None else omega / omega.sum()
    onehot = np.eye(n_classes)[y]
    pairs = [(j, k) for j in range(n_classes) for k in range(j)]

    def split(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return theta[: n_classes * d].reshape(n_classes, d), theta[n_classes * d :]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercept = split(theta)
        residual = (softmax(z @ weights.T + intercept, axis=1) - onehot) * omega[:, None]
        return loss_of(weights, intercept, z, y, omega), np.concatenate([(residual.T @ z).ravel(), residual.sum(0)])

    def room(theta: np.ndarray) -> np.ndarray:
        weights, _ = split(theta)
        return np.array([1 - ((weights[j] - weights[k]) ** 2).sum() / tau**2 for j, k in pairs])

    def room_slope(theta: np.ndarray) -> np.ndarray:
        weights, _ = split(theta)
        slopes = np.zeros((len(pairs), len(theta)))
        for row, (j, k) in enumerate(pairs):
            step = 2 * (weights[j] - weights[k]) / tau**2
            slopes[row, j * d : (j + 1) * d], slopes[row, k * d : (k + 1) * d] = -step, step
        return slopes

    found = minimize(  # type: ignore[call-overload]
        objective,
        np.zeros(n_classes * (d + 1)),
        jac=True,
        method="SLSQP",
        constraints={"type": "ineq", "fun": room, "jac": room_slope},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.success or found.status == 8  # 8: no descent left to the last digit, which depends on the BLAS
    assert room(found.x).min() > -1e-7
    return float(found.fun)


def check(h: SoftmaxClassifier, tau: float, z: np.ndarray, y: np.ndarray, omega: np.ndarray | None = None) -> None:
    """What holds for every fit."""
    distances = cdist(h.weights, h.weights)
    assert distances.max() <= tau * (1 + 1e-9)
    assert h.certified_tau == pytest.approx(distances.max(), rel=1e-6, abs=1e-9 * tau)
    omega = np.full(len(y), 1 / len(y)) if omega is None else omega / omega.sum()
    # NumPy 1 rounds products with scalars to single precision.
    rounds = z.dtype == np.float32 and np.lib.NumpyVersion(np.__version__) < "2.0.0"
    precision = 1e-6 if rounds else 1e-8
    assert h.loss == pytest.approx(loss_of(h.weights, h.intercept, z.astype(float), y, omega), rel=precision, abs=1e-10)
    assert h.accuracy == pytest.approx(omega @ (h.logits(z).argmax(axis=1) == y), abs=1e-12)
    np.testing.assert_allclose(h.weights.sum(axis=0), 0, atol=1e-9 * max(tau, 1e-300))
    assert h.gap >= 0
    assert h.converged == (h.gap <= 0.01 * max(h.loss, 1))


@pytest.mark.parametrize("tau", [0.02, 0.3, 1.0, 4.0])
@pytest.mark.parametrize(("seed", "n_classes", "d"), [(0, 2, 2), (1, 3, 2), (2, 3, 4), (3, 4, 3)])
def test_loss_lies_within_the_gap_of_an_independent_optimum(tau: float, seed: int, n_classes: int, d: int) -> None:
    z, y = clusters(seed, n=40, d=d, n_classes=n_classes)
    h = fit_lipschitz_softmax(z, y, tau)
    check(h, tau, z, y)
    best = optimum(z, y, tau)
    assert h.loss >= best - 1e-7  # nobody beats the optimum under the constraint
    assert h.loss - best <= h.gap + 1e-7  # the gap is honest …
    assert h.loss <= 1.01 * best + 1e-7  # … and so is "within one per cent"
    assert h.converged


def test_weights_stand_for_repeated_samples() -> None:
    z, y = clusters(4, n=30)
    repeats = np.random.default_rng(4).integers(1, 5, size=30)
    weighted = fit_lipschitz_softmax(z, y, 0.8, sample_weight=repeats)
    check(weighted, 0.8, z, y, repeats.astype(float))
    assert weighted.loss == pytest.approx(optimum(z, y, 0.8, repeats.astype(float)), rel=0.01)
    repeated = fit_lipschitz_softmax(np.repeat(z, repeats, axis=0), np.repeat(y, repeats), 0.8)
    assert repeated.loss == pytest.approx(weighted.loss, rel=1e-3)
    doubled = fit_lipschitz_softmax(z, y, 0.8, sample_weight=2.0 * repeats)
    assert doubled.loss == weighted.loss


def test_samples_without_weight_do_not_count() -> None:
    z, y = clusters(5, n=50)
    weight = np.r_[np.ones(40), np.zeros(10)]
    z[40:] += 5
    kept = fit_lipschitz_softmax(z[:40], y[:40], 1.0)
    assert fit_lipschitz_softmax(z, y, 1.0, sample_weight=weight).loss == pytest.approx(kept.loss, rel=5e-3)


@pytest.mark.parametrize("tau", [0.1, 2.0, 5.0])
def test_two_points_take_the_steepest_slope(tau: float) -> None:
    h = fit_lipschitz_softmax(np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), tau)
    assert h.certified_tau == pytest.approx(tau, rel=1e-9)
    assert h.loss == pytest.approx(np.logaddexp(0, -tau), rel=1e-6)
    assert h.accuracy == pytest.approx(1, abs=1e-12)


def test_a_loss_of_nothing_may_stop_short_of_the_steepest_slope() -> None:
    h = fit_lipschitz_softmax(np.array([[-1.0], [1.0]]), np.array([0, 1]), 30.0)  # the optimum is 9e-14
    assert h.certified_tau <= 30.0
    assert h.loss <= h.gap + 1e-12
    assert h.converged


def test_features_that_say_nothing_leave_the_entropy_of_the_priors() -> None:
    y = np.array([0] * 6 + [1] * 3 + [2])
    h = fit_lipschitz_softmax(np.full((10, 4), 7.0), y, 1.0)
    priors = np.bincount(y) / 10
    assert h.loss == pytest.approx(-priors @ np.log(priors), rel=1e-9)
    np.testing.assert_allclose(softmax(h.logits(np.full((1, 4), 7.0)))[0], priors, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e-3, 1e3, 1e8, 1e30])
def test_unit_of_the_features_does_not_matter(scale: float) -> None:
    z, y = clusters(6)
    plain, scaled = fit_lipschitz_softmax(z, y, 0.5), fit_lipschitz_softmax(z * scale, y, 0.5 / scale)
    assert scaled.loss == pytest.approx(plain.loss, rel=1e-5)
    assert scaled.certified_tau * scale == pytest.approx(plain.certified_tau, rel=1e-5)
    assert cdist(scaled.weights * scale, scaled.weights * scale).max() <= 0.5 * (1 + 1e-9)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("tau", [1e-6, 0.2, 100.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_tau_on_any_scale(scale: float, tau: float, dtype: type) -> None:
    z, y = clusters(7, n=24, n_classes=4)
    z = (z * scale).astype(dtype)
    h = fit_lipschitz_softmax(z, y, tau)
    check(h, tau, z, y)
    priors = np.bincount(y) / 24
    assert h.loss <= -priors @ np.log(priors) + 1e-9  # no features at all does no better


def test_more_freedom_never_hurts() -> None:
    z, y = clusters(8)
    losses = [fit_lipschitz_softmax(z, y, tau).loss for tau in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)]
    assert all(later <= earlier * 1.002 for earlier, later in itertools.pairwise(losses))


def test_classes_of_one_sample() -> None:
    rng = np.random.default_rng(9)
    z, y = rng.normal(size=(5, 6)), np.arange(5)
    h = fit_lipschitz_softmax(z, y, 1.0)
    check(h, 1.0, z, y)
    assert h.loss == pytest.approx(optimum(z, y, 1.0), rel=0.01)


def test_rows_too_far_apart_meet_and_the_others_stay() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(60, 8))
    weights *= 0.9 / cdist(weights, weights).max()
    weights -= weights.mean(axis=0)
    np.testing.assert_array_equal(feasible(weights, 1.0), weights)
    j, k = np.unravel_index(cdist(weights, weights).argmax(), (60, 60))
    apart = 0.15 * (weights[j] - weights[k])
    weights[j] += apart
    weights[k] -= apart
    assert cdist(weights, weights).max() > 1.1
    found = feasible(weights, 1.0)
    assert cdist(found, found).max() <= 1 + 1e-12
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    rescaled = weights / cdist(weights, weights).max()
    assert np.linalg.norm(found - weights) < 0.6 * np.linalg.norm(rescaled - weights)


@pytest.mark.parametrize("tau", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("n_classes", [49, 50, 80])
def test_many_classes_are_fitted_as_few_are(tau: float, n_classes: int) -> None:
    z, y = clusters(3, n=400, d=6, n_classes=n_classes)
    h = fit_lipschitz_softmax(z, y, tau)
    check(h, tau, z, y)
    assert h.converged


@pytest.mark.parametrize("reach", [1.0, 100.0])
def test_no_gradient_anywhere_exceeds_the_certified_constant(reach: float) -> None:
    z, y = clusters(10, d=5, n_classes=5)
    h = fit_lipschitz_softmax(z, y, 0.6)
    points = reach * np.random.default_rng(10).normal(size=(4_000, 5))
    probabilities = softmax(h.logits(points), axis=1)
    for j in range(5):  # ∇(−log h_j) = Σ_k h_k w_k − w_j
        norms = np.linalg.norm(probabilities @ h.weights - h.weights[j], axis=1)
        assert norms.max() <= h.certified_tau * (1 + 1e-9)


def test_the_intercept_is_optimal_for_the_weights() -> None:
    z, y = clusters(11, n_classes=2, d=2)
    h = fit_lipschitz_softmax(z, y, 0.4)
    omega = np.full(len(y), 1 / len(y))
    best = minimize_scalar(lambda c: loss_of(h.weights, np.array([0.0, c]), z, y, omega))
    assert h.loss == pytest.approx(best.fun, rel=1e-9)


def test_same_input_same_numbers() -> None:
    z, y = clusters(12)
    one, two = fit_lipschitz_softmax(z, y, 0.3), fit_lipschitz_softmax(z.copy(), y.copy(), 0.3)
    np.testing.assert_array_equal(one.weights, two.weights)
    assert (one.loss, one.gap) == (two.loss, two.gap)


@pytest.mark.parametrize("weight", [np.ones(3), -np.ones(4), np.zeros(4), np.array([1, np.nan, 1, 1])])
def test_bad_weights(weight: np.ndarray) -> None:
    with pytest.raises(FeatureError, match=r"`sample_weight` must be \(4,\), finite, non-negative and not all zero"):
        fit_lipschitz_softmax(np.eye(4), np.array([0, 1, 0, 1]), 1.0, sample_weight=weight)


def test_bad_input() -> None:
    z, y = np.eye(4), np.array([0, 1, 0, 1])
    for tau in (0, -1, np.inf, np.nan, "steep"):
        with pytest.raises(OptionError, match="`tau` must be a finite number > 0; got"):
            fit_lipschitz_softmax(z, y, tau)
    with pytest.raises(LabelError, match="at least two classes"):
        fit_lipschitz_softmax(z, np.zeros(4, dtype=int), 1.0)
    with pytest.raises(FeatureError, match="row 2 holds NaN or infinity"):
        fit_lipschitz_softmax(np.where(np.arange(4)[:, None] == 2, np.nan, z), y, 1.0)


@pytest.mark.parametrize("seed", [2, 6, 16, 33, 43])
def test_a_start_that_is_sure_of_everything_does_no_harm(seed: int) -> None:
    """Where the loss has no curvature descent went astray, to losses of a billion nats."""
    rng = np.random.default_rng(seed)
    rows, labels = Rows.of(rng.normal(size=(12, 13))), np.repeat(np.arange(5), [1, 1, 4, 2, 4])
    start = Start(3 * rng.normal(size=(5, 13)), 3 * rng.normal(size=5), 1e-6 * (1 - np.eye(5)))
    cold, warm = fit_rows(rows, labels, 9.0)[0], fit_rows(rows, labels, 9.0, start=start)[0]
    assert warm.converged
    assert warm.loss <= cold.loss + 1e-2
    assert warm.gap >= warm.loss - cold.loss  # cold is feasible: the optimum is no higher
