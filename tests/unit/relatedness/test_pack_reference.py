"""Packs with rows: a certified bound on samples of the target, from logits of held-out rows of the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from transferability import ReferencePack, Task, TaskRelatedness
from transferability.errors import OptionError, TaskError
from transferability.relatedness.certificate import losses_of
from transferability.relatedness.packs import reference_classifier
from transferability.relatedness.packs.reference import PackReference, PackTask, _halves


def clusters(seed: int, classes: int, n: int = 120, d: int = 8, name: str = "clusters", spread: float = 3.0) -> Task:
    centres = spread * np.random.default_rng(9).normal(size=(max(classes, 6), d))
    y = np.arange(n) % classes
    return Task(centres[y] + np.random.default_rng(seed).normal(size=(n, d)), y, name=name)


REFERENCE, REFERENCE_TEST = clusters(0, 4, name="known"), clusters(1, 4, name="known")
TARGET, TARGET_TEST = clusters(2, 3, name="new"), clusters(3, 3, name="new")
PACK = ReferencePack.from_task(REFERENCE, REFERENCE_TEST, tau="scaled")


def test_points_have_the_logits_that_the_pack_keeps() -> None:
    task = PackTask(PACK)
    classifier, held_out = PACK.heads[0].classifier, PACK.heads[0].held_out
    wanted = held_out.logits - held_out.logits.mean(axis=1, keepdims=True)
    found = classifier.logits(task.features)
    assert_allclose(found - found.mean(axis=1, keepdims=True), wanted, atol=1e-5)
    assert_allclose(losses_of(found, task.labels), losses_of(held_out.logits, held_out.labels), atol=1e-5)
    assert (len(task), task.n_classes, task.name) == (120, 4, "known")


def test_the_bound_is_the_integral_over_the_quantiles_of_both_losses() -> None:
    """Recompute the certificate from the numbers in the pack and the transformation alone."""
    result = TaskRelatedness().fit(PACK, TARGET, target_test=TARGET_TEST)
    head = PACK.heads[0]
    kept, rows = np.unique(result.class_map), _halves(head.held_out.labels)[1]
    logits = result.scale * head.held_out.logits[rows][:, kept]
    labels = head.held_out.labels[rows]
    mapped = result.transform.apply(TARGET_TEST.features)
    theirs = (mapped @ result.transform.weights.T + result.transform.intercept)[:, kept]
    total = 0.0
    for i, j in enumerate(result.class_map):
        place, of_class = int(np.searchsorted(kept, j)), TARGET_TEST.labels == i
        left = np.sort(losses_of(logits[labels == j], np.full((labels == j).sum(), place)))
        right = np.sort(losses_of(theirs[of_class], np.full(of_class.sum(), place)))
        n = np.lcm(len(left), len(right))
        total += of_class.mean() * np.maximum(np.repeat(left, n // len(left)), np.repeat(right, n // len(right))).mean()
    assert result.bound == pytest.approx(total, abs=1e-4)
    assert result.certified
    assert result.certificate.endswith("The reference is the 120 rows whose logits the pack keeps.")


def test_about_the_same_as_from_samples() -> None:
    samples = TaskRelatedness().fit(REFERENCE, TARGET, REFERENCE_TEST, TARGET_TEST)
    pack = TaskRelatedness().fit(PACK, TARGET, target_test=TARGET_TEST)
    assert pack.transferred_accuracy == pytest.approx(samples.transferred_accuracy, abs=0.03)
    assert pack.bound == pytest.approx(samples.bound, abs=0.1)
    assert_array_equal(pack.class_map, samples.class_map)


def test_stands_beside_samples_and_in_folds() -> None:
    result = TaskRelatedness().fit([REFERENCE, PACK], TARGET, folds=4)
    assert [each.reference for each in result.references] == ["known", "known"]
    assert all(each.certified and each.evaluated_on == "folds" for each in result.references)
    assert all(each.bound >= each.transferred_loss for each in result.references)
    union = TaskRelatedness(union=True).fit([REFERENCE, PACK, clusters(4, 3)], TARGET)
    assert union.references[-1].reference == "all references"
    assert len(union.references[-1].reference_class_names) == 7  # type: ignore[attr-defined]  # of the samples


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    d=st.sampled_from([1, 2, 5, 20]),
    n_references=st.integers(2, 6),
    n_targets=st.integers(2, 6),
    cost=st.sampled_from(["exact", "loss", "euclidean"]),
    with_test=st.booleans(),
    rows=st.sampled_from([1, 3, 50]),
    spread=st.sampled_from([0.0, 1.0, 5.0]),
    width=st.sampled_from([0, 3]),
)
def test_never_below_the_loss(
    seed: int,
    d: int,
    n_references: int,
    n_targets: int,
    cost: str,
    with_test: bool,
    rows: int,
    spread: float,
    width: int,
) -> None:
    reference = clusters(seed, n_references, 40, d, spread=spread)
    test = clusters(seed + 1, n_references, 30, d, spread=spread) if with_test else None
    target = clusters(seed + 2, n_targets, 40, d + width, spread=spread)
    pack = ReferencePack.from_task(reference, test, tau=(0.2, 2.0), rows=rows)
    result = TaskRelatedness("auto", ground_cost=cost, scale=seed % 2 == 0).fit(
        pack, target, folds=2 if rows > 1 else None
    )
    assert result.certified
    assert result.bound >= result.transferred_loss - 1e-9 * (1 + result.bound)
    assert result.bound == pytest.approx(result.certificate_terms.per_point.mean(), rel=1e-6, abs=1e-9)


def test_tau_is_one_of_the_packs_or_a_multiple_of_the_nearest() -> None:
    pack = ReferencePack.from_task(REFERENCE, REFERENCE_TEST, tau=(0.5, 4.0))
    auto = TaskRelatedness("auto").fit(pack, TARGET)
    assert [tau for tau, _ in auto.tau_path] == [0.5, 4.0]
    assert auto.tau == min(auto.tau_path, key=lambda pair: pair[1])[0]
    assert TaskRelatedness().fit(pack, TARGET).tau == 4.0  # 32 / √8 is nearer to it
    other = TaskRelatedness(1.0, scale=False, matching="identity").fit(pack, clusters(2, 4))
    assert other.tau == 1.0
    half = next(head for head in pack.heads if head.tau == 0.5).classifier
    assert_allclose(other.reference_classifier.weights, 2 * half.weights, rtol=1e-12)
    assert other.reference_classifier.certified_tau <= 1.0 * (1 + 1e-12)


def test_a_part_of_the_classes_is_the_classifier_restricted() -> None:
    reference = PackReference.of(PackTask(PACK), 0)
    kept = np.array([0, 2])
    head = reference.head(PACK.heads[0].tau, kept)
    whole = PACK.heads[0].classifier
    assert_array_equal(head.classifier.weights, whole.weights[kept])
    assert head.classifier.certified_tau == pytest.approx(np.linalg.norm(whole.weights[0] - whole.weights[2]))
    assert head.classifier.certified_tau <= whole.certified_tau
    assert set(head.held_out.labels) == {0, 1}
    assert head.held_out.logits.shape[1] == 2


def test_labels_are_guessed_without_a_certificate() -> None:
    bare = Task(TARGET.features, class_names=["a", "b", "c"])
    result = TaskRelatedness().fit(PACK, bare)
    assert not result.certified
    assert "guessed" in result.certificate
    assert len(np.unique(result.pseudo_labels)) == 3


def test_halves_are_by_class_and_the_only_row_of_a_class_is_in_both() -> None:
    labels = np.array([0, 1, 0, 0, 2, 1, 0])
    one, other = _halves(labels)
    assert_array_equal(one, [0, 1, 3, 4])
    assert_array_equal(other, [2, 4, 5, 6])


class TestRows:
    def test_are_of_each_class_at_most_so_many(self) -> None:
        for test in (REFERENCE_TEST, None):
            pack = ReferencePack.from_task(REFERENCE, test, tau=1.0, rows=5)
            assert_array_equal(np.bincount(pack.heads[0].held_out.labels), [5] * 4)
            assert (pack.n_rows, pack.has_rows) == (20, True)

    def test_none_are_kept_where_none_are_wanted(self) -> None:
        pack = ReferencePack.from_task(REFERENCE, tau=1.0, rows=0)
        assert (pack.n_rows, pack.has_rows, pack.heads[0].held_out) == (0, False, None)

    def test_come_from_other_rows_than_the_classifier_was_fitted_on(self) -> None:
        rng = np.random.default_rng(0)
        noise = Task(rng.normal(size=(60, 100)), np.arange(60) % 3)  # anything can be learned by heart
        head = ReferencePack.from_task(noise, tau=5.0).heads[0]
        assert (head.classifier.logits(ReferencePack.from_task(noise, tau=5.0).scaler.apply(noise.features)).argmax(1)
                == noise.labels).all()  # fmt: skip
        assert (head.held_out.logits.argmax(axis=1) == head.held_out.labels).mean() < 0.7

    def test_of_many_classes_are_fewer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reference_classifier, "_MOST_LOGITS", 50)  # of four classes three rows each: 48 logits
        assert ReferencePack.from_task(REFERENCE, REFERENCE_TEST, tau=1.0).n_rows == 12
        monkeypatch.setattr(reference_classifier, "_MOST_LOGITS", 1)  # but one at least
        assert ReferencePack.from_task(REFERENCE, REFERENCE_TEST, tau=1.0).n_rows == 4

    def test_join_when_packs_are_merged(self) -> None:
        other = ReferencePack(PACK.name, PACK.statistics, PACK.scaler, PACK.heads)
        assert PACK.merge(other).n_rows == 240
        bare = PACK.heads[0]._replace(held_out=None)
        assert PACK.merge(ReferencePack(PACK.name, PACK.statistics, PACK.scaler, (bare,))).n_rows == 0

    @pytest.mark.parametrize("rows", [-1, 1.5, True])
    def test_must_be_a_number(self, rows: object) -> None:
        with pytest.raises(OptionError, match="rows"):
            ReferencePack.from_task(REFERENCE, tau=1.0, rows=rows)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"solver": "sgd"}, (PACK, TARGET), "no samples; got one with solver='sgd'"),
        ({"ground_cost": "euclidean", "space": "target"}, (PACK, TARGET), "space='target'. Use solver='statistics'"),
        ({}, (PACK, TARGET, REFERENCE_TEST), "`reference_test` must be left out for a pack"),
        ({}, (REFERENCE, PACK), "got one as the target"),
    ],
)
def test_what_needs_samples_is_refused(options: dict[str, object], arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        TaskRelatedness(**options).fit(*arguments)
