"""`TaskRelatedness`: options, panels, held-out parts, targets without labels, and what it says to bad input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from transferability import Relatedness, Task, TaskRelatedness
from transferability.errors import OptionError

GROUND_COSTS = ["exact", "loss", "euclidean"]


def clusters(
    seed: int,
    n: int = 90,
    n_classes: int = 3,
    d: int = 6,
    *,
    order: list[int] | None = None,
    name: str = "task",
    rotate: bool = False,
    labelled: bool = True,
    class_names: list[str] | None = None,
) -> Task:
    """Return well-separated classes at the axes; `order` says which axis each class sits on."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes)
    centres = 5 * np.eye(n_classes if order is None else max(order) + 1, d)
    centres = centres if order is None else centres[order]
    features = centres[labels] + rng.normal(size=(n, d))
    if rotate:
        features = features @ np.linalg.qr(np.random.default_rng(99).normal(size=(d, d)))[0]
    return Task(features, labels if labelled else None, name=name, class_names=class_names)


# ── what the numbers mean ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
@pytest.mark.parametrize("scale", [True, False])
def test_a_task_related_to_itself_costs_its_own_loss(ground_cost: str, scale: bool) -> None:
    task = clusters(0)
    if scale:  # classes that overlap, so that no scale makes the loss zero
        task = Task(task.features + 2 * np.random.default_rng(9).normal(size=(90, 6)), task.labels)
    result = TaskRelatedness(0.2, ground_cost=ground_cost, scale=scale, learn_map=False).fit(task, task)
    assert result.distribution_mismatch == pytest.approx(0, abs=1e-12)
    assert result.label_mismatch == 0
    standardised = (task.features - task.features.mean(axis=0)) / task.features.std(axis=0)
    log_h = log_softmax(result.reference_classifier.logits(standardised), axis=1)
    assert result.bound == pytest.approx(-log_h[np.arange(90), task.labels].mean(), rel=1e-9)
    if scale:
        assert result.scale > 1
    else:
        assert result.bound == pytest.approx(result.reference_classifier.loss, rel=1e-9)
        assert result.scale == 1
    assert result.transferred_loss == pytest.approx(result.bound, rel=1e-9)
    assert result.class_map.tolist() == [0, 1, 2]


@pytest.mark.parametrize("matching", ["assignment", "gradient"])
@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_renamed_classes_are_recognised(matching: str, ground_cost: str) -> None:
    reference, target = clusters(0, n_classes=4), clusters(1, n_classes=4, order=[2, 0, 3, 1])
    result = TaskRelatedness(0.5, matching=matching, ground_cost=ground_cost).fit(reference, target)
    assert result.class_map.tolist() == [2, 0, 3, 1]
    assert result.transferred_accuracy == 1
    given = TaskRelatedness(0.5, matching=[2, 0, 3, 1], ground_cost=ground_cost).fit(reference, target)
    assert given.class_map.tolist() == [2, 0, 3, 1]
    wrong = TaskRelatedness(0.5, matching="identity", ground_cost=ground_cost, learn_map=False).fit(reference, target)
    assert wrong.bound > given.bound
    unscaled = {"ground_cost": ground_cost, "scale": False}
    plain = TaskRelatedness(0.5, matching=[2, 0, 3, 1], **unscaled).fit(reference, target)
    wrong_plain = TaskRelatedness(0.5, matching="identity", learn_map=False, **unscaled).fit(reference, target)
    assert wrong_plain.bound > 1.2 * plain.bound
    assert wrong_plain.bound > wrong.bound  # which says no more than guessing, thanks to the scale
    assert wrong.transferred_accuracy < 0.2


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
@pytest.mark.parametrize("scale", [True, False])
def test_a_learned_map_undoes_a_rotation(ground_cost: str, scale: bool) -> None:
    reference, target = clusters(0, n=150), clusters(1, n=150, rotate=True)
    options = {"ground_cost": ground_cost, "matching": [0, 1, 2], "scale": scale}
    fixed = TaskRelatedness(0.5, learn_map=False, **options).fit(reference, target)
    learned = TaskRelatedness(0.5, **options).fit(reference, target)
    assert learned.bound < fixed.bound
    if not scale:  # a scale near zero makes any mismatch small
        assert learned.distribution_mismatch < 0.6 * fixed.distribution_mismatch
    assert learned.transferred_accuracy > 0.95
    np.testing.assert_array_equal(fixed.transform.map, np.eye(6))
    assert not fixed.transform.offset.any()
    assert fixed.ridge == np.inf


