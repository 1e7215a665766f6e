"""Bounds for classifiers and maps of one's own, linear or not."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from transferability import CertifiedBound, Task, TaskRelatedness, certify
from transferability.errors import FeatureError, LabelError, OptionError, TaskError


def circle(z: np.ndarray) -> np.ndarray:
    return np.column_stack([np.zeros(len(z)), 3 * (np.hypot(z[:, 0], z[:, 1]) - 1)])


def rings(seed: int, scale: float = 1.0, n: int = 80) -> Task:
    z = np.random.default_rng(seed).normal(size=(n, 2)) * 1.2
    return Task(scale * z, (np.hypot(*z.T) > 1).astype(int), name="rings")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lipschitz", [None, 3.0])
@pytest.mark.parametrize("class_map", [[0, 1], [1, 0], [0, 0]])
def test_bound_holds_for_a_circle_and_a_bent_map(seed: int, lipschitz: float | None, class_map: list[int]) -> None:
    def bend(z: np.ndarray) -> np.ndarray:
        return np.tanh(z) + 0.1 * z**2

    found = certify(rings(seed), rings(seed + 50), circle, bend, class_map=class_map, lipschitz=lipschitz)
    assert found.bound >= found.transferred_loss - 1e-9 * (1 + found.bound)
    parts = found.reference_loss + found.label_mismatch + found.distribution_mismatch
    assert found.bound == pytest.approx(parts, rel=1e-12)
    if class_map == [0, 0]:
        assert found.label_mismatch > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_network_with_a_known_constant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(8, 3)), rng.normal(size=(4, 8))
    first /= np.linalg.norm(first, 2)  # a ReLU layer with spectral norm 1 is 1-Lipschitz
    tau = cdist(second, second).max()

    def network(z: np.ndarray) -> np.ndarray:
        return np.maximum(z @ first.T, 0) @ second.T

    reference = Task(rng.normal(size=(50, 3)), np.arange(50) % 4)
    target = Task(3 * rng.normal(size=(40, 3)) + 1, np.arange(40) % 3)
    loss, euclidean = (
        certify(reference, target, network, class_map=[3, 0, 1], lipschitz=constant) for constant in (None, tau)
    )
    assert loss.transferred_loss <= loss.bound <= euclidean.bound + 1e-9
    assert loss.transferred_loss == euclidean.transferred_loss


def test_a_lipschitz_constant_that_the_losses_contradict_is_refused() -> None:
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(60, 4)), 3 * rng.normal(size=(3, 4))
    reference = Task(features, (features @ weights.T).argmax(axis=1))  # the classifier is right on it
    target = Task(rng.normal(size=(60, 4)), np.arange(60) % 3)
    tau = cdist(weights, weights).max()
    for scale in (1.0, (reference, target)):
        with pytest.raises(OptionError, match=r"got 1e-06, which is too small: the bound would be .* below"):
            certify(reference, target, lambda z: z @ weights.T, class_map=[0, 1, 2], lipschitz=1e-6, scale=scale)
        found = certify(reference, target, lambda z: z @ weights.T, class_map=[0, 1, 2], lipschitz=tau, scale=scale)
        assert found.bound >= found.transferred_loss


def test_agrees_with_the_estimator_on_its_own_classifier_and_map() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    reference, target = (Task(rng.normal(size=(60, 4)) + 3 * np.eye(3, 4)[labels], labels) for _ in range(2))
    for ground_cost in ("exact", "loss", "euclidean"):
        result = TaskRelatedness(0.4, ground_cost=ground_cost, standardize=False).fit(reference, target)
        t = result.transform
        again = certify(
            reference,
            target,
            result.reference_classifier.logits,
            lambda z, t=t: z @ t.map.T + t.offset,  # type: ignore[misc]
            class_map=result.class_map,
            ground_cost=ground_cost,
            lipschitz=result.certified_tau if ground_cost == "euclidean" else None,
        )
        assert again.bound == pytest.approx(result.bound, rel=1e-9)
        assert again.transferred_loss == pytest.approx(result.transferred_loss, rel=1e-9)
        assert again.transferred_accuracy == result.transferred_accuracy


def test_log_probabilities_do_as_well_as_logits() -> None:
    one = certify(rings(0), rings(1), circle, class_map=[0, 1])
    two = certify(rings(0), rings(1), lambda z: log_softmax(circle(z), axis=1), class_map=[0, 1])
    assert two.bound == pytest.approx(one.bound, rel=1e-9)


def test_bad_input() -> None:
    reference, target = rings(0), rings(1)
    with pytest.raises(LabelError, match="task 'rings' has no labels"):
        certify(reference, Task(target.features, name="rings"), circle, class_map=[0, 1])
    with pytest.raises(FeatureError, match="`classifier` must return one row per sample of 'rings'; got 79 for 80"):
        certify(reference, target, lambda z: circle(z)[:-1], class_map=[0, 1])
    with pytest.raises(FeatureError, match=r"`what `classifier` returns` must be finite; row 0 holds NaN"):
        certify(reference, target, lambda z: np.nan * circle(z), class_map=[0, 1])
    with pytest.raises(FeatureError, match="`feature_map` must return one row per sample of 'rings'; got 1 for 80"):
        certify(reference, target, circle, lambda z: z[:1], class_map=[0, 1])
    with pytest.raises(TaskError, match="`classifier` must return a column per reference class; got 1 for 2"):
        certify(reference, target, lambda z: circle(z)[:, :1], class_map=[0, 1])
    for bad in ([0], [0, 2], [-1, 0], [0.0, 1.0]):
        with pytest.raises(OptionError, match="`class_map` must give a reference class from 0 to 1 for each of the 2"):
            certify(reference, target, circle, class_map=bad)
    with pytest.raises(OptionError, match="`lipschitz` must be a finite number > 0; got 0"):
        certify(reference, target, circle, class_map=[0, 1], lipschitz=0)


# ── ground costs and scale ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
@pytest.mark.parametrize("class_map", [[0, 1], [0, 0]])
def test_every_cost_and_scale_certifies_the_scaled_classifier(seed: int, scale: float, class_map: list[int]) -> None:
    found = {
        cost: certify(
            rings(seed),
            rings(seed + 50, 1.5),
            circle,
            class_map=class_map,
            ground_cost=cost,
            scale=scale,
            lipschitz=3.0 if cost == "euclidean" else None,
        )
        for cost in ("exact", "loss", "euclidean")
    }
    by_hand = -log_softmax(scale * circle(rings(seed + 50, 1.5).features), axis=1)[
        np.arange(80), rings(seed + 50).labels
    ]
    for each in found.values():
        assert each.scale == scale
        assert each.bound >= each.transferred_loss - 1e-9
        if class_map == [0, 1]:
            assert each.transferred_loss == pytest.approx(by_hand.mean(), rel=1e-9)
    assert found["exact"].bound <= found["loss"].bound + 1e-9 <= found["euclidean"].bound + 2e-9
    one = certify(rings(seed), rings(seed + 50, 1.5), circle, class_map=class_map, ground_cost="loss")
    assert found["loss"].distribution_mismatch == pytest.approx(scale * one.distribution_mismatch, rel=1e-9)
    assert found["exact"].transferred_accuracy == one.transferred_accuracy


def test_a_scale_is_found_on_further_samples() -> None:
    far = [rings(7), rings(8, 1.5)]
    for cost in ("exact", "loss"):
        fixed = certify(rings(0), rings(1, 1.5), circle, class_map=[0, 1], ground_cost=cost)
        fitted = certify(rings(0), rings(1, 1.5), circle, class_map=[0, 1], ground_cost=cost, scale=(far[0], far[1]))
        assert fitted.scale != 1
        assert fitted.bound < fixed.bound
        near = [
            certify(*far, circle, class_map=[0, 1], ground_cost=cost, scale=factor * fitted.scale).bound  # type: ignore[misc]
            for factor in (0.5, 1.0, 2.0)
        ]
        assert near[1] == min(near)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e3, 1e12])
def test_a_fitted_scale_does_not_depend_on_the_unit_of_the_logits(unit: float) -> None:
    further, plain = (rings(7), rings(8, 1.5)), certify(rings(0), rings(1), circle, class_map=[0, 1])

    def found(factor: float) -> CertifiedBound:
        def classifier(z: np.ndarray) -> np.ndarray:
            return factor * circle(z)

        return certify(rings(0), rings(1), classifier, class_map=[0, 1], ground_cost="exact", scale=further)

    one, other = found(1.0), found(unit)
    assert one.bound < plain.bound
    assert other.bound == pytest.approx(one.bound, rel=1e-6)
    assert other.scale * unit == pytest.approx(one.scale, rel=1e-6)


@pytest.mark.parametrize("scale", [(rings(7),), (rings(7), rings(8), rings(9)), (rings(7), 2.0)])
def test_a_scale_that_is_neither_a_number_nor_two_tasks_is_refused(scale: tuple) -> None:
    with pytest.raises(OptionError, match="`scale` must be a number, or two tasks"):
        certify(rings(0), rings(1), circle, class_map=[0, 1], scale=scale)


def test_a_scale_that_leaves_the_range_of_numbers_is_refused() -> None:
    with pytest.raises(OptionError, match="`scale` must leave logits finite"):
        certify(rings(0), rings(1), circle, class_map=[0, 1], scale=1e308)


def test_options_of_certify_that_contradict_each_other() -> None:
    reference, target = rings(0), rings(1)
    for options in ({"ground_cost": "euclidean"}, {"ground_cost": "exact", "lipschitz": 1.0}):
        with pytest.raises(
            OptionError, match="`lipschitz` must be given for ground_cost='euclidean', and for no other"
        ):
            certify(reference, target, circle, class_map=[0, 1], **options)
    with pytest.raises(OptionError, match="`ground_cost` must be one of 'exact', 'loss', 'euclidean'; got 'gamma'"):
        certify(reference, target, circle, class_map=[0, 1], ground_cost="gamma")
    for bad in (0.0, -1.0, float("nan"), "auto"):
        with pytest.raises(OptionError, match="`scale` must be a finite number > 0"):
            certify(reference, target, circle, class_map=[0, 1], scale=bad)


def _three(classes: tuple[int, ...] = (0, 1, 2), names: tuple[str, ...] | None = None, turn: int = 0) -> Task:
    labels = np.arange(240) % 3
    features = 4 * np.eye(3, 4)[labels] + np.random.default_rng(5).normal(size=(240, 4))
    kept = np.isin(labels, classes)
    return Task(features[kept], (labels[kept] + turn) % 3, class_names=names)


def _told_apart(features: np.ndarray) -> np.ndarray:
    return features @ (4 * np.eye(3, 4)).T


def test_classes_without_a_sample_keep_their_columns() -> None:
    """Labels 1 and 2 alone were taken for the classifier's columns 0 and 1."""
    part = _three(classes=(1, 2))
    for class_map in ([1, 2], [0, 1, 2]):
        found = certify(part, part, _told_apart, class_map=class_map, ground_cost="exact")
        assert found.transferred_accuracy > 0.99
        assert found.reference_loss < 0.1
    named = _three(classes=(1, 2))
    named = Task(named.features, named.labels, class_names=["b", "c"])
    with pytest.raises(TaskError, match="not known which columns"):
        certify(named, part, _told_apart, class_map=[1, 2])


def test_samples_for_the_scale_are_matched_by_the_names_of_their_classes() -> None:
    whole = _three(names=("a", "b", "c"))
    turned = _three(names=("c", "a", "b"), turn=1)
    straight, other = (
        certify(whole, whole, _told_apart, class_map=[0, 1, 2], ground_cost="exact", scale=(part, part))
        for part in (whole, turned)
    )
    assert other == straight
    more = Task(whole.features, np.arange(240) % 5)
    for wrong in ((Task(whole.features[:, :3], whole.labels), whole), (whole, more), (more, whole)):
        with pytest.raises(TaskError, match="must be of samples of the same two tasks"):
            certify(_three(), _three(), _told_apart, class_map=[0, 1, 2], scale=wrong)
