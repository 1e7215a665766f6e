"""Choices that go on until they turn: the strength of the ridge and τ."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.relatedness.classifier.tau import first_tau, solve_for_tau
from transferability.relatedness.costs.ridge_path import ridge_path
from transferability.relatedness.maps.feature_map import AffineMap

START = AffineMap(np.zeros((1, 1)), np.zeros(1))


def path(bound_of_log_ridge: dict[int, float] | None = None, optimum: float = 0.0, start: float = 1e3):
    """Walk a path whose bound is a parabola in the exponent of the ridge; return the choice and what was tried."""
    tried: list[int] = []

    def fit(place_map: AffineMap, ridge: float) -> AffineMap:
        tried.append(round(np.log10(ridge)))
        return AffineMap(np.array([[ridge]]), np.zeros(1))

    def judge(place_map: AffineMap) -> float:
        if place_map is START:
            return start
        exponent = round(np.log10(place_map.matrix[0, 0]))
        if bound_of_log_ridge is not None:
            return bound_of_log_ridge.get(exponent, 10.0)
        return 1 + (exponent - optimum) ** 2

    return ridge_path(START, fit, judge), tried


@pytest.mark.parametrize("optimum", range(-7, 5))
def test_the_ridge_is_found_wherever_it_lies(optimum: int) -> None:
    choice, tried = path(optimum=optimum)
    assert choice.ridge == pytest.approx(10.0**optimum)
    assert choice.bound == 1
    assert choice.place_map.matrix[0, 0] == choice.ridge
    if optimum < 0:
        assert min(tried) == optimum - 1
        assert max(tried) == 0  # downhill lies the optimum: strong ridges are not tried


def test_the_range_ends_where_nothing_is_gained() -> None:
    assert path(optimum=-11)[0].ridge == pytest.approx(1e-11)  # each step gains: the path goes on past its end
    assert path(optimum=-30)[0].ridge == pytest.approx(1e-12)  # beyond is rounding
    flat = {exponent: 1.0 + 1e-4 * exponent for exponent in range(-20, 1)}
    assert path(flat)[0].ridge == pytest.approx(1e-7)
    assert path(optimum=20)[0].ridge == pytest.approx(1e4)  # stronger is the start, which competes


def test_a_noisy_step_does_not_end_the_path_but_two_do() -> None:
    bumpy = {0: 1.0, -1: 1.02, -2: 0.5, -3: 0.51, -4: 0.52, -5: 0.1}
    choice, tried = path(bumpy)
    assert choice.ridge == pytest.approx(1e-2)
    assert tried == [0, -1, -2, -3, -4]
    assert path({0: 1.0, -1: 1.2, -2: 0.5})[0].ridge == 1.0  # much worse: no weaker ridge is tried
    assert path({0: 1.0, -1: np.nan, -2: 0.5})[0].ridge == 1.0


def test_features_as_they_are_compete() -> None:
    choice, _ = path(optimum=0, start=0.5)
    assert choice.ridge == np.inf
    assert choice.place_map is START


def planted(seed: int, n: int, kind: str) -> tuple[Task, Task]:
    """Reference and target with the best ridge far from where the path begins."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    d = 12
    centres = 2.0 * np.eye(3, d)
    reference = Task(centres[labels] + rng.normal(size=(n, d)), labels)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(d, d)))[0] if kind == "turned" else np.eye(d)
    return reference, Task((centres[labels] + rng.normal(size=(n, d))) @ turn, labels)


def test_many_rows_of_a_turned_task_want_a_weak_ridge_and_few_of_the_same_task_a_strong_one() -> None:
    reference, turned = planted(0, 1200, "turned")
    weak = TaskRelatedness(0.5).fit(reference, turned)
    assert weak.ridge < 0.02
    _, few = planted(1, 30, "same")
    strong = TaskRelatedness(0.5).fit(planted(0, 1200, "same")[0], few)
    assert strong.ridge >= 1
    assert strong.ridge > 100 * weak.ridge


