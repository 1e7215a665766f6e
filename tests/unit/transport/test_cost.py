import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from transferability.relatedness.classifier.lipschitz import fit_lipschitz_softmax
from transferability.transport import cost as cost_module
from transferability.transport.cost import euclidean_cost, loss_cost


def pairs(seed: int, n_classes: int = 4, d: int = 3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    weights, intercept = rng.normal(size=(n_classes, d)), rng.normal(size=n_classes)
    u, v = 2 * rng.normal(size=(15, d)), 2 * rng.normal(size=(20, d)) + 1
    return weights, intercept, u, rng.integers(n_classes, size=15), v


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n_classes", [2, 4, 7])
@pytest.mark.parametrize("at_once", [0, 10**9])  # class by class, or all classes in one array
def test_loss_cost_is_what_the_definition_says_and_lies_where_it_must(
    seed: int, n_classes: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_module, "_AT_ONCE", at_once)
    weights, intercept, u, labels, v = pairs(seed, n_classes)
    logits_u, logits_v = u @ weights.T + intercept, v @ weights.T + intercept
    cost = loss_cost(logits_u, labels, logits_v)
    change = -log_softmax(logits_v, axis=1).T[labels] + log_softmax(logits_u, axis=1)[np.arange(15), labels][:, None]
    tau = cdist(weights, weights).max()
    for m in range(15):
        for n in range(20):
            delta = logits_v[n] - logits_u[m]
            assert cost[m, n] == pytest.approx(delta.max() - delta[labels[m]], abs=1e-12)
    assert (cost >= 0).all()
    assert (cost >= change - 1e-12).all()
    assert (cost <= euclidean_cost(u, v, tau) + 1e-12).all()


def test_loss_cost_bounds_the_change_for_logits_of_any_origin() -> None:
    rng = np.random.default_rng(3)
    logits_u, logits_v = 30 * rng.standard_t(2, size=(40, 6)), 30 * rng.standard_t(2, size=(50, 6))
    labels = rng.integers(6, size=40)
    change = -log_softmax(logits_v, axis=1).T[labels] + log_softmax(logits_u, axis=1)[np.arange(40), labels][:, None]
    assert (loss_cost(logits_u, labels, logits_v) >= change - 1e-9).all()


def test_nothing_moves_for_nothing() -> None:
    weights, intercept, u, labels, _ = pairs(0)
    logits = u @ weights.T + intercept
    assert (np.diag(loss_cost(logits, labels, logits)) == 0).all()
    assert (np.diag(euclidean_cost(u, u, 3.0)) == 0).all()


def test_loss_cost_ignores_what_the_classifier_ignores() -> None:
    rng = np.random.default_rng(1)
    weights = np.array([[1.0, 0.0], [-1.0, 0.0]])  # the second feature says nothing
    u = rng.normal(size=(6, 2))
    far = u + np.array([0.0, 1e6])
    labels = rng.integers(2, size=6)
    assert np.diag(loss_cost(u @ weights.T, labels, far @ weights.T)).max() == 0
    # A constant on all logits of a point says nothing either.
    shifted = u @ weights.T + 1e3 * rng.normal(size=(6, 1))
    np.testing.assert_allclose(
        loss_cost(shifted, labels, shifted), loss_cost(u @ weights.T, labels, u @ weights.T), atol=1e-9
    )


def test_a_more_confident_target_point_costs_nothing() -> None:
    # u: class 0 by a margin of 1; u': by a margin of 3. And the other way round: what is lost of the margin.
    u, v = np.array([[1.0, 0.0]]), np.array([[3.0, 0.0]])
    label = np.array([0])
    assert loss_cost(u, label, v).item() == 0
    assert loss_cost(v, label, u).item() == 2


def test_euclidean_cost_of_a_fitted_classifier_bounds_the_change() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(60) % 3
    u = rng.normal(size=(60, 5)) + 2 * np.eye(3, 5)[labels]
    v = 3 * rng.normal(size=(80, 5))
    h = fit_lipschitz_softmax(u, labels, tau=0.7)
    losses_u, losses_v = -log_softmax(h.logits(u), axis=1), -log_softmax(h.logits(v), axis=1)
    change = losses_v.T[labels] - losses_u[np.arange(60), labels][:, None]
    euclidean = euclidean_cost(u, v, h.certified_tau)
    loss = loss_cost(h.logits(u), labels, h.logits(v))
    assert (change <= loss + 1e-12).all()
    assert (loss <= euclidean + 1e-12).all()
