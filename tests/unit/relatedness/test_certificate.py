"""The three terms on one sample, against the definitions written out."""

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import log_softmax, softmax

from transferability.errors import TaskError
from transferability.relatedness.certificate import by_transport, certify_sample, losses_of, transformed_losses
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.transport.cost import loss_cost


def sample(seed: int, n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)]))
    return rng.normal(size=(n, 4)) + 2 * np.eye(4)[labels % 4], labels


def transport(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    m, n = cost.shape
    constraints = np.vstack([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])
    return float(linprog(cost.ravel(), A_eq=constraints, b_eq=np.concatenate([a, b])).fun)


@pytest.mark.parametrize("seed", range(5))
def test_terms_are_the_definition_with_shared_and_split_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u_logits, j = sample(seed, 30, 4)
    v_logits, y = sample(100 + seed, 24, 3)
    shares = rng.dirichlet([0.7] * 4, size=3)
    transform = LabelTransform(shares)
    losses = -log_softmax(u_logits, axis=1)[np.arange(30), j]
    coupler = by_transport(lambda r, c: loss_cost(u_logits[r], j[r], v_logits[c]))
    found = certify_sample(coupler, losses, j, y, transform)

    priors = np.bincount(y) / 24
    B, D = transform.B(priors), transform.D(priors)
    per_class = np.array([losses[j == k].mean() for k in range(4)])
    entropy = -sum(B[i, k] * D[k] * np.log(B[i, k]) for i in range(3) for k in range(4))
    counts = np.bincount(j)
    mismatch = 0.0
    for i in range(3):
        masses = shares[i, j] / counts[j]
        columns = y == i
        cost = loss_cost(u_logits, j, v_logits[columns])
        mismatch += priors[i] * transport(cost, masses, np.full(columns.sum(), 1 / columns.sum()))
    assert found.terms == pytest.approx((D @ per_class, entropy, mismatch), rel=1e-8)
    assert found.bound == pytest.approx(D @ per_class + entropy + mismatch, rel=1e-8)
    np.testing.assert_allclose(found.priors, priors)
    assert found.exact

    moved, predictions = transformed_losses(v_logits, y, transform, priors)
    h = softmax(v_logits, axis=1) @ B.T
    np.testing.assert_allclose(moved, -np.log(h[np.arange(24), y]), rtol=1e-9)
    np.testing.assert_array_equal(predictions, h.argmax(axis=1))
    assert found.bound >= moved.mean()


def test_losses_do_not_underflow() -> None:
    logits = np.array([[0.0, 2000.0], [2000.0, 0.0]])
    assert losses_of(logits, np.array([0, 0])).tolist() == [2000, 0]
    transform = LabelTransform.from_class_map(np.array([0, 1]), 2)
    moved, predictions = transformed_losses(logits, np.array([0, 0]), transform, np.array([0.5, 0.5]))
    assert moved.tolist() == [2000, 0]
    assert predictions.tolist() == [1, 0]


def test_unused_reference_classes_do_not_steal_predictions() -> None:
    # Class 2 of the reference is left out, and h_R is sure of it everywhere: what remains decides.
    logits = np.array([[1.0, 0.0, 900.0], [0.0, 1.0, 900.0]])
    transform = LabelTransform.from_class_map(np.array([0, 1]), 3)
    _, predictions = transformed_losses(logits, None, transform, np.array([0.5, 0.5]))
    assert predictions.tolist() == [0, 1]


def test_a_reference_class_that_is_needed_must_have_samples() -> None:
    transform = LabelTransform.from_class_map(np.array([0, 2]), 3)
    free = by_transport(lambda r, c: np.zeros((len(r), len(c))))
    with pytest.raises(TaskError, match="reference class 2 is part of the transformation but has no sample"):
        certify_sample(free, np.zeros(2), np.array([0, 1]), np.array([0, 1]), transform)
    # Not needed where the target class is not there either.
    found = certify_sample(free, np.ones(2), np.array([0, 1]), np.array([0, 0]), transform)
    assert found.terms == pytest.approx((1.0, 0.0, 0.0), abs=1e-12)
