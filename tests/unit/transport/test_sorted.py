"""Transport on the line against general solvers and against the integral of quantile functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from transferability.transport.sorted import sorted_coupling

VALUES = st.floats(-5, 5).map(lambda x: round(x, 2))  # ties happen


def samples(n: int) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, n).flatmap(lambda m: arrays(np.float64, m, elements=VALUES))


def drawn_masses(seed: int, m: int) -> np.ndarray:
    masses = np.random.default_rng(seed).dirichlet(np.full(m, 0.5)) + 1e-6
    return masses / masses.sum()


def integral_of_larger_quantiles(a: np.ndarray, b: np.ndarray, masses: np.ndarray) -> float:
    """∫ max(Q_a, Q_b), by the steps of both quantile functions, written out without sorting indices of pairs."""
    ends = np.unique(np.concatenate([[0.0], np.cumsum(masses[np.argsort(a)]), np.arange(1, len(b) + 1) / len(b)]))
    ends = ends[ends <= 1 + 1e-12]
    middles, widths = (ends[1:] + ends[:-1]) / 2, np.diff(ends)

    def quantile(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        order = np.argsort(values)
        place = np.searchsorted(np.cumsum(weight[order]), middles)
        return values[order][np.minimum(place, len(values) - 1)]

    return float(widths @ np.maximum(quantile(a, masses), quantile(b, np.full(len(b), 1 / len(b)))))


@given(samples(30), samples(30), st.integers(0, 99), st.booleans())
@settings(max_examples=300)
def test_marginals_and_the_identity_of_the_exact_cost(a: np.ndarray, b: np.ndarray, seed: int, uniform: bool) -> None:
    """Mean of a plus the transport is ∫ max(Q_a, Q_b): what reference loss plus mismatch is."""
    masses = np.full(len(a), 1 / len(a)) if uniform else drawn_masses(seed, len(a))
    coupling = sorted_coupling(a, b, None if uniform else masses)
    assert (coupling.mass > 0).all()
    assert len(coupling.mass) <= len(a) + len(b) - 1
    np.testing.assert_allclose(np.bincount(coupling.source, coupling.mass, len(a)), masses, atol=1e-9)
    np.testing.assert_allclose(np.bincount(coupling.target, coupling.mass, len(b)), 1 / len(b), atol=1e-9)
    np.testing.assert_array_equal(coupling.costs, np.maximum(b[coupling.target] - a[coupling.source], 0))
    assert masses @ a + coupling.value == pytest.approx(integral_of_larger_quantiles(a, b, masses), abs=1e-8)
    assert coupling.exact


@given(samples(8), samples(8), st.integers(0, 99))
@settings(max_examples=60)
def test_no_coupling_is_cheaper(a: np.ndarray, b: np.ndarray, seed: int) -> None:
    masses, m, n = drawn_masses(seed, len(a)), len(a), len(b)
    cost = np.maximum(b[None, :] - a[:, None], 0)
    constraints = np.vstack([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])
    marginals = np.concatenate([masses, np.full(n, 1 / n)])
    assert sorted_coupling(a, b, masses).value == pytest.approx(
        linprog(cost.ravel(), A_eq=constraints, b_eq=marginals).fun, abs=1e-8
    )


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_network_simplex(seed: int) -> None:
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(seed)
    a, b = rng.exponential(size=rng.integers(1, 120)), rng.exponential(2, size=rng.integers(1, 120))
    masses = drawn_masses(seed, len(a))
    cost = np.maximum(b[None, :] - a[:, None], 0)
    expected = ot.emd2(masses, np.full(len(b), 1 / len(b)), np.ascontiguousarray(cost))
    assert sorted_coupling(a, b, masses).value == pytest.approx(expected, abs=1e-9)


def test_unnormalised_masses_are_shares() -> None:
    a, b, masses = np.array([0.0, 3.0]), np.array([1.0, 4.0]), np.array([2.0, 6.0])
    one, other = sorted_coupling(a, b, masses), sorted_coupling(a, b, masses / 8)
    assert one.value == pytest.approx(other.value)
    assert one.value == pytest.approx(0.25 * 1 + 0.25 * 0 + 0.5 * 1)
