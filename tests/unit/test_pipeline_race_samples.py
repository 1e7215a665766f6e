"""Samples of a race: small enough to save items, large enough for every class of the target and of the references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferability.datasets import Dataset
from transferability.encoders.function import FunctionEncoder
from transferability.errors import EncoderError, LabelError
from transferability.pipeline import Settings, make_pack, prepare, race_judge, rank
from transferability.pipeline.race_samples import Sampler, nested_order
from transferability.relatedness.references import LEAST_ROWS

SETTINGS = Settings(cache=False)
N_CLASSES = 200


def numbered(name: str, labels: np.ndarray, *, labelled: bool = True, in_test: np.ndarray | None = None) -> Dataset:
    """Return rows that are their number and their class."""
    return Dataset(
        name,
        "array",
        np.arange(len(labels)).astype(np.str_),
        read=lambda row: np.array([row, labels[row]]),
        content=lambda row: f"{name} {row}".encode(),
        all_labels=labels if labelled else None,
        class_names=tuple(map(str, range(int(labels.max()) + 1))) if labelled else None,
        all_in_test=in_test,
    )


def seeing(name: str, strength: float) -> FunctionEncoder:
    """Return an encoder that sees the class of a row so well."""
    means = np.random.default_rng(1).normal(size=(N_CLASSES, 24))

    def see(items: list[np.ndarray]) -> np.ndarray:
        noise = [np.random.default_rng([int(row), int(label), len(name)]).normal(size=24) for row, label in items]
        return strength * means[[int(label) for _, label in items]] + np.stack(noise)

    see.modality = "array"  # type: ignore[attr-defined]
    return FunctionEncoder(name, see)


ENCODERS = [seeing("clear", 2.0), seeing("hazy", 0.4), seeing("blind one", 0.0)]


def shares(race: dict) -> list[tuple[int, int]]:
    return [(each["n_encoders"], each["n_compared"]) for each in race["rounds"]]


@pytest.mark.parametrize("n_of_class", [2, 3, 6])
def test_a_reference_may_have_more_classes_than_the_sample_has_rows(n_of_class):
    target, reference = numbered("t", np.arange(400) % 5), numbered("r", np.arange(150 * n_of_class) % 150)
    ranking = rank(target, reference, ENCODERS, race=1, settings=SETTINGS)
    race = ranking.provenance["race"]
    assert ranking.best.encoder == "clear"
    assert {each["encoder"] for each in race["dropped"]} == {"hazy", "blind one"}
    assert race["items"] < race["items_of_all"]


def test_rare_classes_of_the_target_do_not_end_the_race():
    labels = np.repeat(np.arange(6), [200, 180, 100, 6, 4, 4])
    for references in (None, numbered("r", np.arange(90) % 9)):
        ranking = rank(numbered("t", labels), references, ENCODERS, race=1, settings=SETTINGS)
        race = ranking.provenance["race"]
        assert shares(race)[0] == (3, 3)
        assert {each["encoder"] for each in race["dropped"]} == {"hazy", "blind one"}


def test_a_target_with_more_classes_than_any_reference_joins_their_union():
    references = [numbered("r", np.arange(40) % 4), numbered("s", np.arange(60) % 3)]
    race = rank(numbered("t", np.arange(160) % 10), references, ENCODERS, race=1, settings=SETTINGS).provenance["race"]
    assert shares(race)[0] == (3, 3)
    assert "blind one" in {each["encoder"] for each in race["dropped"]}


def test_a_target_without_labels_is_raced_by_the_bound():
    target = numbered("t", np.arange(300) % 4, labelled=False)
    reference = numbered("r", np.arange(400) % 100)
    race = rank(target, reference, ENCODERS[:2], race=1, settings=SETTINGS).provenance["race"]
    assert race["quantity"] == "bound"
    assert shares(race)[0] == (2, 2)


def test_splits_of_the_data_and_packs_of_references_are_measured_on_test_rows():
    labels = np.arange(600) % 4
    target = numbered("t", labels, in_test=np.arange(600) % 3 == 0)
    reference = numbered("r", np.arange(200) % 5, in_test=np.arange(200) % 2 == 0)
    race = rank(target, reference, ENCODERS, race=1, settings=SETTINGS).provenance["race"]
    assert {each["encoder"] for each in race["dropped"]} == {"hazy", "blind one"}
    assert race["dropped"][0]["n_rows"] < race["rounds"][0]["n_rows"] / 2
    packs = [make_pack(reference, each, settings=SETTINGS) for each in ENCODERS[:2]]
    raced = rank(target, packs, ENCODERS[:2], race=1, settings=SETTINGS)
    whole = rank(target, packs, ENCODERS[:2], settings=SETTINGS)
    assert shares(raced.provenance["race"])[0] == (2, 2)
    assert raced.best.relatedness.transferred_accuracy == whole.best.relatedness.transferred_accuracy


def test_whom_a_sample_cannot_judge_stays_and_who_fails_leaves(monkeypatch):
    relatedness_of, calls = race_judge.relatedness_of, []

    def moody(estimator, panel, fit, *others):
        calls.append(len(fit))
        if calls.count(len(fit)) == 2:  # the second encoder of each round
            message = "too few rows of a class."
            raise LabelError(message)
        if calls.count(len(fit)) == 3:
            message = "its weights are not there."
            raise EncoderError(message)
        return relatedness_of(estimator, panel, fit, *others)

    monkeypatch.setattr(race_judge, "relatedness_of", moody)
    ranking = rank(numbered("t", np.arange(400) % 4), None, ENCODERS, race=1, settings=SETTINGS)
    race = ranking.provenance["race"]
    assert [each.encoder for each in ranking] == ["clear", "hazy"]  # of which there was no evidence
    assert [(each.encoder, each.reason) for each in ranking.skipped] == [("blind one", "its weights are not there.")]
    assert race["rounds"][0] == {"n_rows": 100, "n_encoders": 3, "n_compared": 1, "why_not": "too few rows of a class."}
    assert race["dropped"] == []


def test_who_is_measured_on_other_rows_is_not_compared(monkeypatch):
    of = vars(race_judge.View)["of"].__func__
    made = []

    def odd(cls, result, target, drawn):
        made.append(of(cls, result, target, drawn))
        return made[-1] if len(made) % 3 else replace(made[-1], rows=made[-1].rows + 1)

    monkeypatch.setattr(race_judge.View, "of", classmethod(odd))
    race = rank(numbered("t", np.arange(150) % 4), None, ENCODERS, race=1, settings=SETTINGS).provenance["race"]
    assert shares(race) == [(3, 2)]
    assert "other rows" in race["rounds"][0]["why_not"]
    assert [each["encoder"] for each in race["dropped"]] == ["hazy"]


def test_where_all_fail_the_ranking_says_why():
    with pytest.raises(Exception, match="no encoder could be ranked"):
        rank(numbered("t", np.arange(300) % 3), None, ["features:none.npz", "features:nil.npz"], race=1)


@given(st.lists(st.integers(2, 90), min_size=2, max_size=12), st.integers(20, 200), st.integers(0, 5))
def test_samples_hold_every_class_and_measure_in_proportion(counts, size, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    settings = replace(SETTINGS, seed=seed)
    target = prepare(numbered("t", labels), settings)
    reference = prepare(numbered("r", np.arange(60) % 20), settings)
    sampler = Sampler(target, [reference], settings)
    sample = sampler(size)
    rows = sample.target.dataset.rows
    held = np.bincount(labels[rows])
    assert (held >= np.minimum(counts, LEAST_ROWS)).all()
    drawn = rows[sample.drawn]
    assert set(drawn) == set(nested_order(target.dataset, seed)[:size])
    n = min(size, len(labels))
    assert (np.abs(np.bincount(labels[drawn], minlength=len(counts)) - n * np.array(counts) / len(labels)) <= 2.5).all()
    assert sample.sizes == (len(rows), 60)  # eight rows of each of its classes are more than it has
    assert set(rows) <= set(sampler(2 * size).target.dataset.rows)
