"""`solver="statistics"`: the terms against their definitions, against samples, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import sqrtm

from transferability import Task, TaskRelatedness
from transferability.errors import LabelError, OptionError, TaskError
from transferability.relatedness.costs.gaussian import normal_draws
from transferability.relatedness.maps.feature_map import AffineMap, RidgeRegression
from transferability.relatedness.maps.gaussian_map import ClassPairs, fit_moments, squares_step
from transferability.relatedness.packs.pack import ReferencePack
from transferability.statistics.classes import class_statistics
from transferability.transport.gaussian import moment_distance


def make(seed: int, n: int, d: int = 5, order: tuple[int, ...] = (0, 1, 2), name: str = "task") -> Task:
    """Gaussian classes around corners; `order` says which corner each class sits at."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(order)
    centres = 4 * np.eye(max(order) + 1, d)
    return Task(centres[np.array(order)[y]] + rng.normal(size=(n, d)), y, name=name)


REFERENCE, REFERENCE_TEST = make(0, 300, name="reference"), make(1, 150)
TARGET, TARGET_TEST = make(2, 240, order=(2, 0, 1), name="target"), make(3, 120, order=(2, 0, 1))


def fit(*tasks: Any, **options: Any) -> Any:
    return TaskRelatedness(solver="statistics", **options).fit(*tasks)


def standardised(task: Task, by: Task) -> list[np.ndarray]:
    features = (task.features - by.features.mean(axis=0)) / by.features.std(axis=0)
    return [features[np.equal(task.labels, c)] for c in range(task.n_classes)]


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows.mean(axis=0), np.cov(rows.T, bias=True)


class TestDefinitions:
    """Without a map the terms can be written down from the samples."""

    def pairs(self, result: Any) -> list[tuple[float, tuple[Any, Any], tuple[Any, Any]]]:
        reference, target = standardised(REFERENCE, REFERENCE), standardised(TARGET, TARGET)
        priors = TARGET.class_priors
        return [(priors[i], moments(reference[j]), moments(target[i])) for i, j in enumerate(result.class_map)]

    def test_euclidean_is_bures_wasserstein(self) -> None:
        result = fit(REFERENCE, TARGET, learn_map=False, ground_cost="euclidean", tau=0.5)
        wanted = 0.0
        for weight, (m, S), (mu, P) in self.pairs(result):
            cross = np.real(sqrtm(sqrtm(S) @ P @ sqrtm(S)))
            wanted += weight * result.certified_tau * np.sqrt(((m - mu) ** 2).sum() + np.trace(S + P - 2 * cross))
        assert_allclose(result.distribution_mismatch, wanted, rtol=1e-7)
        assert result.class_map.tolist() == [2, 0, 1]

    @pytest.mark.parametrize("space", ["reference", "target"])
    @pytest.mark.parametrize("weight", [0.0, 0.01, 2.0])
    def test_gamma_is_equation_five(self, space: str, weight: float) -> None:
        result = fit(
            REFERENCE, TARGET, learn_map=False, ground_cost="gamma", tau=0.5, covariance_weight=weight, space=space
        )
        wanted = sum(p * moment_distance(*r, *t, weight) for p, r, t in self.pairs(result))
        factor = result.certified_tau if space == "reference" else result.scale * result.tau
        assert_allclose(result.distribution_mismatch, factor * wanted, rtol=1e-10)

    def test_the_other_terms_are_those_of_samples(self) -> None:
        samples = TaskRelatedness(tau=0.5, scale=False).fit(REFERENCE, TARGET, REFERENCE_TEST, TARGET_TEST)
        result = fit(REFERENCE, TARGET, REFERENCE_TEST, TARGET_TEST, tau=0.5, scale=False)
        # The two train the classifier from different starts, each to the accuracy of its solver.
        assert_allclose(result.reference_loss, samples.reference_loss, rtol=1e-6)
        assert result.label_mismatch == samples.label_mismatch == 0.0
        assert_array_equal(result.class_map, samples.class_map)
        assert result.bound == pytest.approx(sum([result.reference_loss, result.distribution_mismatch]))


