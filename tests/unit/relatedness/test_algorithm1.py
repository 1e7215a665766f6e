import dataclasses

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from scipy.special import softmax

from transferability import Task, TaskRelatedness
from transferability.errors import OptionError
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax
from transferability.relatedness.solvers.algorithm1 import _Adam, run_algorithm1
from transferability.relatedness.solvers.algorithm1_objective import Batch, Problem, Transforms, couple_batch
from transferability.relatedness.tasks.sample import Sample
from transferability.transport.coupling import optimal_coupling


def classifier_of(n_classes: int, n_features: int, seed: int = 0) -> SoftmaxClassifier:
    weights = 0.3 * np.random.default_rng(seed).normal(size=(n_classes, n_features))
    return SoftmaxClassifier(weights, np.zeros(n_classes), 0.0, 0.0, float(cdist(weights, weights).max()), 0.0, True, 0)


def clusters(counts: list[int], n_features: int, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = 3.0 * rng.normal(size=(len(counts), n_features))
    return Sample(centres[labels] + rng.normal(size=(len(labels), n_features)), labels)


REFERENCE = clusters([30, 30, 30, 30], 4, seed=1)
TARGET = clusters([20, 30, 25], 3, seed=2)
CLASSIFIER = classifier_of(4, 4)


# ── gradients ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Differentiable:
    """The objective for a fixed coupling as a function of the free parameters, in float64."""

    def __init__(self, label_weight: float) -> None:
        problem = Problem.measure(CLASSIFIER, REFERENCE, TARGET, int(TARGET.labels.max()) + 1)
        self.problem = dataclasses.replace(
            problem,
            reference=Sample(problem.reference.features.astype(float), problem.reference.labels),
            target=Sample(problem.target.features.astype(float), problem.target.labels),
            label_weight=label_weight,
        )
        rng = np.random.default_rng(3)
        self.free = {
            "A": np.eye(3, 4) + 0.2 * rng.normal(size=(3, 4)),
            "A_bar": np.eye(4, 3) + 0.2 * rng.normal(size=(4, 3)),
            "b": rng.normal(size=3),
            "B": rng.normal(size=(3, 4)),
            "D": rng.normal(size=4),
        }
        self.batch = self.problem.draw(self.transforms(self.free), 40, rng)

    def transforms(self, free: dict[str, np.ndarray]) -> Transforms:
        return Transforms(free["A"], free["A_bar"], free["b"], softmax(free["B"], axis=0), softmax(free["D"]))

    def value(self, free: dict[str, np.ndarray]) -> float:
        now = self.transforms(free)
        mapped = self.batch.reference.features @ now.A.T + now.b
        return self.problem.total(self.problem.terms(now, self.batch._replace(mapped=mapped), 0))

    def slopes(self) -> dict[str, np.ndarray]:
        now = self.transforms(self.free)
        return self.problem.map_slopes(now, self.batch) | self.problem.label_slopes(now, self.batch)


# Beside a label weight of 1e8 every other term drowns in rounding, so that one checks B alone.
@pytest.mark.parametrize(
    ("name", "label_weight"), [("A", 1.5), ("A_bar", 1.5), ("b", 1.5), ("B", 1.5), ("D", 1.5), ("B", 1e8)]
)
def test_gradients_agree_with_finite_differences(name: str, label_weight: float) -> None:
    case = Differentiable(label_weight)
    slope, step = case.slopes()[name], 1e-5
    for place in np.ndindex(slope.shape):
        moved = []
        for sign in (1, -1):
            free = {key: each.copy() for key, each in case.free.items()}
            free[name][place] += sign * step
            moved.append(case.value(free))
        numeric = (moved[0] - moved[1]) / (2 * step)
        # central differences: error of step² in the slope, plus the rounding of the value divided by the step
        assert numeric == pytest.approx(slope[place], rel=1e-6, abs=1e-6 * np.abs(slope).max() + 1e-8)


def test_every_parameter_has_a_slope_that_does_not_vanish() -> None:
    for name, slope in Differentiable(1.5).slopes().items():
        assert (np.abs(slope) > 1e-6).all(), name


def test_the_first_step_of_adam_has_the_length_of_its_rate() -> None:
    free = {"b": np.zeros(3), "D": np.array([-np.inf, 0.0])}
    _Adam(free).step({"b": np.array([4.0, -0.1, 0.0]), "D": np.array([0.0, 2.0])})
    np.testing.assert_allclose(free["b"], [-0.01, 0.01, 0.0], rtol=1e-3)
    np.testing.assert_allclose(free["D"], [-np.inf, -1e-4], rtol=1e-3)  # a class without samples stays out


def test_adam_follows_its_definition() -> None:
    rng = np.random.default_rng(0)
    slopes = rng.normal(size=(20, 5))
    free = {"A": np.zeros(5)}
    adam = _Adam(free)
    mean = square = expected = np.zeros(5)
    for t, slope in enumerate(slopes, start=1):
        adam.step({"A": slope})
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        expected = expected - 0.01 * (mean / (1 - 0.9**t)) / np.sqrt(square / (1 - 0.999**t))
    np.testing.assert_allclose(free["A"], expected, rtol=1e-4)  # apart from the 1e-7 in the denominator


# ── couplings and batches ────────────────────────────────────────────────────────────────────────────────────────────

NU = 1e8


def joint_cost(mapped: np.ndarray, labels: np.ndarray, target: Sample, B: np.ndarray) -> np.ndarray:
    onehot = np.eye(len(B))
    return cdist(mapped, target.features) + NU * cdist(B.T[labels], onehot[target.labels])


def test_coupling_by_class_equals_the_joint_one() -> None:
    reference, target = clusters([12, 18, 6], 5, seed=4), clusters([9, 6, 3], 5, seed=5)
    B = np.eye(3)[[1, 0, 2]]  # 12 of 36 become class 1, which has 6 of 18, and so on: equal shares
    by_class = couple_batch(reference.features, reference.labels, target, B, NU)
    uniform = (np.full(36, 1 / 36), np.full(18, 1 / 18))
    joint = optimal_coupling(joint_cost(reference.features, reference.labels, target, B), *uniform)
    assert by_class.value == pytest.approx(joint.value, rel=1e-12)
    np.testing.assert_allclose(np.bincount(by_class.source, weights=by_class.mass), uniform[0], atol=1e-12)
    np.testing.assert_allclose(np.bincount(by_class.target, weights=by_class.mass), uniform[1], atol=1e-12)


@pytest.mark.parametrize("one_hot", [True, False])
def test_joint_coupling_is_optimal(one_hot: bool) -> None:
    reference, target = clusters([6, 4, 5], 3, seed=6), clusters([3, 5, 4], 3, seed=7)
    B = np.eye(3) if one_hot else softmax(np.random.default_rng(8).normal(size=(3, 3)), axis=0)
    # With 1e8 a general solver sees no features: check against it where both count.
    weight = 1.0
    coupling = couple_batch(reference.features, reference.labels, target, B, weight)
    cost = cdist(reference.features, target.features) + weight * cdist(B.T[reference.labels], np.eye(3)[target.labels])
    rows, columns = np.kron(np.eye(15), np.ones(12)), np.kron(np.ones(15), np.eye(12))
    best = linprog(
        cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.repeat([1 / 15, 1 / 12], [15, 12]), method="highs"
    ).fun
    assert coupling.value == pytest.approx(best, rel=1e-9)


def test_only_the_surplus_changes_class() -> None:
    reference, target = clusters([10, 10], 2, seed=9), clusters([5, 15], 2, seed=10)
    coupling = couple_batch(reference.features, reference.labels, target, np.eye(2), NU)
    crossing = coupling.mass[reference.labels[coupling.source] != target.labels[coupling.target]].sum()
    assert crossing == pytest.approx(0.25, rel=1e-9)  # half the mass starts in class 0, a quarter belongs there


def test_batches_follow_the_priors_without_replacement() -> None:
    problem = Problem.measure(CLASSIFIER, REFERENCE, TARGET, int(TARGET.labels.max()) + 1)
    D = np.array([0.5, 0.31, 0.19 - 1e-9, 1e-9])
    now = Transforms(np.eye(3, 4), np.eye(4, 3), np.zeros(3), np.full((3, 4), 1 / 3), D)
    batch: Batch = problem.draw(now, 40, np.random.default_rng(0))
    assert np.bincount(batch.reference.labels).tolist() == [20, 12, 7, 1]  # at least one of each class with mass
    assert np.bincount(batch.target.labels).tolist() == [10, 16, 13]  # ⌊40 · (20, 30, 25) / 75⌋
    assert len(np.unique(batch.reference.features, axis=0)) == 40
    known = {row.tobytes() for row in REFERENCE.features[REFERENCE.labels == 2].astype(np.float32)}
    assert all(row.tobytes() in known for row in batch.reference.features[batch.reference.labels == 2])


# ── the whole ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_recovers_a_rotation_and_a_translation() -> None:
    reference = clusters([40, 40, 40], 2, seed=11)
    centred = Sample((reference.features - reference.features.mean(axis=0)) / 3, reference.labels)
    angle, shift = 0.5, np.array([0.4, -0.3])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    permutation = np.array([2, 0, 1])  # the target calls class 0 of the reference 2, and so on
    target = Sample(centred.features @ rotation.T + shift, permutation[centred.labels])
    B = np.eye(3)[:, permutation]
    result = run_algorithm1(
        classifier_of(3, 2), centred, target, B=B, epochs=400, batch_size=120, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(result.A, rotation, atol=0.01)
    np.testing.assert_allclose(result.A_bar, rotation.T, atol=0.01)
    np.testing.assert_allclose(result.b, shift, atol=0.01)
    np.testing.assert_allclose(result.feature_map.apply(target.features), centred.features, atol=0.05)
    assert result.history[-1].features < 1e-3 * result.history[0].features
    assert result.iterations == 400
    assert [each.epoch for each in result.history] == [0, 100, 200, 300, 399]


def test_learned_all_keeps_distributions_and_sharpens_B() -> None:
    result = run_algorithm1(
        CLASSIFIER, REFERENCE, TARGET, B=None, epochs=150, batch_size=40, rng=np.random.default_rng(0)
    )
    assert result.A.shape == (3, 4)
    assert result.A_bar.shape == (4, 3)
    assert result.B.shape == (3, 4)
    np.testing.assert_allclose(result.B.sum(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(result.D.sum(), 1.0, rtol=1e-12)
    assert (result.B > 0).all()
    assert (result.D > 0).all()
    assert result.history[-1].label_mismatch < 0.9 * result.history[0].label_mismatch
    assert result.history[-1].features < result.history[0].features


def test_D_moves_towards_easy_classes() -> None:
    losses = Problem.measure(CLASSIFIER, REFERENCE, TARGET, int(TARGET.labels.max()) + 1).reference_losses
    result = run_algorithm1(
        CLASSIFIER, REFERENCE, TARGET, B=None, epochs=60, batch_size=20, rng=np.random.default_rng(0)
    )
    assert result.D[losses.argmin()] > result.D[losses.argmax()]


def test_same_seed_same_result_and_another_seed_another() -> None:
    runs = [
        run_algorithm1(CLASSIFIER, REFERENCE, TARGET, B=None, epochs=20, batch_size=30, rng=np.random.default_rng(seed))
        for seed in (5, 5, 6)
    ]
    for name in ("A", "A_bar", "b", "B", "D"):
        assert np.array_equal(getattr(runs[0], name), getattr(runs[1], name)), name
        assert not np.array_equal(getattr(runs[0], name), getattr(runs[2], name)), name
    assert runs[0].history == runs[1].history


def test_with_B_fixed_the_classifier_has_no_part() -> None:
    B = np.array([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]])
    results = [
        run_algorithm1(
            classifier_of(4, 4, seed), REFERENCE, TARGET, B=B, epochs=10, batch_size=30, rng=np.random.default_rng(0)
        )
        for seed in (0, 1)
    ]
    assert np.array_equal(results[0].A, results[1].A)
    assert np.array_equal(results[0].B, B)
    np.testing.assert_allclose(results[0].D, 0.25)


def test_fixed_all_changes_nothing() -> None:
    B = np.array([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]])
    result = run_algorithm1(CLASSIFIER, REFERENCE, TARGET, B=B, learn_map=False, rng=np.random.default_rng(0))
    assert np.array_equal(result.A, np.eye(3, 4))
    assert not result.b.any()
    assert result.iterations == 0
    assert result.history == ()


def test_labels_can_be_learned_without_the_map() -> None:
    result = run_algorithm1(
        CLASSIFIER, REFERENCE, TARGET, B=None, learn_map=False, epochs=30, batch_size=30, rng=np.random.default_rng(0)
    )
    assert np.array_equal(result.A, np.eye(3, 4))
    assert result.history[-1].labels < result.history[0].labels


def test_a_reference_class_without_samples_stays_out() -> None:
    part = REFERENCE.take(np.flatnonzero(REFERENCE.labels != 1))
    result = run_algorithm1(CLASSIFIER, part, TARGET, B=None, epochs=20, batch_size=30, rng=np.random.default_rng(0))
    assert result.D[1] == 0.0
    np.testing.assert_allclose(result.D[[0, 2, 3]], 1 / 3, atol=0.01)
    assert np.isfinite(result.A).all()
    assert np.isfinite(result.B).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1; got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1; got 0"),
        ({"B": np.eye(4, 3)}, r"`B` must be non-negative of shape \(4, 4\).*got shape \(4, 3\)"),
        ({"B": np.eye(3)}, r"`B` must be non-negative of shape \(3, 4\).*got shape \(3, 3\)"),
        ({"B": np.full((3, 4), 0.5)}, "columns that sum to 1"),
        ({"B": np.array([[2.0, 1, 1, 1], [-1, 0, 0, 0], [0, 0, 0, 0]])}, "non-negative"),
    ],
)
def test_bad_options_get_one_sentence(options: dict, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        run_algorithm1(CLASSIFIER, REFERENCE, TARGET, **({"B": None} | options), rng=np.random.default_rng(0))


def test_guessed_labels_are_guessed_anew_while_the_map_is_learned() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    centres = 4 * np.eye(3, 5)
    reference = Sample(centres[labels] + rng.normal(size=(120, 5)), labels)
    target = centres[labels] + rng.normal(size=(120, 5)) + 0.5
    classifier = fit_lipschitz_softmax(*reference, 0.5)
    wrong = labels.copy()
    wrong[:30] = (wrong[:30] + 1) % 3  # a quarter of the guesses is wrong at first
    options = {"B": np.eye(3), "epochs": 60, "batch_size": 120}
    once = run_algorithm1(classifier, reference, Sample(target, wrong), rng=np.random.default_rng(0), **options)
    anew = run_algorithm1(
        classifier, reference, Sample(target, wrong), rng=np.random.default_rng(0), guessed=True, **options
    )
    np.testing.assert_array_equal(once.labels, wrong)
    assert np.mean(anew.labels == labels) > 0.95
    assert not np.array_equal(once.A, anew.A)


def test_the_scale_is_fitted_unless_it_is_told_off() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(120) % 3
    features = 2.0 * np.eye(3, 4)[labels] + rng.normal(size=(120, 4))
    reference, target = Task(features[:60], labels[:60]), Task(features[60:], labels[60:])
    fits = {
        scale: TaskRelatedness(solver="sgd", epochs=5, batch_size=20, scale=scale).fit(reference, target)
        for scale in (True, False)
    }
    assert fits[False].scale == 1.0
    assert fits[True].scale != 1.0
    assert fits[True].bound < fits[False].bound  # of one algorithm, run alike
