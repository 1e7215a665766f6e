"""What is made of the statistics: exact where it can be, and never more than the truth where not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from transferability.statistics.classes import class_statistics
from transferability.statistics.gaussians import ClassGaussians

RNG = np.random.default_rng(0)
Y = np.arange(200) % 4
X = 2 + RNG.normal(size=(200, 8)) @ RNG.normal(size=(8, 8)) * (1 + Y[:, None])
MEAN, SCALE = X.mean(axis=0), X.std(axis=0)


def gaussians(form: str, rank: int = 3) -> ClassGaussians:
    return ClassGaussians.of(class_statistics(X, Y, covariance=form, rank=rank), MEAN, SCALE)


def truth(c: int) -> np.ndarray:
    return np.cov(((X[np.equal(Y, c)] - MEAN) / SCALE).T, bias=True)


@pytest.mark.parametrize("form", ["full", "shared", "low-rank"])
def test_means_and_variances_are_exact(form: str) -> None:
    found = gaussians(form)
    for c in range(4):
        assert_allclose(found.means[c], ((X[np.equal(Y, c)] - MEAN) / SCALE).mean(axis=0), atol=1e-12)
        assert_allclose(np.diag(found.covariance(c)), np.diag(truth(c)), rtol=1e-10)


@pytest.mark.parametrize("form", ["full", "shared", "low-rank"])
def test_root_projection_and_selection_are_of_the_same_covariance(form: str) -> None:
    found = gaussians(form)
    matrix = np.random.default_rng(1).normal(size=(3, 8))
    for c in range(4):
        root = found.root(c)
        assert_allclose(root @ root.T, found.covariance(c), atol=1e-10)
        assert_allclose(found.projected(c, matrix), matrix @ found.covariance(c) @ matrix.T, atol=1e-10)
    some = found.take(np.array([2, 0]))
    assert_allclose(some.covariance(0), found.covariance(2), atol=1e-12)
    assert some.counts.tolist() == [50, 50]
    assert [root.shape for root in found.roots(np.array([3, 1]))] == [found.root(3).shape, found.root(1).shape]


def test_full_is_exact() -> None:
    for c in range(4):
        assert_allclose(gaussians("full").covariance(c), truth(c), atol=1e-12)


def test_low_rank_with_more_columns_than_features_is_exact() -> None:
    for c in range(4):
        assert_allclose(gaussians("low-rank", 20).covariance(c), truth(c), atol=1e-7)


def test_sketches_of_a_low_rank_class_are_exact() -> None:
    """A class with fewer directions than the sketch has columns is recovered, whatever the others do."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 6)) + 5
    x[:20] = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 6))
    y = np.repeat([0, 1], 20)
    found = ClassGaussians.of(class_statistics(x, y, covariance="low-rank", rank=3), np.zeros(6), np.ones(6))
    assert_allclose(found.covariance(0), np.cov(x[:20].T, bias=True), atol=1e-8)


def test_what_a_sketch_stands_for_is_never_exceeded() -> None:
    factors = gaussians("low-rank", 2).factors
    assert factors is not None
    for c in range(4):
        assert np.linalg.eigvalsh(truth(c) - factors[c] @ factors[c].T).min() > -1e-10


def test_features_without_spread() -> None:
    x = X.copy()
    x[:, 3] = 7.0
    for form in ("full", "shared", "low-rank"):
        found = ClassGaussians.of(class_statistics(x, Y, covariance=form, rank=2), np.zeros(8), np.ones(8))
        assert_allclose(found.covariance(1)[3], 0.0, atol=1e-9)


def test_draws_have_the_moments() -> None:
    found = gaussians("low-rank")
    features, labels = found.draws(20_000, np.random.default_rng(3))
    assert np.bincount(labels).tolist() == [20_000] * 4
    assert_allclose(features[labels == 1].mean(axis=0), found.means[1], atol=0.05)
    assert_allclose(np.cov(features[labels == 1].T), found.covariance(1), atol=0.06)