@pytest.mark.parametrize("covariance", ["full", "shared", "low-rank"])
def test_close_to_samples_where_classes_are_gaussian(covariance: str) -> None:
    """The loss cost of Gaussians under one coupling is no less than under the best; a few hundredths of a nat here."""
    options = {"tau": 0.5, "ground_cost": "loss", "scale": False}
    samples = TaskRelatedness(**options).fit(REFERENCE, TARGET, REFERENCE_TEST, TARGET_TEST)
    pack = ReferencePack.from_task(REFERENCE, REFERENCE_TEST, tau=0.5, covariance=covariance, rank=2)
    result = fit(pack, TARGET, None, TARGET_TEST, **options)
    assert abs(result.bound - samples.bound) < 0.05
    assert result.transferred_loss <= result.bound  # how far below is left open by a price that is all but zero
    assert result.transferred_accuracy > 0.95
    assert result.transferability is not None


def test_a_task_and_its_pack_give_the_same() -> None:
    for options in ({"tau": 0.5}, {"tau": "auto"}, {"tau": [0.3, 0.6], "ground_cost": "euclidean"}):
        pack = ReferencePack.from_task(REFERENCE, REFERENCE_TEST, tau=options["tau"], covariance="full")
        one = fit(REFERENCE, TARGET, REFERENCE_TEST, TARGET_TEST, **options)
        other = fit(pack, TARGET, None, TARGET_TEST, **options)
        assert (one.bound, one.tau, one.transferred_loss) == (other.bound, other.tau, other.transferred_loss)
        assert (len(one.tau_path) > 1) == (options["tau"] != 0.5)


def test_targets_without_samples() -> None:
    target = ReferencePack.from_task(TARGET, tau=0.5, covariance="full")
    for reference in (REFERENCE, ReferencePack.from_task(REFERENCE, tau=0.5, covariance="full")):
        blind = fit(reference, target, tau=0.5)
        assert blind.bound == pytest.approx(fit(REFERENCE, TARGET, tau=0.5).bound, rel=1e-9)
        assert blind.transferred_loss is None
        assert blind.transferability is None
        assert blind.evaluated_on == "fit"


def test_result_is_an_estimate_and_says_so() -> None:
    result = fit(REFERENCE, TARGET, tau=0.5)
    assert not result.certified
    assert "estimate" in result.certificate
    assert "Gelbrich" in fit(REFERENCE, TARGET, tau=0.5, ground_cost="euclidean").certificate
    assert "Eq. 5" in fit(REFERENCE, TARGET, tau=0.5, ground_cost="gamma").certificate
    assert result.solver == "statistics"
    assert json.loads(json.dumps(result.to_dict()))["exact_transport"] is False
    assert_allclose(result.predict_proba(TARGET.features).sum(axis=1), 1.0)
    again = fit(REFERENCE, TARGET, tau=0.5)
    assert (again.bound, again.transferred_loss) == (result.bound, result.transferred_loss)


def test_more_reference_classes_than_are_needed() -> None:
    """The classifier of those in use is learned from draws: its losses are close to those learned from samples."""
    wide = make(4, 600, d=8, order=(0, 1, 2, 3, 4, 5))
    target = make(5, 300, d=8, order=(4, 1))
    samples = TaskRelatedness(tau=0.5).fit(wide, target)
    result = fit(ReferencePack.from_task(wide, tau=0.5), target, tau=0.5)
    assert result.class_map.tolist() == [4, 1]
    assert abs(result.reference_loss - samples.reference_loss) < 0.05
    assert result.transform.B.shape == (2, 6)
    assert result.transform.D[[4, 1]].sum() == pytest.approx(1.0)
    assert result.transferred_accuracy > 0.95


def test_fewer_reference_classes_than_are_needed() -> None:
    result = fit(make(6, 200, order=(0, 1)), make(7, 300, order=(0, 1, 2)), tau=0.5)
    assert result.label_mismatch > 0.2  # two target classes share a reference class
    assert sorted(set(result.class_map.tolist())) == [0, 1]


@pytest.mark.parametrize("ground_cost", ["loss", "euclidean", "gamma"])
@pytest.mark.parametrize(("d_reference", "d_target"), [(5, 9), (9, 5)])
def test_dimensions_may_differ(ground_cost: str, d_reference: int, d_target: int) -> None:
    reference, target = make(8, 200, d=d_reference), make(9, 200, d=d_target)
    result = fit(reference, target, ground_cost=ground_cost, tau=0.5)
    assert result.transform.map.shape == (d_reference, d_target)
    assert np.isfinite(result.bound)
    assert result.transferred_accuracy > 0.9


