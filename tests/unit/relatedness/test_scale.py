"""How sure the reference classifier is made: σ against brute force, and what it leaves as it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from transferability import Task, TaskRelatedness
from transferability.relatedness.certificate import transformed_losses
from transferability.relatedness.classifier.lipschitz import fit_lipschitz_softmax
from transferability.relatedness.classifier.scale import best_scale, doubt, is_guess, minimize_over_scales
from transferability.relatedness.costs import GROUND_COSTS
from transferability.relatedness.costs.exact import _best_sharpness
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.tasks.sample import Sample


def overlapping(seed: int, n: int = 120, n_classes: int = 3, d: int = 5, spread: float = 1.5) -> Task:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes)
    return Task(spread * np.eye(n_classes, d)[labels] + rng.normal(size=(n, d)), labels)


def problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=60)
    logits = rng.normal(size=(60, 4)) + rng.uniform(0, 2) * np.eye(4)[labels]
    return logits, labels, rng.dirichlet(np.ones(60)), rng.exponential(0.3)


# ── the one-dimensional problem ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(8))
def test_best_scale_is_the_best_on_a_fine_grid(seed: int) -> None:
    logits, labels, weight, mismatch = problem(seed)
    others = (logits.sum(axis=1) - logits[np.arange(60), labels]) / 3

    def value(scale: float) -> float:  # one label in 62 is drawn from the other classes
        losses = logsumexp(scale * logits, axis=1) - scale * logits[np.arange(60), labels] * 61 / 62
        return float(weight @ (losses - scale * others / 62)) + scale * mismatch

    found = best_scale(logits, labels, weight, mismatch)
    grid = np.exp(np.linspace(-6.9, 6.9, 1000))
    assert value(found) <= min(value(each) for each in grid) + 1e-6
    # Convex in σ: no other minimum can be missed.
    values = np.array([value(each) for each in np.linspace(0.01, 20, 200)])
    assert (np.diff(values, 2) >= -1e-10).all()


def test_a_mismatch_makes_a_classifier_less_sure() -> None:
    logits, labels, weight, _ = problem(0)
    scales = [best_scale(logits, labels, weight, mismatch) for mismatch in (0.0, 0.1, 1.0, 10.0)]
    assert scales == sorted(scales, reverse=True)
    assert scales[-1] < 0.01  # towards log K, which guessing costs


def test_right_in_n_of_n_is_believed_but_for_one_in_n_plus_two() -> None:
    for n in (1, 5, 50, 5000):
        logits, labels = np.tile([4.0, 0.0], (n, 1)), np.zeros(n, dtype=np.int64)
        scale = best_scale(logits, labels)
        assert 1 / (1 + np.exp(4 * scale)) == pytest.approx(1 / (n + 2), rel=1e-3)
        assert doubt(logits, labels) == pytest.approx(4 / (n + 2))
    assert doubt(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == 0
    assert best_scale(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == 1


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_a_new_row_costs_no_hundreds_of_nats(ground_cost: str) -> None:
    """Few rows, all told apart: fresh ones are not, and the bound on them must not say 150 nats."""
    for seed in range(3):
        reference, target = (overlapping(s, n=60, spread=3.0) for s in (seed, seed + 50))
        fresh = [overlapping(s, n=900, spread=3.0) for s in (seed + 100, seed + 150)]
        scaled, plain = (
            TaskRelatedness("scaled", ground_cost=ground_cost, scale=scale).fit(reference, target, *fresh)
            for scale in (True, False)
        )
        assert scaled.bound < 1.3 * plain.bound
        assert scaled.transferred_loss < np.log(3)


def test_nothing_to_gain_leaves_the_scale_at_one() -> None:
    assert minimize_over_scales(lambda scale: abs(np.log(scale))) == 1.0
    assert minimize_over_scales(lambda scale: abs(np.log(scale) - 2)) == pytest.approx(np.exp(2), rel=2e-3)


@pytest.mark.parametrize("unit", [1e-12, 1e-5, 1e5, 1e12])
def test_the_search_goes_on_past_an_end_of_its_range(unit: float) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    logits = 2 * np.eye(3)[labels] + rng.normal(size=(60, 3))
    scale = best_scale(logits, labels)
    assert 0.1 < scale < 10
    assert best_scale(unit * logits, labels) * unit == pytest.approx(scale, rel=1e-3)
    optimum = 3 / unit
    found = minimize_over_scales(lambda each: 1 + np.log(each / optimum) ** 2)
    assert found == pytest.approx(optimum, rel=1e-3)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_logits_that_are_of_no_use_become_a_guess_in_every_unit(unit: float) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    logits = unit * (rng.normal(size=(60, 3)) - 2 * np.eye(3)[labels])  # worse than a guess
    scale = best_scale(logits, labels)
    assert is_guess(scale * logits)
    assert not is_guess(2 * np.eye(3))
    assert best_scale(np.zeros((5, 3)), np.zeros(5, dtype=np.int64)) == 1


def test_doubt_never_rewards_a_classifier_for_being_sure() -> None:
    worse = np.array([[0.0, 1.0, 2.0]] * 4)
    assert doubt(worse, np.zeros(4, dtype=np.int64)) == 0
    assert doubt(worse, np.full(4, 2)) > 0
    assert minimize_over_scales(lambda scale: float(np.exp(-scale))) < 1e9  # falls for ever, and gains nothing by it


@pytest.mark.parametrize("unit", [1.0, 1e4])
def test_a_bound_that_is_smallest_at_a_guess_says_so(unit: float) -> None:
    rng = np.random.default_rng(0)
    tasks = [Task(unit * rng.normal(size=(60, 40)), np.arange(60) % 3) for _ in range(2)]
    for options, guesses in (({}, True), ({"scale": False}, False)):
        model = TaskRelatedness(0.2 / unit, ground_cost="euclidean", standardize=False, **options)
        notes = model.fit(*tasks).notes
        assert any("the reference classifier guesses" in note for note in notes) == guesses


# ── the bound along the ray ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["loss", "euclidean"])
@pytest.mark.parametrize("sigma", [0.1, 0.7, 3.0, 20.0])
def test_bound_is_linear_in_the_scale_beside_the_reference_loss(name: str, sigma: float) -> None:
    """bound(σ) = Σ D_j L_j(σ) + H + σ m, with the classes shared so that H is not zero."""
    reference, target = (Sample(each.features, each.labels) for each in (overlapping(0), overlapping(1, n_classes=4)))
    classifier = fit_lipschitz_softmax(*reference, 0.8)
    transform = LabelTransform(np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 1.0]]))
    cost = GROUND_COSTS[name](classifier, classifier.certified_tau)
    feature_map = AffineMap(np.eye(5) * 0.9, np.full(5, 0.1))
    one, scaled = (each.certify(reference, target, feature_map, transform) for each in (cost, cost.scaled(sigma)))
    log_h = log_softmax(sigma * classifier.logits(reference.features), axis=1)
    per_class = [-log_h[reference.labels == j, j].mean() for j in range(3)]
    priors = np.bincount(target.labels) / len(target.labels)
    reference_loss = float(transform.D(priors) @ per_class)
    assert scaled.bound == pytest.approx(reference_loss + one.terms[1] + sigma * one.terms[2], rel=1e-9)
    assert cost.scaled(sigma).classifier.certified_tau == pytest.approx(sigma * classifier.certified_tau, rel=1e-12)


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_certified_constant_is_that_of_the_scaled_classifier(ground_cost: str) -> None:
    result = TaskRelatedness(0.5, ground_cost=ground_cost).fit(overlapping(0), overlapping(1))
    weights = result.reference_classifier.weights
    assert result.scale != 1
    assert result.certified_tau == pytest.approx(max(np.linalg.norm(a - b) for a in weights for b in weights), rel=1e-9)
    assert result.certified_tau <= result.scale * result.tau * (1 + 1e-9)
    np.testing.assert_array_equal(result.transform.weights, weights)  # what is saved is scaled


@pytest.mark.parametrize("seed", range(5))
def test_predictions_of_one_to_one_classes_do_not_know_the_scale(seed: int) -> None:
    logits = problem(seed)[0]
    transform = LabelTransform.from_class_map(np.array([2, 0, 3]), 4)
    priors = np.array([0.2, 0.5, 0.3])
    _, predictions = transformed_losses(logits, None, transform, priors)
    for sigma in (1e-3, 0.3, 4.0, 1e3):
        np.testing.assert_array_equal(transformed_losses(sigma * logits, None, transform, priors)[1], predictions)


@pytest.mark.parametrize("ground_cost", ["loss", "euclidean"])
def test_accuracy_of_a_fixed_map_does_not_know_the_scale(ground_cost: str) -> None:
    tasks = [overlapping(seed) for seed in range(3)]
    options = {"ground_cost": ground_cost, "matching": "identity", "learn_map": False}
    scaled, plain = (
        TaskRelatedness(0.3, scale=scale, **options).fit(*tasks[:2], target_test=tasks[2])  # type: ignore[misc]
        for scale in (True, False)
    )
    assert (scaled.scale != 1, plain.scale) == (True, 1)
    # The classifiers are trained along different ways, to the same optimum.
    np.testing.assert_allclose(scaled.transform.weights, scaled.scale * plain.transform.weights, rtol=0.02, atol=0.02)
    assert np.mean(scaled.transferred_correct == plain.transferred_correct) > 0.98


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_without_scale_the_classifier_is_the_one_that_was_trained(ground_cost: str) -> None:
    reference, target = overlapping(0), overlapping(1)
    result = TaskRelatedness(0.3, ground_cost=ground_cost, scale=False).fit(reference, target)
    standardised = (reference.features - reference.features.mean(axis=0)) / reference.features.std(axis=0)
    trained = fit_lipschitz_softmax(standardised, reference.labels, 0.3)
    # From another start: both lose at most a millionth of a nat more than the best.
    assert result.reference_classifier.loss == pytest.approx(trained.loss, abs=1e-6)
    np.testing.assert_allclose(result.reference_classifier.weights, trained.weights, atol=1e-4)
    assert result.certified_tau == pytest.approx(0.3, rel=1e-2)
    assert result.scale == 1


def test_a_bound_far_above_guessing_is_scaled_down_to_it() -> None:
    """Unrelated tasks: the loss cost alone says several nats, a scaled bound not much above log K."""
    rng = np.random.default_rng(0)
    reference = overlapping(0, spread=8.0)
    target = Task(rng.normal(size=(120, 5)), np.arange(120) % 3)
    options = {"tau": 2.0, "ground_cost": "loss", "learn_map": False}
    plain, scaled = (TaskRelatedness(scale=scale, **options).fit(reference, target) for scale in (False, True))
    assert plain.bound > 2 * np.log(3)
    assert scaled.bound < 1.02 * np.log(3)


def test_best_of_the_exact_cost_is_the_best_scale_of_the_bound_itself() -> None:
    """Not linear in σ: found by going through the bounds, here repeated by another search."""
    reference, target = overlapping(0), overlapping(1)
    result = TaskRelatedness(0.5, matching="identity", learn_map=False).fit(reference, target)
    unscaled = TaskRelatedness(0.5, matching="identity", learn_map=False, scale=False).fit(reference, target)
    logits = unscaled.reference_classifier.logits
    left, right = (
        logits((task.features - task.features.mean(axis=0)) / task.features.std(axis=0)) for task in (reference, target)
    )

    def bound(scale: float) -> float:
        total = 0.0
        for k in range(3):
            a, b = (
                np.sort(logsumexp(scale * s[y == k], axis=1) - scale * s[y == k, k])
                for s, y in ((left, reference.labels), (right, target.labels))
            )
            total += np.maximum(a, b).mean() / 3  # classes of equal size: sorted values are the quantiles
        return total

    best = minimize_scalar(lambda t: bound(np.exp(t)), bounds=(-4, 4), method="bounded")
    assert bound(result.scale) <= 1.05 * best.fun  # chosen on the rows that h_R has not seen, and not on these
    assert result.bound == pytest.approx(bound(result.scale), rel=1e-3)  # another way to the same classifier


@pytest.mark.parametrize("shares", [[[0.95, 0.05], [0.1, 0.9]], [[0.75, 0.25], [0.4, 0.6]]])
def test_a_mixture_of_classes_is_sharpened_to_the_smallest_mean_loss(shares: list[list[float]]) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    logits = 0.4 * np.eye(2)[labels] + 0.3 * rng.normal(size=(40, 2))
    transform, priors = LabelTransform(np.array(shares)), np.array([0.5, 0.5])
    place = AffineMap(np.eye(2), np.zeros(2))
    found = _best_sharpness(place, Sample(logits, labels), transform, priors)
    linear = doubt(logits, labels)

    def loss(factor: float) -> float:
        return float(np.mean(transformed_losses(factor * logits, labels, transform, priors)[0])) + factor * linear

    factors = np.exp(np.linspace(-3, 4, 1401))
    assert found == pytest.approx(factors[np.argmin([loss(each) for each in factors])], rel=0.02)
    assert found > 1.5
