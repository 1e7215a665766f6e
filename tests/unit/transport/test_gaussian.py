"""Distances between Gaussians against closed forms and against what they mean for samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from transferability.statistics.gaussians import psd_root
from transferability.transport.coupling import optimal_coupling
from transferability.transport.gaussian import couple_gaussians, expected_loss_cost, moment_distance


def covariance(rng: np.random.Generator, d: int, rank: int | None = None) -> np.ndarray:
    factor = rng.normal(size=(d, rank or d))
    return factor @ factor.T


def distance(difference: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return couple_gaussians(difference, psd_root(a), psd_root(b)).value


def test_commuting_covariances() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    a, b = rng.uniform(0, 4, size=(2, 5))
    step = rng.normal(size=5)
    found = distance(step, basis * a @ basis.T, basis * b @ basis.T)
    assert_allclose(found, step @ step + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rtol=1e-12)


def test_one_dimension() -> None:
    assert_allclose(distance(np.array([3.0]), np.array([[4.0]]), np.array([[36.0]])), 9 + 16)


def test_two_dimensions_by_the_determinant() -> None:
    """The trace of the root of a 2 × 2 matrix M is sqrt(tr M + 2 sqrt(det M))."""
    rng = np.random.default_rng(1)
    a, b = covariance(rng, 2), covariance(rng, 2)
    cross = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    assert_allclose(distance(np.zeros(2), a, b), np.trace(a) + np.trace(b) - 2 * cross, rtol=1e-10)


@pytest.mark.parametrize(("rank_a", "rank_b"), [(1, 6), (6, 1), (2, 3), (1, 1)])
def test_singular_covariances_are_the_limit_of_regular_ones(rank_a: int, rank_b: int) -> None:
    rng = np.random.default_rng(2)
    a, b = covariance(rng, 6, rank_a), covariance(rng, 6, rank_b)
    near = distance(np.ones(6), a + 1e-10 * np.eye(6), b + 1e-10 * np.eye(6))
    assert_allclose(distance(np.ones(6), a, b), near, atol=1e-3)


def test_a_point_and_a_gaussian() -> None:
    b = covariance(np.random.default_rng(3), 4)
    assert_allclose(distance(np.zeros(4), np.zeros((4, 4)), b), np.trace(b), rtol=1e-12)


@pytest.mark.parametrize("rank", [2, 5])
def test_the_coupling_is_one_and_has_that_cost(rank: int) -> None:
    rng = np.random.default_rng(4)
    root_a, root_b = rng.normal(size=(5, rank)), rng.normal(size=(5, 7))
    found = couple_gaussians(np.zeros(5), root_a, root_b)
    cross = root_a @ found.link @ root_b.T
    assert np.linalg.svd(found.link)[1].max() <= 1 + 1e-12  # a covariance of standard normals
    joint = np.block([[root_a @ root_a.T, cross], [cross.T, root_b @ root_b.T]])
    assert np.linalg.eigvalsh(joint).min() > -1e-10
    assert_allclose(found.value, np.trace(root_a @ root_a.T + root_b @ root_b.T - 2 * cross), rtol=1e-12)


def test_any_root_gives_the_same_cross_covariance() -> None:
    rng = np.random.default_rng(5)
    a, b = covariance(rng, 4), covariance(rng, 4)
    plain = np.linalg.cholesky(a), np.linalg.cholesky(b)
    even = psd_root(a), psd_root(b)
    crosses = [x @ couple_gaussians(np.zeros(4), x, y).link @ y.T for x, y in (plain, even)]
    assert_allclose(crosses[0], crosses[1], rtol=1e-9)


def test_maps_between_dimensions() -> None:
    """Mapping three dimensions into two: the distance is that of the mapped covariance."""
    rng = np.random.default_rng(6)
    root, matrix, other = rng.normal(size=(3, 3)), rng.normal(size=(2, 3)), covariance(rng, 2)
    mapped = matrix @ root
    assert_allclose(
        couple_gaussians(np.zeros(2), psd_root(other), mapped).value,
        distance(np.zeros(2), other, mapped @ mapped.T),
        rtol=1e-10,
    )


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_gelbrich(seed: int) -> None:
    """Between any two samples W₂² is at least that of the Gaussians with their means and covariances."""
    rng = np.random.default_rng(seed)
    x = rng.exponential(size=(12, 3)) @ rng.normal(size=(3, 3))
    y = rng.uniform(size=(12, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=3)
    truth = optimal_coupling(((x[:, None] - y[None]) ** 2).sum(axis=2)).value
    bound = distance(x.mean(axis=0) - y.mean(axis=0), *(np.cov(each.T, bias=True) for each in (x, y)))
    assert bound <= truth + 1e-9


def test_affine_images_reach_gelbrich() -> None:
    """A sample and its image under a positive definite map: the bound is attained."""
    rng = np.random.default_rng(7)
    x = rng.exponential(size=(40, 3))
    matrix = covariance(rng, 3)
    y = x @ matrix + 1.0
    bound = distance(x.mean(axis=0) - y.mean(axis=0), *(np.cov(each.T, bias=True) for each in (x, y)))
    assert_allclose(bound, ((x - y) ** 2).sum(axis=1).mean(), rtol=1e-9)


def test_gamma_is_equation_five() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(30, 4)), 2 * rng.normal(size=(20, 4)) + 1
    centred = [each - each.mean(axis=0) for each in (x, y)]
    sigma = [each.T @ each / len(each) for each in centred]
    wanted = np.linalg.norm(x.mean(0) - y.mean(0)) ** 2 + 0.3 * np.linalg.norm(sigma[0] - sigma[1]) ** 2
    assert_allclose(moment_distance(x.mean(axis=0), sigma[0], y.mean(axis=0), sigma[1], 0.3), wanted, rtol=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_expected_loss_cost_of_two_classes(label: int) -> None:
    """For two classes max Δ − Δ_j is the positive part of a normal: E max(0, g) = m Φ(m/s) + s φ(m/s)."""
    from scipy.stats import norm

    draws = np.random.default_rng(9).standard_normal((200_000, 2))
    root = np.array([[1.0, 0.0], [0.5, 2.0]])
    step = np.array([0.2, 0.9])
    m, s = step[1 - label] - step[label], np.linalg.norm(root[1] - root[0])
    wanted = m * norm.cdf(m / s) + s * norm.pdf(m / s)
    assert_allclose(expected_loss_cost(step, root, label, np.concatenate([draws, -draws])), wanted, rtol=5e-3)