@pytest.mark.parametrize("ground_cost", ["loss", "euclidean", "gamma"])
@pytest.mark.parametrize("space", ["reference", "target"])
def test_the_map_helps(ground_cost: str, space: str) -> None:
    rng = np.random.default_rng(10)
    turned = Task(TARGET.features @ np.linalg.qr(rng.normal(size=(5, 5)))[0] * 3 + 1, TARGET.labels)
    options = {"ground_cost": ground_cost, "space": space, "tau": 0.5, "matching": [2, 0, 1]}
    fixed = fit(REFERENCE, turned, learn_map=False, scale=False, **options)
    learned = fit(REFERENCE, turned, scale=False, **options)
    assert learned.distribution_mismatch < 0.7 * fixed.distribution_mismatch
    assert fit(REFERENCE, turned, **options).bound < fit(REFERENCE, turned, learn_map=False, **options).bound


@pytest.mark.parametrize("ground_cost", ["loss", "euclidean", "gamma"])
@pytest.mark.parametrize("scale", [True, False])
def test_features_that_say_nothing_leave_the_loss_of_guessing(ground_cost: str, scale: bool) -> None:
    constant = Task(np.full((60, 5), 3.0), np.arange(60) % 3)
    for reference, target in ((constant, TARGET), (constant, constant)):
        result = fit(reference, target, ground_cost=ground_cost, scale=scale)
        assert result.reference_loss == pytest.approx(np.log(3), rel=1e-6)
        assert result.transferability <= np.log(3) + 1e-6
        assert np.isfinite(result.bound)


def test_merged_packs_have_no_classifier_and_need_none() -> None:
    halves = [ReferencePack.from_task(REFERENCE.subset(rows), tau=0.5) for rows in np.split(np.arange(300), 2)]
    whole = fit(ReferencePack.from_task(REFERENCE, tau=0.5), TARGET, tau=0.5)
    for tau in (0.5, "auto"):
        result = fit(halves[0].merge(halves[1]), TARGET, tau=tau)
        assert result.class_map.tolist() == [2, 0, 1]
        if tau == 0.5:
            assert abs(result.bound - whole.bound) < 0.05


def test_panels_of_packs_and_tasks() -> None:
    far = ReferencePack.from_task(make(11, 200, order=(0, 1)), tau=0.5)
    result = fit([far, REFERENCE], TARGET, [None, REFERENCE_TEST], TARGET_TEST, tau=0.5)
    assert [each.reference for each in result.references] == ["task", "reference"]
    assert result.reference == "reference"


class TestMaps:
    def test_classes_of_no_extent_are_points(self) -> None:
        rng = np.random.default_rng(0)
        x, y, weights = rng.normal(size=(6, 3)), rng.normal(size=(6, 4)), rng.dirichlet(np.ones(6))
        pairs = ClassPairs(weights, x, [np.zeros((3, 1))] * 6, y, [np.zeros((4, 1))] * 6)
        prior = AffineMap(rng.normal(size=(4, 3)), rng.normal(size=4))
        found = squares_step(pairs, prior, prior, 0.2)
        wanted = RidgeRegression(x, weights).solve(y, prior, 0.2)
        assert_allclose(found.matrix, wanted.matrix, rtol=1e-10)
        assert_allclose(found.offset, wanted.offset, rtol=1e-10)

    def test_a_positive_definite_map_is_found_at_once(self) -> None:
        """Between a Gaussian and its image under a positive definite matrix the optimal coupling is that matrix."""
        rng = np.random.default_rng(1)
        factor = rng.normal(size=(4, 4))
        matrix, root = factor @ factor.T + np.eye(4), rng.normal(size=(4, 4))
        pairs = ClassPairs(np.ones(1), np.ones((1, 4)), [root], np.zeros((1, 4)), [matrix @ root])
        found = squares_step(pairs, AffineMap.identity(4, 4), AffineMap.identity(4, 4), 0.0)
        assert_allclose(found.matrix, matrix, rtol=1e-7)
        assert_allclose(found.offset, -matrix @ np.ones(4), rtol=1e-7)

    def test_moments_are_matched_where_they_can_be(self) -> None:
        rng = np.random.default_rng(2)
        matrix = np.eye(3) + 0.3 * rng.normal(size=(3, 3))
        means, roots = rng.normal(size=(2, 3)), [rng.normal(size=(3, 3)) for _ in range(2)]
        pairs = ClassPairs(
            np.array([0.4, 0.6]), means, roots, means @ matrix.T + 2.0, [matrix @ root for root in roots]
        )
        found = fit_moments(pairs, AffineMap.identity(3, 3), 0.0, 1.0)
        for i, root in enumerate(roots):
            moved = found.matrix @ root
            there = pairs.fixed_roots[i] @ pairs.fixed_roots[i].T
            gap = moment_distance(
                found.matrix @ means[i] + found.offset, moved @ moved.T, pairs.fixed_means[i], there, 1
            )
            assert gap < 1e-4


