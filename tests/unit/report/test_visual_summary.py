"""What pictures need: bounded, deterministic, and true to the result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.pipeline import Settings, rank
from transferability.ranking.result import Ranking
from transferability.relatedness.results.describe import GRID, _on_grid, _project, describe
from transferability.report.samples import sample_of


def tasks(n: int, d_target: int = 6) -> tuple[Task, Task]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    reference = Task(4 * np.eye(3, 6)[labels] + rng.normal(size=(n, 6)), labels, "reference", ["a", "b", "c"])
    target = Task(4 * np.eye(3, d_target)[labels] + rng.normal(size=(n, d_target)), labels, "target", ["x", "y", "z"])
    return reference, target


def test_a_certificate_is_the_mean_of_its_points(ranking: Ranking) -> None:
    for entry in ranking.entries:
        parts = entry.relatedness.certificate_terms.per_point  # type: ignore[attr-defined]
        assert parts.mean() == pytest.approx(entry.relatedness.bound, rel=1e-12)
        losses = entry.relatedness.transferred_losses
        assert losses.mean() == pytest.approx(entry.relatedness.transferred_loss, rel=1e-6)
        assert (losses <= parts + 1e-6).all()  # point by point, too


def test_points_of_other_priors_and_of_shared_classes_still_average_to_the_bound() -> None:
    reference, target = tasks(90)
    rows = reference.labels < 2
    two = Task(reference.features[rows], reference.labels[rows], "two")  # classes must be shared
    test = target.subset(np.flatnonzero((np.arange(90) % 3 < 2) | (np.arange(90) < 30)))
    result = TaskRelatedness(1.0).fit(two, target, two, test)
    assert result.label_mismatch > 0
    assert result.certificate_terms.per_point.mean() == pytest.approx(result.bound, rel=1e-12)


def test_details_are_bounded_and_the_same_every_time() -> None:
    reference, target = tasks(900)
    result = TaskRelatedness(1.0).fit(reference, target)
    details = describe(result, reference, target)
    assert details.reference.shape == details.after.shape == details.before.shape == (150, 2)
    for places in (details.reference, details.after, details.before):
        assert places.min() >= 0
        assert places.max() <= GRID
    assert len(json.dumps(details.to_dict())) < 12_000
    again = describe(result, reference, target)
    assert again.to_dict() == details.to_dict()
    assert describe(result, reference, target, seed=1).to_dict() != details.to_dict()


def test_points_of_the_reference_stand_for_the_target_class_that_is_matched_with_theirs() -> None:
    reference, target = tasks(120)
    result = TaskRelatedness(1.0, matching=[2, 0, 1]).fit(reference, target)
    details = describe(result, reference, target)
    assert details.reference_classes.tolist() == [{2: 0, 0: 1, 1: 2}[label] for label in reference.labels]


def test_points_are_drawn_along_the_directions_in_which_they_vary_most() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 4)) * [1, 5, 0.1, 3] + [1000, 0, 0, 0]  # far from the origin where they hardly vary
    (places,) = _project([points])
    values = np.linalg.eigvalsh(np.cov(points.T, bias=True))
    np.testing.assert_allclose(places.var(axis=0), values[[-1, -2]], rtol=1e-8)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-9)


def test_look_alikes_and_accuracies_follow_the_classes() -> None:
    reference, target = tasks(300)
    result = TaskRelatedness(2.0).fit(reference, target)
    details = describe(result, reference, target)
    for i, found in enumerate(details.lookalikes):
        assert found[0][0] == result.reference_class_names[result.class_map[i]]
        assert sum(share for _, share in found) == pytest.approx(1)
    shares = np.bincount(target.labels) / len(target)
    assert details.class_accuracy @ shares == pytest.approx(result.transferred_accuracy)


def test_without_labels_the_predictions_stand_in() -> None:
    reference, target = tasks(120)
    bare = Task(target.features, None, "bare", ["x", "y", "z"])
    result = TaskRelatedness(1.0).fit(reference, bare)
    details = describe(result, reference, bare)
    assert details.class_accuracy is None
    assert details.target_classes.tolist() == result.predict_proba(bare.features).argmax(axis=1).tolist()


def test_tasks_of_different_dimension_have_no_before() -> None:
    reference, target = tasks(120, d_target=9)
    details = describe(TaskRelatedness(1.0).fit(reference, target), reference, target)
    assert details.before.shape == (0, 2)
    assert len(details.after) == 120


def test_samples_of_pictures_texts_pairs_and_words() -> None:
    from PIL import Image

    assert sample_of("a  short\ntext") == {"text": "a short text"}
    assert len(sample_of("long " * 1000)["text"]) == 160
    assert sample_of(("question", "answer")) == {"text": "question ⁄ answer"}
    assert sample_of((("the", "cat", "sat"), 1)) == {"text": "the [cat] sat"}
    assert sample_of(np.zeros(4)) is None
    picture = sample_of(Image.effect_noise((600, 400), 80).convert("RGB"))["image"]
    assert picture.startswith("data:image/jpeg;base64,")
    assert len(picture) < 6_000


class Means:
    """An encoder that says what it is, so that its features are kept."""

    name, modality, n_parameters = "test:means", "image", 0

    def identity(self) -> dict[str, str]:
        return {"source": self.name}

    def encode(self, items: list) -> np.ndarray:
        return np.stack([np.asarray(each, dtype=np.float32).mean(axis=(1, 2)) for each in items])


def test_the_keys_of_kept_features_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transferability.datasets.arrays import picture_arrays

    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path))
    labels = np.arange(40) % 2
    pixels = np.random.default_rng(0).integers(0, 100, size=(40, 6, 6), dtype=np.uint8)
    pixels[labels == 1, :3] += np.uint8(120)
    target, reference = (picture_arrays(name, pixels, labels, None, name) for name in ("goal", "known"))
    entry = rank(target, reference, [Means()]).best
    assert [each["data"] for each in entry.cache_keys] == ["goal", "known"]
    for each in entry.cache_keys:
        assert list(tmp_path.rglob(f"{each['key']}*"))
    assert rank(target, reference, [Means()], settings=Settings(cache=False)).best.cache_keys == []


def test_two_classes_make_a_picture_of_two_dimensions() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    features = rng.normal(size=(80, 5)) + 4 * np.eye(2, 5)[labels]
    task = Task(features, labels)
    details = describe(TaskRelatedness(1.0).fit(task, task), task, task)
    for places in (details.reference, details.after):
        spread = places.std(axis=0)
        assert spread.min() > 0.1 * spread.max()
    side = details.reference[:, 0] > np.median(details.reference[:, 0])
    assert abs(np.corrcoef(side, labels)[0, 1]) > 0.8  # the first axis is the classifier's


def test_features_that_stayed_are_drawn_once(ranking: Ranking) -> None:
    from transferability.report.render import to_html
    from transferability.report.summarize import summarize

    assert "Before the map" in to_html(summarize(ranking))
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    task = Task(rng.normal(size=(60, 4)) + 3 * np.eye(3, 4)[labels], labels)
    result = TaskRelatedness(1.0, learn_map=False).fit(task, task)
    page = to_html(summarize(replace(result, details=describe(result, task, task))))
    assert "Before the map" not in page
    assert "No map was fitted" in page
    assert "by the fitted map" not in page


def test_the_picture_holds_the_points_wherever_they_lie() -> None:
    points = np.stack([np.linspace(0, 10, 201), np.linspace(0, 5, 201)], axis=1)
    (near,), (far,), (small,) = _on_grid([points]), _on_grid([points + np.array([300, -70])]), _on_grid([1e-3 * points])
    assert np.array_equal(near, far)
    assert np.array_equal(near, small)
    assert near[100].tolist() == [GRID / 2, GRID / 2]
    assert (near[:, 0] >= 0).all()
    assert (near[:, 0] <= GRID).all()
    middle = near[50] - near[100], near[150] - near[100]
    assert np.abs(middle[0] + middle[1]).max() <= 1
    # A quarter of the length, of which 98 hundredths take 1 / 1.06 of the grid; the axes share one scale.
    assert middle[1] == pytest.approx(GRID / 1.06 / 0.98 * np.array([0.25, 0.125]), abs=1)
