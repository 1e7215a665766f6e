import numpy as np
import pytest

from transferability.relatedness.tasks.standardize import Scaler


@pytest.mark.parametrize("scale", [1e-300, 1e-8, 1.0, 1e8, 1e300])
def test_mean_zero_and_deviation_one_on_any_scale(scale: float) -> None:
    z = scale * (np.random.default_rng(0).normal(size=(50, 4)) + 3)
    standardised = Scaler.fit(z).apply(z)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(standardised.std(axis=0), 1, rtol=1e-9)


@pytest.mark.parametrize("value", [0.0, 7.3, -1e-20, 1e20])
def test_constant_columns_become_zero(value: float) -> None:
    z = np.column_stack([np.full(9, value), np.arange(9.0)])
    standardised = Scaler.fit(z).apply(z)
    np.testing.assert_allclose(standardised[:, 0], 0, atol=1e-12)
    assert standardised[:, 1].std() == pytest.approx(1)


def test_rounding_of_a_huge_constant_is_not_a_feature() -> None:
    z = np.column_stack([np.where(np.arange(9) % 2, 1e20, np.nextafter(1e20, 2e20)), np.arange(9.0)])
    assert np.ptp(z[:, 0]) > 1e4
    assert np.abs(Scaler.fit(z).apply(z)[:, 0]).max() < 1e-12


def test_single_precision_and_a_single_row() -> None:
    z = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    scaler = Scaler.fit(z)
    assert scaler.apply(z).dtype == np.float32
    np.testing.assert_allclose(scaler.apply(z), scaler.apply(z.astype(np.float64)), atol=1e-6)
    assert not Scaler.fit(z[:1]).apply(z[:1]).any()


def test_the_same_shift_and_scale_for_new_rows() -> None:
    z = np.random.default_rng(2).normal(size=(30, 2))
    scaler = Scaler.fit(z)
    np.testing.assert_allclose(scaler.apply(z[:5] + 2), (z[:5] + 2 - z.mean(axis=0)) / z.std(axis=0), atol=1e-12)
    np.testing.assert_array_equal(Scaler.identity(2).apply(z), z)


@pytest.mark.parametrize("scale", [1e-38, 1e37])
def test_single_precision_near_its_limits(scale: float) -> None:
    z = (scale * np.random.default_rng(3).uniform(0.5, 1.5, size=(40, 3))).astype(np.float32)
    standardised = Scaler.fit(z).apply(z)
    np.testing.assert_allclose(standardised.std(axis=0), 1, rtol=1e-3)


def test_deviation_far_from_zero_in_single_precision() -> None:
    z = (1e3 + np.random.default_rng(4).normal(size=(2_000, 2))).astype(np.float32)
    np.testing.assert_allclose(Scaler.fit(z).scale, z.astype(np.float64).std(axis=0), rtol=1e-4)


def test_a_deviation_below_the_smallest_number_counts_as_none() -> None:
    """Half of the smallest number that there is rounds to zero, and nothing is divided by it."""
    features = np.array([[0.0], [5e-324]])
    assert np.isfinite(Scaler.fit(features).apply(features)).all()


def test_the_sign_of_a_feature_does_not_matter() -> None:
    z = np.abs(np.random.default_rng(0).normal(size=(20, 3))) * (1.0, 1e300, 1e-300)
    z[0] = (1e-12, 1e-12, 0.0)  # far smaller than the others
    one, other = Scaler.fit(z), Scaler.fit(-z)
    np.testing.assert_array_equal(one.mean, -other.mean)
    np.testing.assert_array_equal(one.scale, other.scale)
    np.testing.assert_allclose(other.scale / (1.0, 1e300, 1e-300), (z / (1.0, 1e300, 1e-300)).std(axis=0))
