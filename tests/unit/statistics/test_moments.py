from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from transferability.errors import FeatureError, LabelError, TaskError
from transferability.statistics import _inputs as inputs_module
from transferability.statistics import (
    class_moments,
    conditional_entropy,
    ledoit_wolf_shrinkage,
    merge_moments,
    shrunk_covariance,
)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 4
    return rng.normal(size=(60, 5)) * [1, 2, 3, 4, 5] + 7, labels


def test_moments_are_what_they_say(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    moments = class_moments(x, y)
    centred = x - x.mean(axis=0)
    norms = (centred**2).sum(axis=1)
    np.testing.assert_array_equal(moments.counts, [15, 15, 15, 15])
    np.testing.assert_allclose(moments.class_means, [x[y == c].mean(axis=0) for c in range(4)])
    np.testing.assert_allclose(moments.scatter, centred.T @ centred)
    np.testing.assert_allclose(moments.third, norms @ centred)
    assert moments.fourth == pytest.approx((norms**2).sum())
    np.testing.assert_allclose(moments.gram(), x.T @ x)
    within = sum((x[y == c] - x[y == c].mean(axis=0)).T @ (x[y == c] - x[y == c].mean(axis=0)) for c in range(4))
    np.testing.assert_allclose(moments.within_scatter(), within)


def test_blocks_change_nothing(data: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(700, 3)), rng.permutation(700) % 3
    whole = class_moments(x, y)
    monkeypatch.setattr(inputs_module, "_BLOCK_ELEMENTS", 1)  # 64 rows to a block
    np.testing.assert_allclose(class_moments(x, y).scatter, whole.scatter, rtol=1e-12)
    np.testing.assert_allclose(class_moments(x, y).class_means, whole.class_means, rtol=1e-12)


def test_merge_far_from_the_origin_loses_no_digits() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(1000, 4)), np.arange(1000) % 2
    far = class_moments(x + 1e8, y)
    np.testing.assert_allclose(far.scatter, class_moments((x + 1e8) - 1e8, y).scatter, rtol=1e-7)
    parts = merge_moments(class_moments(x[i : i + 10] + 1e8, y[i : i + 10], n_classes=2) for i in range(0, 1000, 10))
    np.testing.assert_allclose(parts.scatter, far.scatter, atol=1e-7 * np.trace(far.scatter))


def test_third_and_fourth_moments_merge(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    parts = merge_moments(
        [class_moments(x[:7], y[:7], 4), class_moments(x[7:11], y[7:11], 4), class_moments(x[11:], y[11:], 4)]
    )
    whole = class_moments(x, y)
    np.testing.assert_allclose(parts.third, whole.third, rtol=1e-10)
    assert parts.fourth == pytest.approx(whole.fourth, rel=1e-12)


def test_shrinkage_is_scikit_learns(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    reference = LedoitWolf().fit(x)
    moments = class_moments(x, y)
    alpha = ledoit_wolf_shrinkage(moments)
    assert alpha == pytest.approx(reference.shrinkage_, rel=1e-12)
    np.testing.assert_allclose(shrunk_covariance(moments, alpha), reference.covariance_, rtol=1e-12)


def test_shrinkage_of_features_that_do_not_vary_is_zero() -> None:
    assert ledoit_wolf_shrinkage(class_moments(np.ones((4, 2)), np.array([0, 1, 0, 1]))) == 0.0


def test_conditional_entropy() -> None:
    assert conditional_entropy(np.array([[0.25, 0.25], [0.25, 0.25]])) == pytest.approx(np.log(2))
    assert conditional_entropy(np.array([[0.5, 0.0], [0.5, 0.0]])) == pytest.approx(np.log(2))
    assert conditional_entropy(np.eye(3) / 3) == 0.0


def test_refusals(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    with pytest.raises(LabelError, match="row 3 is 3"):
        class_moments(x, y, n_classes=3)
    with pytest.raises(LabelError, match=r"shape \(60,\)"):
        class_moments(x, y[:-1], n_classes=4)
    with pytest.raises(LabelError, match="class 1 has no sample"):
        class_moments(x[y != 1], y[y != 1])
    with pytest.raises(LabelError, match="class 1 has no sample"):
        class_moments(x[y != 1], y[y != 1], n_classes=4).require_every_class()
    with pytest.raises(TaskError, match="4 and 5 classes"):
        class_moments(x, y).merge(class_moments(x, y, n_classes=5))
    with pytest.raises(TaskError, match="at least one"):
        merge_moments([])
    with pytest.raises(FeatureError, match="smaller than"):
        class_moments(x * 1e30, y)


def test_shrinkage_is_never_more_than_all() -> None:
    from sklearn.covariance import ledoit_wolf

    # Points on every axis vary alike in all directions: next to nothing to shrink, and much sampling error.
    x = np.concatenate([np.eye(4), -np.eye(4)]) + 0.01 * np.random.default_rng(0).normal(size=(8, 4))
    moments = class_moments(x, np.arange(8) % 2)
    squares = float((moments.scatter**2).sum()) / 64
    distance = squares - (np.trace(moments.scatter) / 8) ** 2 / 4
    assert 0 < distance < 0.01 * (moments.fourth / 8 - squares) / 8
    assert ledoit_wolf_shrinkage(moments) == ledoit_wolf(x)[1] == 1.0