def test_fewer_reference_classes_are_shared_and_entropy_is_paid() -> None:
    reference, target = clusters(0, n_classes=2, d=4), clusters(1, n=120, n_classes=4, d=4)
    result = TaskRelatedness(0.5).fit(reference, target)
    counts = np.bincount(result.class_map, minlength=2)
    shares = [np.log(count) for count in counts[result.class_map]]
    assert result.label_mismatch == pytest.approx(np.mean(shares), rel=1e-9)  # equal priors: log of how many share
    assert result.certified
    assert result.bound >= result.transferred_loss
    assert set(result.class_map.tolist()) == {0, 1}


def test_more_reference_classes_are_left_out() -> None:
    reference, target = clusters(0, n_classes=5), clusters(1, n_classes=2, order=[4, 1])
    result = TaskRelatedness(0.5).fit(reference, target)
    assert result.class_map.tolist() == [4, 1]
    np.testing.assert_allclose(result.transform.D, [0, 0.5, 0, 0, 0.5], atol=1e-12)
    assert result.label_mismatch == 0


@pytest.mark.parametrize(("d_reference", "d_target"), [(6, 4), (4, 6), (6, 1)])
def test_dimensions_may_differ(d_reference: int, d_target: int) -> None:
    reference, target = clusters(0, d=d_reference), clusters(1, d=d_target)
    result = TaskRelatedness(0.5).fit(reference, target)
    assert result.transform.map.shape == (d_reference, d_target)
    assert result.certified
    assert result.bound >= result.transferred_loss * (1 - 1e-12)  # the exact cost may leave nothing in between


