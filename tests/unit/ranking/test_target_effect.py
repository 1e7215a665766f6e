"""The effect of a target: closed forms against matrices, and estimates of its variance."""

from __future__ import annotations

import numpy as np
import pytest

from transferability.ranking.target_effect import pooled_variance, predict, variance_components


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


@pytest.mark.parametrize("ratio", [0.0, 3.0])
def test_the_pooled_variance_is_that_of_the_covariance(ratio) -> None:
    """The distance of the target's own from the line of the others, by their covariance written out."""
    x, y, group = problem()
    own = np.array([0.5, -1.0, 2.0]), np.array([3.0, -2.0, 0.5]), np.array([1.0, 0.5, 0.2])
    covariance = np.eye(len(x)) + ratio * (group[:, None] == group)
    z, inverse = np.column_stack([np.ones(len(x)), x]), np.linalg.inv(covariance)
    of_line = np.linalg.inv(z.T @ inverse @ z)
    new = np.column_stack([np.ones(3), own[0]])
    residual = own[1] - new @ of_line @ z.T @ inverse @ y
    distance = residual @ np.linalg.inv(np.diag(1 / own[2]) + ratio + new @ of_line @ new.T) @ residual
    found = pooled_variance(x, y, group, ratio, own, variance=0.3, n_free=20)
    assert found == pytest.approx((20 * 0.3 + distance) / 23)
    assert pooled_variance(x, y, group, ratio, (np.zeros(0),) * 3, variance=0.3, n_free=20) == 0.3
    flat = (np.full(8, 0.5), np.arange(8.0), np.arange(8) % 2)  # no line: what is elsewhere tells nothing
    assert pooled_variance(*flat, 1.0, (np.full(1, 0.6), np.zeros(1), np.ones(1)), variance=0.3, n_free=5) == 0.3


def test_variances_of_a_constant_probe_are_those_of_one_way_analysis() -> None:
    """All probes equal: mean squares between and within groups of different sizes."""
    rng = np.random.default_rng(0)
    sizes = np.array([3, 5, 8])
    group = np.repeat(np.arange(3), sizes)
    y = rng.normal(size=16) + 2.0 * rng.normal(size=3)[group]
    means = np.bincount(group, y) / sizes
    within = ((y - means[group]) ** 2).sum() / (16 - 3)
    between = (sizes * (means - y.mean()) ** 2).sum() / 2
    n_0 = (16 - (sizes**2).sum() / 16) / 2
    found = variance_components(np.full(16, 0.3), y, group)
    np.testing.assert_allclose(found, [within, (between - within) / n_0, 13])


def test_variances_of_a_probe_that_is_constant_on_each_target() -> None:
    """It has a slope between targets alone: K − 2 degrees of freedom are left to their effects."""
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(5), 4)
        x = rng.normal(size=5)[group]
        y = 0.5 * x + 0.6 * rng.normal(size=5)[group] + rng.normal(size=20)
        within = sum(((y[group == k] - y[group == k].mean()) ** 2).sum() for k in range(5)) / 15
        of_all = y - np.polyval(np.polyfit(x, y, 1), x)
        excess = (of_all @ of_all - 15 * within - 3 * within) / (4 * 3)
        components = variance_components(x, y, group)
        np.testing.assert_allclose(components, [within, max(0.0, excess), 15], atol=1e-12)
        found.append(excess)
    assert np.mean(found) == pytest.approx(0.36, abs=0.06)
    two = variance_components(np.repeat([0.0, 1.0], 4), np.arange(8.0), np.repeat([0, 1], 4))
    assert two.between == 0  # the line goes through the means of both


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
    np.testing.assert_allclose(np.mean(found, axis=0)[:2], [0.25, 0.64], rtol=0.08)
    assert found[0].n_free == 48 - 6 - 1


def test_what_cannot_be_told_apart_is_no_effect() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12)
    residual, between, n_free = variance_components(x, y, np.arange(12))
    assert residual == pytest.approx(((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2).sum() / 10)
    assert (between, n_free) == (0, 10)
    assert max(variance_components(np.full(12, 0.5), np.full(12, 0.3), np.arange(12) % 3)[:2]) < 1e-30
    found = predict(np.full(8, 0.5), np.arange(8.0), np.arange(8) % 2, np.array([0.5, 0.6]), 1.0, (np.zeros(0),) * 3)
    assert np.isfinite(found.deviation[0])
    assert np.isinf(found.deviation[1])
