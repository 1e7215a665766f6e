import numpy as np
import pytest

from transferability.relatedness.labels.label_transform import LabelTransform


def entropy(p: np.ndarray) -> float:
    p = np.asarray(p)[np.asarray(p) > 0]
    return float(-(p * np.log(p)).sum())


def random_transform(seed: int) -> tuple[LabelTransform, np.ndarray]:
    rng = np.random.default_rng(seed)
    n_targets, n_references = rng.integers(2, 9, size=2)
    shares = rng.dirichlet(np.full(n_references, 0.3), size=n_targets)
    shares[shares < 0.02] = 0
    return LabelTransform(shares / shares.sum(axis=1, keepdims=True)), rng.dirichlet(np.ones(n_targets))


@pytest.mark.parametrize("seed", range(30))
def test_matrices_fit_together(seed: int) -> None:
    transform, priors = random_transform(seed)
    B, D = transform.B(priors), transform.D(priors)
    np.testing.assert_allclose(B @ D, priors, atol=1e-15)
    np.testing.assert_allclose(B.sum(axis=0), 1, atol=1e-14)
    assert D.sum() == pytest.approx(1, abs=1e-14)
    assert min(B.min(), D.min()) >= 0
    # H(Y'' | Y') = Σ_j D_j H(B[:, j]), column by column.
    expected = sum(D[j] * entropy(B[:, j]) for j in range(len(D)))
    assert transform.entropy_per_class(priors).sum() == pytest.approx(expected, abs=1e-14)
    assert (transform.entropy_per_class(priors) >= 0).all()


def test_one_to_one_costs_nothing() -> None:
    transform = LabelTransform.from_class_map(np.array([2, 0, 3]), 5)
    priors = np.array([0.5, 0.2, 0.3])
    assert transform.entropy_per_class(priors).tolist() == [0, 0, 0]
    assert not np.signbit(transform.entropy_per_class(priors)).any()
    assert transform.D(priors).tolist() == [0.2, 0, 0.5, 0.3, 0]
    B = transform.B(priors)
    assert B[0, 2] == B[1, 0] == B[2, 3] == 1
    np.testing.assert_allclose(B[:, [1, 4]], 1 / 3)  # unused classes say nothing
    assert transform.class_map.tolist() == [2, 0, 3]


@pytest.mark.parametrize("share", [0.5, 0.1, 1e-9])
def test_sharing_costs_the_entropy_of_the_shares(share: float) -> None:
    # Target classes 0 and 1 share reference class 0; class 2 has its own.
    transform = LabelTransform.from_class_map(np.array([0, 0, 1]), 2)
    priors = np.array([0.6 * share, 0.6 * (1 - share), 0.4])
    per_class = transform.entropy_per_class(priors)
    assert per_class.sum() == pytest.approx(0.6 * entropy([share, 1 - share]), rel=1e-9)
    assert per_class[2] == 0
    assert per_class[0] == pytest.approx(-0.6 * share * np.log(share), rel=1e-9)


def test_everything_on_one_class_costs_the_entropy_of_the_priors() -> None:
    priors = np.array([0.1, 0.2, 0.7])
    transform = LabelTransform.from_class_map(np.zeros(3, dtype=int), 4)
    assert transform.entropy_per_class(priors).sum() == pytest.approx(entropy(priors), rel=1e-12)


def test_carries_over_to_other_priors() -> None:
    transform = LabelTransform(np.array([[0.5, 0.5, 0], [0, 0.25, 0.75]]))
    priors = np.array([0.2, 0.8])
    joint = np.array([[0.1, 0.1, 0], [0, 0.2, 0.6]])
    np.testing.assert_allclose(transform.D(priors), joint.sum(axis=0), atol=1e-15)
    np.testing.assert_allclose(transform.B(priors), joint / joint.sum(axis=0), atol=1e-15)
    # A class that a sample lacks takes nothing with it.
    gone = np.array([1.0, 0.0])
    assert transform.D(gone).tolist() == [0.5, 0.5, 0]
    np.testing.assert_allclose(transform.B(gone)[:, :2], [[1, 1], [0, 0]])
    assert transform.entropy_per_class(gone).sum() == 0


@pytest.mark.parametrize("seed", range(10))
def test_matrices_that_fit_come_back(seed: int) -> None:
    transform, priors = random_transform(seed)
    again = LabelTransform.from_matrices(transform.B(priors), transform.D(priors))
    np.testing.assert_allclose(again.shares, transform.shares, atol=1e-12)


def test_matrices_from_outside_are_mended() -> None:
    B = np.array([[0.9995, 0.3, 0.0], [0.0005, 0.7, 0.0], [0.0, 0.0, 1.0]])
    D = np.array([0.5, 0.5, 0.0])  # the third target class is left without mass
    transform = LabelTransform.from_matrices(B, D)
    np.testing.assert_allclose(transform.shares.sum(axis=1), 1)
    assert transform.shares[1].tolist() == [0, 1, 0]  # a share below a thousandth is dropped
    assert transform.shares[2].tolist() == [0, 0, 1]  # forgotten by D: the class that B gives it


def test_classes_in_use_are_those_with_a_share() -> None:
    assert LabelTransform.from_class_map(np.array([2, 0, 3]), 5).classes_in_use.tolist() == [0, 2, 3]
    assert LabelTransform.from_class_map(np.array([1, 1]), 3).classes_in_use.tolist() == [0, 1, 2]
