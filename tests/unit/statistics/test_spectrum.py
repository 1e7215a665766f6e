from __future__ import annotations

import array_api_compat.numpy as xp
import numpy as np
import pytest

from transferability.statistics.spectrum import eigen_projections, inverse_trace


def matrix(size: int, rank: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, rank)) * np.logspace(0, -2, rank)
    return root @ root.T


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 40])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_projections_are_those_of_eigh(size: int, share: float) -> None:
    m = matrix(size, max(1, round(share * size)))
    vectors = m @ np.random.default_rng(1).normal(size=(size, 3))  # in the range: the rest is noise in both
    values, projections = eigen_projections(xp, m.copy(), vectors)
    expected_values, basis = np.linalg.eigh(m)
    np.testing.assert_allclose(values, expected_values, atol=1e-12 * expected_values.max())
    kept = expected_values > 1e-10 * expected_values.max()
    np.testing.assert_allclose(projections[kept] ** 2, (basis.T @ vectors)[kept] ** 2, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 6, 12])
def test_inverse_trace_is_that_of_pinv(rank: int) -> None:
    m = matrix(12, rank)
    vectors = m @ np.random.default_rng(1).normal(size=(12, 3))
    value, found = inverse_trace(xp, m, vectors)
    assert found == rank
    assert value == pytest.approx(np.trace(vectors.T @ np.linalg.pinv(m, rcond=1e-12) @ vectors), rel=1e-8)


def test_rank_does_not_depend_on_units() -> None:
    m = matrix(6, 6)
    scale = np.array([1e-12, 1, 1e12, 1e-6, 1, 0])
    value, rank = inverse_trace(
        xp, m * np.outer(scale, scale), (m * scale[:, None])[:, :1] * 0 + np.eye(6)[:, :1] * scale[0]
    )
    assert rank == 5
    assert np.isfinite(value)


def test_nothing_varies() -> None:
    assert inverse_trace(xp, np.zeros((9, 9)), np.zeros((9, 2))) == (0.0, 0)
