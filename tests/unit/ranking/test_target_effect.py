"""The effect of a target: closed forms against matrices, and estimates of its variance."""

from __future__ import annotations

import numpy as np
import pytest

from transferability.ranking.target_effect import predict, variance_components


def problem(seed=0, n_targets=4, n=6):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_targets), n)[: n_targets * n - 2]  # the last has fewer
    x = rng.normal(size=len(group))
    y = 0.3 + 0.7 * x + rng.normal(size=n_targets)[group] + 0.5 * rng.normal(size=len(group))
    return x, y, group


@pytest.mark.parametrize("ratio", [0.0, 0.4, 7.0])
@pytest.mark.parametrize("m", [0, 1, 3])
def test_the_prediction_is_that_of_generalised_least_squares(ratio, m) -> None:
    """Best linear unbiased prediction with the covariance written out."""
    x, y, group = problem()
    rng = np.random.default_rng(1)
    own = rng.normal(size=m), rng.normal(size=m), rng.uniform(0.2, 1, size=m)
    at = np.array([-2.0, 0.0, 1.5])
    found = predict(x, y, group, at, ratio, own)
    every_x, every_y = np.concatenate([x, own[0]]), np.concatenate([y, own[1]])
    every_group = np.concatenate([group, np.full(m, 9)])
    noise = np.concatenate([np.ones(len(x)), 1 / own[2]])
    covariance = np.diag(noise) + ratio * (every_group[:, None] == every_group)
    z, inverse = np.column_stack([np.ones(len(every_x)), every_x]), np.linalg.inv(covariance)
    of_line = np.linalg.inv(z.T @ inverse @ z)
    line = of_line @ z.T @ inverse @ every_y
    with_new = ratio * (every_group == 9)
    for position, place in enumerate(at):
        new = np.array([1.0, place])
        centre = new @ line + with_new @ inverse @ (every_y - z @ line)
        rest = new - with_new @ inverse @ z
        variance = 1 + ratio - with_new @ inverse @ with_new + rest @ of_line @ rest
        assert found.centre[position] == pytest.approx(centre)
        assert found.deviation[position] == pytest.approx(np.sqrt(variance))


def test_each_encoder_of_the_target_leaves_less_of_its_effect_unknown() -> None:
    x, y, group = problem()
    ratio, at = 3.0, np.zeros(1)
    deviations = [
        float(predict(x, y, group, at, ratio, (np.zeros(m), np.zeros(m), np.ones(m))).deviation[0]) for m in range(5)
    ]
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[0] ** 2 > 1 + ratio
    assert deviations[4] ** 2 == pytest.approx(1 + ratio / (1 + 4 * ratio), abs=0.15)


def test_variances_are_found_again() -> None:
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(6), [9, 9, 7, 9, 5, 9])
        x = rng.normal(size=len(group)) + rng.normal(size=6)[group]
        y = 0.5 * x + 0.8 * rng.normal(size=6)[group] + 0.5 * rng.normal(size=len(group))
        found.append(variance_components(x, y, group))
    np.testing.assert_allclose(np.mean(found, axis=0), [0.25, 0.64], rtol=0.08)


def test_what_cannot_be_told_apart_is_no_effect() -> None:
    rng = np.random.default_rng(0)
    residual, between = variance_components(rng.normal(size=12), rng.normal(size=12), np.arange(12))
    assert residual > 0
    assert between == 0
    assert max(variance_components(np.full(12, 0.5), np.full(12, 0.3), np.arange(12) % 3)) < 1e-30
    found = predict(np.full(8, 0.5), np.arange(8.0), np.arange(8) % 2, np.array([0.5, 0.6]), 1.0, (np.zeros(0),) * 3)
    assert np.isfinite(found.deviation[0])
    assert np.isinf(found.deviation[1])
