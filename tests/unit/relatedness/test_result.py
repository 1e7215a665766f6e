"""What a fit returns: as JSON, as a picture, and as a file."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.special import softmax

from transferability import Relatedness, Task, TaskRelatedness
from transferability.errors import FeatureError, FileDamagedError, LabelError, OptionError
from transferability.relatedness.results.summary import RelatednessSummary
from transferability.relatedness.results.transform import Transform
from transferability.statistics.intervals import clopper_pearson


def task(seed: int, n_classes: int, name: str, *, labelled: bool = True) -> Task:
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % n_classes
    names = [f"{name} <{k}>" for k in range(n_classes)]
    features = 4 * np.eye(n_classes, 5)[labels] + rng.normal(size=(60, 5))
    return Task(features, labels if labelled else None, name=name, class_names=names)


@pytest.fixture(scope="module")
def result() -> Relatedness:
    references = [task(0, 3, "red"), task(1, 4, "blue")]
    return TaskRelatedness([0.1, 0.5]).fit(references, task(2, 3, "green"), references, task(3, 3, "green"))


def variants() -> list[Relatedness]:
    reference, target = task(0, 3, "red"), task(2, 3, "green")
    return [
        TaskRelatedness(learn_map=False).fit(reference, target),  # its ridge is infinite
        TaskRelatedness(ground_cost="euclidean", space="target").fit(reference, target),
        TaskRelatedness(solver="sgd", epochs=20).fit(reference, target),
        TaskRelatedness().fit(reference, task(2, 3, "green", labelled=False)),
        TaskRelatedness().fit(task(0, 2, "red"), task(2, 5, "green")),
    ]


def test_every_result_is_json(result: Relatedness) -> None:
    for each in [result, *variants()]:
        text = json.dumps(each.to_dict(), allow_nan=False)
        back = json.loads(text)
        assert back["bound"] == each.bound
        assert len(back["panel"]) == len(each.references)
        assert set(back["panel"][0]) <= set(back)
        classes = back["per_class"]
        for term in ("reference_loss", "label_mismatch", "distribution_mismatch"):
            assert math.fsum(row[term] for row in classes) == pytest.approx(back[term], rel=1e-12, abs=1e-300)
        assert math.fsum(row["prior"] for row in classes) == pytest.approx(1, rel=1e-12)
        assert list(back["class_map_names"]) == [row["target_class"] for row in classes]


def test_names_stand_in_the_result(result: Relatedness) -> None:
    found = result.to_dict()
    assert (found["reference"], found["target"]) == (result.reference, "green")
    assert set(found["class_map_names"]) == {"green <0>", "green <1>", "green <2>"}
    assert found["class_map_names"]["green <1>"] == f"{result.reference} <1>"
    assert [each["reference"] for each in found["panel"]] == ["red", "blue"]
    assert "certified" in repr(result)
    assert repr(result).startswith(f"Relatedness('{result.reference}' → 'green': bound {result.bound:.3f} nats")


def test_a_class_without_samples_has_no_partner() -> None:
    fit, test = task(2, 3, "green", labelled=False), Task(task(3, 2, "green").features, task(3, 2, "green").labels)
    found = TaskRelatedness().fit(task(0, 3, "red"), Task(fit.features), target_test=test)
    assert found.class_map[2] == -1
    assert found.to_dict()["per_class"][2]["reference_class"] is None
    assert found.bound >= found.transferred_loss


def test_plot_shows_the_three_terms_of_every_reference(result: Relatedness) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    assert result.plot(axes) is axes
    heights = [sum(container[place].get_height() for container in axes.containers) for place in (0, 1)]
    np.testing.assert_allclose(heights, [each.bound for each in result.references])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["red", "blue"]
    assert "green" in axes.get_title()


def test_plot_brings_its_own_axes_and_leaves_out_what_is_unknown(result: Relatedness) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    legend = [text.get_text() for text in result.plot().get_legend().get_texts()]
    assert "transferred loss" in legend
    unlabelled = TaskRelatedness().fit(task(0, 3, "red"), task(2, 3, "green", labelled=False))
    legend = [text.get_text() for text in unlabelled.plot().get_legend().get_texts()]
    assert legend == ["reference loss", "label mismatch", "distribution mismatch"]
    assert dict(matplotlib.rcParams) == before


# ── the transformation in a file ─────────────────────────────────────────────────────────────────────────────────────


def test_transform_comes_back_from_its_file(result: Relatedness, tmp_path) -> None:
    features = task(7, 3, "green").features
    result.transform.save(tmp_path / "t.safetensors")
    again = Transform.load(str(tmp_path / "t.safetensors"))
    np.testing.assert_array_equal(again.predict_proba(features), result.predict_proba(features))
    for name in ("map", "offset", "B", "D", "weights", "intercept"):
        np.testing.assert_array_equal(getattr(again, name), getattr(result.transform, name))
    assert again.lipschitz == result.transform.lipschitz
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]  # nothing temporary stays


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_file_is_refused(result: Relatedness, tmp_path, keep: int) -> None:
    path = tmp_path / "t.safetensors"
    result.transform.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileDamagedError, match=r"t.safetensors is damaged or not a transformation: .*copy it again"):
        Transform.load(path)


def test_another_file_is_refused(tmp_path) -> None:
    from safetensors.numpy import save_file

    save_file({"features": np.eye(3)}, tmp_path / "f.safetensors")
    with pytest.raises(FileDamagedError, match=r"f.safetensors' is damaged or no transformation"):
        Transform.load(tmp_path / "f.safetensors")


def test_features_of_another_encoder_are_refused(result: Relatedness) -> None:
    with pytest.raises(FeatureError, match=r"`features` must have 5 columns, as the target that was fitted; got 4"):
        result.transform.apply(np.ones((3, 4)))
    with pytest.raises(FeatureError, match="row 1 holds NaN"):
        result.predict_proba(np.array([[0.0] * 5, [np.nan] * 5]))


def test_constant_of_the_moved_classifier_bounds_its_gradients(result: Relatedness) -> None:
    transform = result.transform
    rows = transform.weights @ transform.map
    largest = max(np.linalg.norm(a - b) for a in rows for b in rows)
    assert transform.lipschitz == pytest.approx(largest, rel=1e-9)


def test_a_record_of_two_references_comes_back_with_both(result: Relatedness) -> None:
    again = RelatednessSummary.from_dict(result.to_dict())
    assert (
        [each.reference for each in again.references]
        == [each.reference for each in result.references]
        == ["red", "blue"]
    )


@pytest.mark.parametrize("how", ["fit", "test", "folds"])
def test_a_bound_of_the_fitting_rows_says_so(how: str) -> None:
    extra = {"fit": {}, "test": {"target_test": task(3, 2, "green")}, "folds": {"folds": 3}}[how]
    found = TaskRelatedness().fit(task(0, 2, "red"), task(2, 2, "green"), **extra)
    assert ("all on the fitting rows" in repr(found)) is (how == "fit")
    assert ("it says nothing of other rows" in found._repr_html_()) is (how == "fit")


def test_labels_to_score_by_are_numbers_or_names_of_the_classes(result: Relatedness) -> None:
    features = task(3, 3, "green").features
    predicted = result.predict(features)
    assert set(predicted) == {0, 1, 2}
    assert result.score(features, predicted) == 1.0
    assert result.score(features, [f"green <{k}>" for k in predicted]) == 1.0
    assert result.score(features, (predicted + 1) % 3) == 0.0
    for wrong, row in ((3, 4), (-1, 7)):
        labels = predicted.copy()
        labels[row] = wrong
        with pytest.raises(LabelError, match=f"from 0 to 2, the target's classes; row {row} is {wrong}"):
            result.score(features, labels)
    with pytest.raises(LabelError, match=r"'blue' is none"):
        result.score(features, ["blue"] * len(features))
    with pytest.raises(LabelError, match="one entry per row of the features; got 3 for 60"):
        result.score(features, predicted[:3])


def test_a_test_part_of_the_reference_alone_holds_out_nothing_of_the_target() -> None:
    rng = np.random.default_rng(0)
    noise, other, test = (Task(rng.normal(size=(n, 100)), np.arange(n) % 4) for n in (100, 100, 60))
    result = TaskRelatedness().fit(noise, other, reference_test=test)
    assert result.evaluated_on == "fit"
    assert "all on the fitting rows" in repr(result)


def test_a_scale_of_nearly_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    near, far = (Task(step + 4 * np.eye(3, 8)[labels] + rng.normal(size=(90, 8)), labels) for step in (0, 0.5))
    guessing = TaskRelatedness(30.0, ground_cost="euclidean").fit(near, far)
    assert guessing.scale < 1e-3
    assert "scaled to nearly nothing" in guessing.notes[0]
    assert "Take ground_cost='exact', or scale=False" in guessing.notes[0]
    chance = Task(near.features, rng.permutation(labels))  # no label follows from its features
    (note,) = TaskRelatedness().fit(chance, far).notes
    assert "Take scale=False for the bound" in note
    constant = Task(np.ones((90, 8)), labels)
    (note,) = TaskRelatedness().fit(constant, far).notes
    assert "tells no classes of the reference apart" in note
    assert "Take" not in note
    assert TaskRelatedness().fit(near, far).notes == ()
    assert TaskRelatedness(30.0, ground_cost="euclidean", scale=False).fit(near, far).notes == ()


# ── new data, and what the reference alone gives ─────────────────────────────────────────────────────────────────────


def noisy(seed: int, n: int = 200, useful: bool = True) -> Task:
    """Return four overlapping classes; where they are of no use, their labels are drawn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    features = 2.0 * np.eye(4, 8)[labels] + rng.normal(size=(n, 8))
    return Task(features, labels if useful else rng.permutation(labels), name=f"seed {seed}")


