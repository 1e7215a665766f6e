"""References that nobody brings, folds, and what a ranking says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bands import GOOD, NOISE, REFERENCE, SETTINGS, TARGET, stripes

from transferability import TaskRelatedness
from transferability.datasets.arrays import picture_arrays
from transferability.datasets.base import Dataset
from transferability.encoders.function import FunctionEncoder
from transferability.errors import LabelError
from transferability.pipeline import Settings, rank, relate
from transferability.relatedness.references import OWN_HALF, UNION


def blocks(name: str, seed: int, n_classes: int, n: int = 72) -> Dataset:
    """Return pictures of 12 × 12 with a bright band in one of up to six places."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    pixels = rng.integers(0, 90, size=(n, 12, 12), dtype=np.uint8)
    for row, label in enumerate(labels):
        pixels[row, 2 * label : 2 * label + 2] += np.uint8(150)
    return picture_arrays(name, pixels, labels, [f"{name} {k}" for k in range(n_classes)], name)


def test_without_a_reference_each_half_of_the_target_is_the_reference_of_the_other() -> None:
    for references in (None, []):
        ranking = rank(TARGET, references, [NOISE, GOOD], scores=["logme", "leep"], settings=SETTINGS)
        assert [entry.encoder for entry in ranking.entries] == ["rows", "noise"]
        assert ranking.references == ()
        for entry in ranking.entries:
            result = entry.relatedness
            assert (result.reference, result.evaluated_on) == (OWN_HALF, "folds")
            assert len(result.transferred_correct) == len(TARGET)
            assert result.class_map.tolist() == [0, 1, 2]
            assert result.certified
            assert result.bound >= result.transferred_loss
            assert np.isfinite(entry.scores["logme"])
    assert ranking.best.relatedness.transferred_accuracy == 1


def test_more_classes_than_any_reference_bring_the_union_and_the_own_half() -> None:
    target, small = blocks("six", 0, 6), [blocks("three", 1, 3), blocks("also three", 2, 3)]
    (entry,) = rank(target, small, [GOOD], settings=SETTINGS).entries
    panel = {each.reference: each for each in entry.relatedness.references}
    assert list(panel) == ["three", "also three", UNION, OWN_HALF]
    assert panel["three"].label_mismatch > 0.5  # two target classes share each of its classes
    assert panel[UNION].label_mismatch == panel[OWN_HALF].label_mismatch == 0
    assert panel[UNION].reference_class_names[0] == "three: three 0"  # type: ignore[attr-defined]
    assert entry.relatedness.bound == min(each.bound for each in panel.values())
    details = entry.relatedness.details
    assert details is not None
    assert set(details.target_samples) == {f"six {k}" for k in range(6)}
    (result,) = relate(small, target, GOOD, settings=SETTINGS)
    assert [each.reference for each in result.references] == list(panel)
    few = rank(blocks("two", 3, 2), small, [GOOD], settings=SETTINGS).best.relatedness
    assert [each.reference for each in few.references] == ["three", "also three"]


def test_a_given_matching_is_not_for_the_own_half_and_the_result_says_so() -> None:
    target, small = blocks("six", 0, 6), blocks("three", 1, 3)
    given = TaskRelatedness(matching=[0, 1, 2, 0, 1, 2])
    (result,) = relate(small, target, GOOD, relatedness=given, settings=SETTINGS)
    assert [each.reference for each in result.references] == ["three", OWN_HALF]  # of a union it is no matching
    three, own = result.references
    assert three.class_map.tolist() == [0, 1, 2, 0, 1, 2]
    assert own.class_map.tolist() == list(range(6))
    assert any("own other half each class is matched with itself" in note for note in result.notes)
    (alone,) = relate(None, target, GOOD, relatedness=given, packs=False, settings=SETTINGS)
    assert any("own other half each class is matched with itself" in note for note in alone.notes)
    (plain,) = relate(None, target, GOOD, packs=False, settings=SETTINGS)
    assert not any("matched with itself" in note for note in plain.notes)