# ── τ ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def walk(values: dict[int, float], default: float = 5.0) -> list[int]:
    """Return the steps (powers of two from the first τ) that "auto" takes."""
    centre = first_tau("auto", 256.0)
    steps = solve_for_tau(
        "auto", 256.0, lambda tau: round(np.log2(tau / centre)), lambda step: values.get(step, default)
    )
    assert steps == sorted(steps)
    return steps


def test_auto_walks_past_a_noisy_step_to_both_sides() -> None:
    assert max(walk({0: 1.0, 1: 1.01, 2: 0.5})) == 4
    down = walk({0: 1.0, -1: 1.01, -2: 0.5, -3: 0.51, -4: 0.52, -5: 0.1})
    assert min(down) == -4  # two steps past the best that are no better end it
    assert 1 in down
    assert walk({0: 1.0, -1: 0.995, -2: 0.992, -3: 0.1})[0] == -2  # less than a hundredth is no step forward


def _falling(centre: float, tau: float) -> float:
    return float(0.5 ** abs(np.log2(tau / centre)))


def test_auto_ends_after_twelve_steps_in_whatever_unit() -> None:
    falling = {step: 0.5 ** abs(step) for step in range(-60, 60)}
    steps = walk(falling)
    assert (min(steps), max(steps)) == (-12, 12)
    for spread in (1e-20, 1e-3, 1e20):
        centre = first_tau("auto", spread)
        assert centre == pytest.approx(32 / np.sqrt(spread))
        taus = solve_for_tau("auto", spread, float, partial(_falling, centre))
        assert max(taus) == pytest.approx(2.0**12 * centre)
    assert np.isfinite(first_tau("scaled", 0.0))


@pytest.mark.parametrize(
    ("ground_cost", "tau"), [("exact", "scaled"), ("loss", "scaled"), ("euclidean", "scaled"), ("exact", "auto")]
)
def test_features_that_are_not_standardised_have_no_unit_and_no_origin(ground_cost: str, tau: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    centres = 2.0 * np.eye(3, 6)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    left, right = centres[labels] + rng.normal(size=(120, 6)), (centres[labels] + rng.normal(size=(120, 6))) @ turn
    model = TaskRelatedness(tau, ground_cost=ground_cost, standardize=False)
    plain = model.fit(Task(left, labels), Task(right, labels))
    for unit, origin in ((1000.0, 0.0), (1e-6, 0.0), (1.0, 100.0)):
        moved = model.fit(Task(unit * left + origin, labels), Task(unit * right + origin, labels))
        assert moved.bound == pytest.approx(plain.bound, rel=2e-3)
        assert moved.transferred_loss == pytest.approx(plain.transferred_loss, rel=2e-3)
        assert moved.tau * unit == pytest.approx(plain.tau, rel=1e-6)
        assert moved.certified_tau * unit == pytest.approx(plain.certified_tau, rel=1e-2)
        probabilities = moved.predict_proba(unit * right + origin)
        np.testing.assert_allclose(probabilities, plain.predict_proba(right), atol=2e-3)


def test_scaled_and_the_result_do_not_know_dead_features() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    alive = [2.5 * np.eye(3, 6)[labels] + rng.normal(size=(150, 6)) for _ in range(2)]
    for dead in (np.full((150, 300), 7.0), np.zeros((150, 300))):
        plain = TaskRelatedness("scaled").fit(*(Task(each, labels) for each in alive))
        padded = TaskRelatedness("scaled").fit(*(Task(np.hstack([each, dead]), labels) for each in alive))
        assert padded.tau == pytest.approx(plain.tau, rel=1e-6)
        assert padded.bound == pytest.approx(plain.bound, rel=1e-3)
        assert padded.transferred_accuracy == plain.transferred_accuracy
    assert first_tau("scaled", 0.0) > 0  # all constant: some τ all the same