def test_interval_for_new_data_is_that_of_the_rows_measured_shared_over_the_references() -> None:
    references, target = [noisy(1), noisy(2)], noisy(3)
    one, two = (TaskRelatedness().fit(references[:k], target, folds=3) for k in (1, 2))
    for result, n_shared in ((one, 1), (two, 2)):
        found = result.interval()
        n_right = int(result.transferred_correct.sum())
        assert found == clopper_pearson(n_right, len(target), n_shared=n_shared)
        assert found.low < result.transferred_accuracy < found.high
        assert result.to_dict()["standing"] == dataclasses.asdict(found)
        loss = result.interval("transferred_loss")
        assert (loss.method, loss.n_shared) == ("betting", n_shared)
        assert loss.low < loss.value < loss.high
    test = TaskRelatedness().fit(references[0], target, target_test=noisy(4, 80))
    assert test.interval().n_rows == 80
    with pytest.raises(OptionError, match="`quantity`"):
        test.interval("bound")


def test_nothing_is_said_of_new_data_on_rows_that_were_fitted_or_without_labels() -> None:
    reference, target = noisy(1), noisy(3)
    fitted = TaskRelatedness().fit(reference, target)
    assert fitted.interval() is None
    assert fitted.to_dict()["standing"] is None
    unlabelled = TaskRelatedness().fit(reference, Task(target.features, None), folds=3)
    assert unlabelled.interval() is None
    assert unlabelled.accuracy_without_map is None