def test_a_class_of_three_rows_cannot_be_halved_and_says_so() -> None:
    rows = np.flatnonzero((TARGET.labels != 2) | (np.arange(len(TARGET)) < 9))  # three rows of the last class
    with pytest.raises(LabelError, match=r"class 'bottom' of 'bands' has 3 rows; without a reference each half"):
        rank(TARGET.subset(rows), None, [GOOD], packs=False, settings=SETTINGS)


def test_folds_are_an_option_and_many_rows_have_one_split() -> None:
    def result(**settings: Any) -> Any:
        return rank(TARGET, REFERENCE, [GOOD], settings=Settings(cache=False, **settings)).best.relatedness

    split = result(folds=1)
    assert (split.evaluated_on, len(split.transferred_correct)) == ("test", 18)
    three = result(folds=3)
    assert (three.evaluated_on, len(three.transferred_correct)) == ("folds", 60)
    assert three.bound != result(folds=5).bound
    made = rank(TARGET, REFERENCE, [GOOD], settings=SETTINGS).provenance["data"][0]
    assert (made["fit_rows"], made["test_rows"], made["folds"]) == (60, 60, 5)


def test_many_rows_are_split_once() -> None:
    def mean(items: list) -> np.ndarray:
        return np.stack([np.asarray(each.convert("L"), dtype=float)[::4].mean(axis=1) for each in items])

    target = stripes("many", 5, n=2001)
    result = rank(target, REFERENCE, [FunctionEncoder("mean", mean)], settings=SETTINGS).best.relatedness
    assert (result.evaluated_on, len(result.transferred_correct)) == ("test", 600)


def test_a_linear_probe_is_trained_on_the_same_folds() -> None:
    rows, noise = rank(TARGET, REFERENCE, [NOISE, GOOD], settings=SETTINGS).entries
    assert rows.probe.accuracy == 1
    assert noise.probe.accuracy < 0.7
    assert rows.to_dict()["probe"] == {"accuracy": rows.probe.accuracy, "loss": rows.probe.loss}
    unlabelled = rank(stripes("bands", 0, labelled=False), REFERENCE, [GOOD], settings=SETTINGS).best
    assert unlabelled.probe is None


def test_rows_that_a_reference_holds_too_are_counted() -> None:
    made = rank(TARGET, [REFERENCE, TARGET], [GOOD], settings=SETTINGS).provenance["data"][0]
    assert made["notes"] == ["60 of 60 rows are in the reference 'bands' too."]
    assert "notes" not in rank(TARGET, REFERENCE, [GOOD], settings=SETTINGS).provenance["data"][0]


def test_relate_says_it_too() -> None:
    (result,) = relate([REFERENCE, TARGET], TARGET, GOOD, settings=SETTINGS)
    assert result.notes == ("bands: 60 of 60 rows are in the reference 'bands' too.",)
    assert result.to_dict()["notes"] == list(result.notes)
    assert relate(REFERENCE, TARGET, GOOD, settings=SETTINGS)[0].notes == ()


def test_pictures_that_look_alike_count_once_in_intervals() -> None:
    """Twenty photos, three near copies each: folds keep them together, and the interval is that of twenty."""
    rng = np.random.default_rng(0)
    photos = np.kron(rng.integers(0, 250, size=(20, 8, 8)), np.ones((4, 4)))
    pixels = np.repeat(photos, 3, axis=0) + rng.integers(0, 4, size=(60, 32, 32))
    data = picture_arrays("photos", pixels.astype(np.uint8), np.repeat(np.arange(20) % 2, 3), ["a", "b"], "photos")
    widths = []
    for near in (False, True):
        result = rank(data, None, [GOOD], settings=Settings(near_duplicates=near)).best.relatedness
        copies = result.first_copies
        assert len(np.unique(np.arange(60) if copies is None else copies)) == (20 if near else 60)
        found = result.interval()
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[1] > 1.3 * widths[0]