@pytest.mark.parametrize(
    ("tasks", "options", "error", "message"),
    [
        ((REFERENCE, Task(TARGET.features)), {}, LabelError, "'task' must have labels"),
        ((REFERENCE, TARGET, None, Task(TARGET.features)), {}, LabelError, "'task' must have labels"),
        ((Task(TARGET.features), TARGET), {}, LabelError, "labels"),
        ((REFERENCE, TARGET), {"matching": "gradient"}, OptionError, "'gradient' with solver='statistics'"),
        ((REFERENCE, TARGET), {"matching": [0, 1]}, OptionError, "3 target classes"),
        ((REFERENCE, "digits"), {}, TaskError, "type Task; got str"),
        (([], TARGET), {}, TaskError, "empty sequence"),
    ],
)
def test_what_it_refuses(tasks: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fit(*tasks, **options)


def test_classes_without_samples_are_refused() -> None:
    rows = np.flatnonzero(np.not_equal(REFERENCE.labels, 1))
    partial = class_statistics(REFERENCE.features[rows], REFERENCE.labels[rows], n_classes=3, covariance="low-rank")
    pack = ReferencePack.from_task(REFERENCE, tau=0.5)
    lame = ReferencePack("lame", partial, pack.scaler)
    for pair in ((lame, TARGET), (REFERENCE, lame)):
        with pytest.raises(
            LabelError, match="'lame' must hold two classes or more, each with a sample; class 1 has none"
        ):
            fit(*pair)


def test_test_parts_beside_packs_are_refused() -> None:
    pack = ReferencePack.from_task(REFERENCE, tau=0.5)
    with pytest.raises(TaskError, match="`reference_test` must be left out"):
        fit(pack, TARGET, REFERENCE_TEST)
    with pytest.raises(TaskError, match="`target_test` must be left out"):
        fit(REFERENCE, pack, None, TARGET_TEST)


def test_other_solvers_refuse_packs_and_gamma() -> None:
    pack = ReferencePack.from_task(REFERENCE, tau=0.5, rows=0)
    for pair in ((pack, TARGET), ([REFERENCE, pack], TARGET)):
        with pytest.raises(TaskError, match="a reference pack without rows holds statistics, no samples; got Ref"):
            TaskRelatedness().fit(*pair)
    with pytest.raises(TaskError, match="no samples; got one as the target with solver='alternating'"):
        TaskRelatedness().fit(REFERENCE, pack)
    with pytest.raises(OptionError, match="Use solver='statistics'"):
        TaskRelatedness(ground_cost="gamma")
    with pytest.raises(OptionError, match="covariance_weight"):
        TaskRelatedness(solver="statistics", ground_cost="gamma", covariance_weight=-1.0)


def test_of_several_tau_the_one_with_the_smallest_bound_is_taken() -> None:
    result = fit(REFERENCE, TARGET, tau=[0.02, 0.5, 2.0])
    bounds = dict(result.tau_path)
    assert len(bounds) == 3
    assert result.tau == min(bounds, key=bounds.__getitem__)
    assert bounds[result.tau] < max(bounds.values())


def test_normal_draws_come_with_their_mirror_images() -> None:
    """Means over them are exact: what is odd in the draws cancels."""
    draws = normal_draws(3, 7)
    assert draws.shape == (2048, 3)
    np.testing.assert_array_equal(draws[:1024], -draws[1024:])
    np.testing.assert_allclose(draws.std(axis=0), 1.0, atol=0.1)