@pytest.mark.parametrize("options", [{}, {"ground_cost": "loss"}, {"matching": [0, 0, 1, 2]}])
def test_accuracy_without_the_map_is_that_of_the_reference_alone(options: dict[str, object]) -> None:
    target = noisy(3)
    useful, useless = (TaskRelatedness(**options).fit(noisy(1, useful=each), target) for each in (True, False))
    for result in (useful, useless):
        transform = result.transform
        there = transform.reference_scaler, transform.target_scaler
        seen = there[1].apply(target.features) @ transform.weights.T + transform.intercept
        predicted = (softmax(seen, axis=1) @ transform.B.T).argmax(axis=1)
        assert result.accuracy_without_map == pytest.approx(np.mean(predicted == target.labels))
    if "matching" not in options:  # the map is fitted to the target's labels: h′ is as good with a useless reference
        assert useless.transferred_accuracy > useful.transferred_accuracy - 0.1
        assert useless.accuracy_without_map < useful.accuracy_without_map - 0.2
    fixed = TaskRelatedness(learn_map=False).fit(noisy(1), target, folds=3)
    assert fixed.accuracy_without_map == fixed.transferred_accuracy


def test_accuracy_without_the_map_is_unknown_between_spaces_of_different_dimension() -> None:
    target = noisy(3)
    other = Task(target.features[:, :5], target.labels)
    assert TaskRelatedness().fit(noisy(1), other, folds=3).accuracy_without_map is None


def test_what_is_never_right_is_below_chance() -> None:
    labels = np.repeat([0, 1], 30)
    seen, turned = (Task(np.eye(2)[labels], each) for each in (labels, 1 - labels))
    result = TaskRelatedness(matching="identity", learn_map=False).fit(seen, turned)
    assert result.transferred_accuracy == 0
    assert result.below_chance
    assert not TaskRelatedness(matching="identity").fit(seen, seen).below_chance
    assert not TaskRelatedness().fit(seen, Task(turned.features, None)).below_chance