def test_predictions_are_those_that_the_result_speaks_of() -> None:
    reference, target = (
        Task(each.features + 2 * np.random.default_rng(9).normal(size=(90, 6)), each.labels)
        for each in (clusters(0), clusters(1, rotate=True))
    )
    result = TaskRelatedness(0.5).fit(reference, target)
    probabilities = result.predict_proba(target.features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert np.mean(probabilities.argmax(axis=1) == target.labels) == result.transferred_accuracy
    own = -np.log(probabilities[np.arange(len(target)), target.labels]).mean()
    assert own == pytest.approx(result.transferred_loss, rel=1e-9)
    assert own > 0
    by_hand = softmax(
        result.transform.apply(target.features) @ result.transform.weights.T + result.transform.intercept, axis=1
    )
    np.testing.assert_allclose(by_hand @ result.transform.B.T, probabilities, atol=1e-12)


def test_transferability_is_no_worse_than_the_moved_classifier_where_classes_are_one_to_one() -> None:
    reference, target = clusters(0), clusters(1, rotate=True)
    result = TaskRelatedness(0.5).fit(reference, target)
    assert result.transferability <= result.transferred_loss + result.target_classifier.gap
    assert result.gap == pytest.approx(result.bound - result.transferability)
    assert result.transferability_accuracy > 0.95


# ── held-out parts ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_bound_is_measured_on_the_test_parts_where_there_are_any() -> None:
    tasks = [clusters(seed, n=60) for seed in range(4)]
    model = TaskRelatedness(ground_cost="euclidean")
    fit_only = model.fit(tasks[0], tasks[1])
    both = model.fit(tasks[0], tasks[1], tasks[2], tasks[3])
    target_only = model.fit(tasks[0], tasks[1], target_test=tasks[3])
    reference_only = model.fit(tasks[0], tasks[1], reference_test=tasks[2])
    assert [each.evaluated_on for each in (fit_only, both, target_only, reference_only)] == [
        "fit",
        "test",
        "test",
        "fit",
    ]
    assert fit_only.bound == fit_only.fit_bound
    assert len({each.bound for each in (fit_only, both, target_only, reference_only)}) == 4
    assert both.fit_bound == pytest.approx(fit_only.bound, rel=1e-9)
    np.testing.assert_array_equal(both.transform.map, fit_only.transform.map)  # nothing is fitted on test parts
    for each in (both, target_only, reference_only):
        assert each.bound >= each.transferred_loss


def test_the_priors_of_the_test_part_are_its_own() -> None:
    rng = np.random.default_rng(0)
    lopsided = np.array([0] * 40 + [1] * 8 + [2] * 2)
    test = Task(5 * np.eye(3, 6)[lopsided] + rng.normal(size=(50, 6)), lopsided)
    result = TaskRelatedness().fit(clusters(0), clusters(1), target_test=test)
    np.testing.assert_allclose([row["prior"] for row in result.per_class()], [0.8, 0.16, 0.04])
    # Those of h′ are frozen: they are the fitting part's.
    np.testing.assert_allclose(result.transform.B @ result.transform.D, clusters(1).class_priors, atol=1e-12)
    assert result.bound >= result.transferred_loss


# ── τ ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_several_tau_the_one_with_the_smallest_held_out_bound_is_taken() -> None:
    reference, target = clusters(0), clusters(1, rotate=True)
    result = TaskRelatedness([0.01, 0.3, 1.0]).fit(reference, target)
    assert [tau for tau, _ in result.tau_path] == [0.01, 0.3, 1.0]
    assert result.tau == min(result.tau_path, key=lambda pair: pair[1])[0]
    alone = TaskRelatedness(result.tau).fit(reference, target)
    assert result.bound == pytest.approx(alone.bound, rel=1e-5)  # one was started from another τ
    assert alone.tau_path == ()


def test_auto_walks_to_where_the_bound_stops_falling() -> None:
    # Classes that overlap: a steep classifier is sure where it is wrong, and the walk must turn.
    reference, target = (
        Task(each.features + 2 * np.random.default_rng(9).normal(size=(200, 6)), each.labels)
        for each in (clusters(0, n=200), clusters(1, n=200, rotate=True))
    )
    result = TaskRelatedness("auto").fit(reference, target)
    taus = [tau for tau, _ in result.tau_path]
    assert len(taus) >= 3
    np.testing.assert_allclose(np.array(taus[1:]) / taus[:-1], 2)
    assert result.tau == min(result.tau_path, key=lambda pair: pair[1])[0]
    assert result.tau < max(taus)  # beyond the best there is one that is worse, or no longer worth a step
    assert result.bound < TaskRelatedness(0.01).fit(reference, target).bound


def test_scaled_goes_with_the_number_of_features() -> None:
    for d in (6, 24):
        result = TaskRelatedness("scaled").fit(clusters(0, d=d), clusters(1, d=d))
        assert result.tau == pytest.approx(32 / np.sqrt(d), rel=1e-12)
        assert result.bound == TaskRelatedness(result.tau).fit(clusters(0, d=d), clusters(1, d=d)).bound
    with pytest.raises(OptionError, match="scaled"):
        TaskRelatedness("scale")


# ── a panel ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_a_panel_the_smallest_bound_stands() -> None:
    near = clusters(0, name="near")
    far = Task(np.random.default_rng(0).normal(size=(60, 6)), np.arange(60) % 3, name="far")
    target, test = clusters(1), clusters(2)
    result = TaskRelatedness().fit([far, near], target, [far, near], test)
    assert [each.reference for each in result.references] == ["far", "near"]
    assert result.reference == "near"
    assert result.bound == min(each.bound for each in result.references)
    alone = TaskRelatedness().fit(near, target, near, test)
    assert result.bound == alone.bound
    assert alone.references == (alone,)
    assert all(each.bound >= each.transferred_loss for each in result.references)


# ── targets without labels ───────────────────────────────────────────────────────────────────────────────────────────


def test_labels_are_guessed_and_nothing_is_certified() -> None:
    reference, target = clusters(0, n=150), clusters(1, n=150, labelled=False)
    truth = clusters(1, n=150).labels
    result = TaskRelatedness(0.5).fit(reference, target)
    assert np.mean(result.pseudo_labels == truth) > 0.95
    assert not result.certified
    assert "labels were guessed" in result.certificate
    assert (result.transferred_loss, result.transferred_accuracy, result.transferability) == (None, None, None)
    assert result.gap is None
    assert np.isfinite(result.bound)
    assert result.scale == 1  # guesses look right at any scale
    labelled = TaskRelatedness(0.5, scale=False, ground_cost="loss").fit(reference, clusters(1, n=150))
    plain = TaskRelatedness(0.5, ground_cost="loss").fit(reference, target)
    assert plain.bound == pytest.approx(labelled.bound, rel=0.5)


def test_an_unlabelled_test_part_is_labelled_by_the_moved_classifier() -> None:
    parts = [clusters(seed, labelled=False) for seed in (1, 2)]
    result = TaskRelatedness(0.5).fit(clusters(0), parts[0], target_test=parts[1])
    assert result.evaluated_on == "test"
    assert not result.certified
    assert result.transferred_loss is None
    labelled_fit = TaskRelatedness(0.5).fit(clusters(0), clusters(1), target_test=parts[1])
    assert not labelled_fit.certified
    assert labelled_fit.transferability is None


@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
def test_true_labels_of_the_test_part_make_a_certificate(ground_cost: str) -> None:
    fit = clusters(1, labelled=False)
    result = TaskRelatedness(0.5, ground_cost=ground_cost).fit(clusters(0), fit, target_test=clusters(2))
    assert result.certified  # the map was fitted to guesses, the bound is measured on the truth
    assert result.bound >= result.transferred_loss
    assert result.transferred_accuracy > 0.9


@pytest.mark.parametrize("matching", ["assignment", "identity", "random", "gradient", [3, 1]])
def test_class_names_say_how_many_classes_to_guess(matching: str | list[int]) -> None:
    reference = clusters(0, n_classes=5)
    target = clusters(1, n_classes=2, order=[3, 1], labelled=False, class_names=["a", "b"])
    result = TaskRelatedness(0.5, matching=matching).fit(reference, target)
    assert len(result.class_map) == 2
    assert set(result.pseudo_labels.tolist()) <= {0, 1}
    if matching == "assignment":
        assert sorted(result.class_map.tolist()) == [1, 3]


# ── space and solver ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_target_space_is_certified_only_where_the_constant_holds() -> None:
    reference, target = clusters(0), clusters(1)
    fixed = TaskRelatedness(0.2, ground_cost="euclidean", space="target", learn_map=False).fit(reference, target)
    assert fixed.certified  # A is the identity
    assert fixed.certified_tau == pytest.approx(fixed.scale * fixed.tau, rel=1e-6)
    assert "Certified: −log h_R(A⁻¹ z)" in fixed.certificate
    rotated = clusters(1, rotate=True)
    stretched = Task(rotated.features * [1, 1e-3, 1, 1, 1, 1], rotated.labels)
    learned = TaskRelatedness(ground_cost="euclidean", space="target", standardize=False).fit(reference, stretched)
    if not learned.certified:
        assert learned.certified_tau > learned.scale * learned.tau
        assert "Use space='reference' for a bound that holds" in learned.certificate


def test_target_space_has_no_certificate_where_the_map_cannot_be_undone() -> None:
    reference, target = clusters(0, d=6), clusters(1, d=2)  # reference points cannot go there and come back
    result = TaskRelatedness(ground_cost="euclidean", space="target").fit(reference, target)
    assert not result.certified
    assert "cannot be undone" in result.certificate


@pytest.mark.parametrize("matching", ["assignment", "gradient", "given"])
@pytest.mark.parametrize(("n_targets", "n_references"), [(3, 3), (2, 4), (4, 2)])
def test_the_papers_solver_takes_any_classes_and_is_never_called_certified(
    matching: str, n_targets: int, n_references: int
) -> None:
    reference, target = clusters(0, n=30, n_classes=n_references), clusters(1, n=30, n_classes=n_targets)
    chosen = [0, 1] * (n_targets // 2) + [0] * (n_targets % 2) if matching == "given" else matching
    result = TaskRelatedness(solver="sgd", matching=chosen, epochs=3).fit(reference, target)
    assert (result.ground_cost, result.space, result.certified) == ("euclidean", "target", False)
    terms = result.reference_loss + result.label_mismatch + result.distribution_mismatch
    assert result.bound == pytest.approx(terms, rel=1e-12)
    np.testing.assert_allclose(result.transform.B @ result.transform.D, np.bincount(target.labels) / 30, atol=1e-12)


# ── the same again ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("matching", ["assignment", "random", "gradient"])
@pytest.mark.parametrize("ground_cost", GROUND_COSTS)
@pytest.mark.parametrize("labelled", [True, False])
def test_same_seed_same_number(matching: str, ground_cost: str, labelled: bool) -> None:
    def fit(seed: int) -> Relatedness:
        model = TaskRelatedness(matching=matching, ground_cost=ground_cost, seed=seed)
        return model.fit(clusters(0), clusters(1, labelled=labelled), clusters(2), clusters(3, labelled=labelled))

    one, two = fit(7), fit(7)
    assert one.bound == two.bound
    np.testing.assert_array_equal(one.transform.map, two.transform.map)
    np.testing.assert_array_equal(one.class_map, two.class_map)


def test_random_classes_depend_on_the_seed() -> None:
    reference, target = clusters(0, n_classes=5), clusters(1, n_classes=5)
    maps = {
        tuple(TaskRelatedness(matching="random", learn_map=False, seed=seed).fit(reference, target).class_map)
        for seed in range(5)
    }
    assert len(maps) > 1
    assert all(sorted(each) == [0, 1, 2, 3, 4] for each in maps)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_and_precision_do_not_matter_once_standardised(scale: float, dtype: type) -> None:
    reference, target = clusters(0), clusters(1)
    plain = TaskRelatedness().fit(reference, target)
    other = Task((scale * target.features).astype(dtype), target.labels)
    assert TaskRelatedness().fit(reference, other).bound == pytest.approx(plain.bound, rel=1e-3)


def test_large_classes_are_matched_in_blocks_and_the_bound_still_holds() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(2300) % 2
    parts = [Task(rng.normal(size=(2300, 2)) + 3 * np.eye(2)[labels], labels) for _ in range(2)]
    result = TaskRelatedness(ground_cost="euclidean", learn_map=False).fit(*parts)
    assert result.to_dict()["exact_transport"] is False
    assert result.certified
    assert result.bound >= result.transferred_loss
