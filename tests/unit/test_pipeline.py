"""`rank` and `relate` on data sets built in memory, with encoders that are plain functions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bands import BROKEN, FAR, GOOD, NOISE, REFERENCE, SETTINGS, TARGET, WORDS, stripes

from transferability import TaskRelatedness, scores
from transferability.cli.show import caveats
from transferability.errors import DatasetError, LabelError, OptionError, TaskError, UnknownNameError
from transferability.features import extract_features
from transferability.pipeline import Settings, make_pack, measure, prepare, rank, relate
from transferability.ranking.result import Ranked, Ranking, ScoreColumn

# ── rank ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_encoder_that_sees_the_classes_comes_first() -> None:
    ranking = rank(TARGET, REFERENCE, [NOISE, GOOD], settings=SETTINGS)
    assert [entry.encoder for entry in ranking.entries] == ["rows", "noise"]
    assert ranking.best.encoder == "rows"
    assert (ranking.target, ranking.references, ranking.criterion) == ("bands", ("lines",), "transferred_accuracy")
    best, worst = (entry.relatedness for entry in ranking.entries)
    assert best.transferred_accuracy > worst.transferred_accuracy
    assert (best.tau, worst.tau) == pytest.approx((32 / np.sqrt(12), 32 / np.sqrt(6)))  # as many features
    assert best.evaluated_on == "folds"
    assert len(best.transferred_correct) == len(TARGET)
    assert best.transferred_accuracy == 1
    assert best.class_map.tolist() == [0, 1, 2]
    assert best.target_class_names == ("top", "middle", "bottom")  # type: ignore[attr-defined]
    for entry in ranking.entries:
        assert entry.relatedness.certified
        assert entry.relatedness.bound >= entry.relatedness.transferred_loss
    assert json.loads(json.dumps(ranking.to_dict(), allow_nan=False))["schema"] == 1


def test_of_a_panel_the_nearest_reference_is_named() -> None:
    ranking = rank(TARGET, [FAR, REFERENCE], [GOOD], relatedness=TaskRelatedness(learn_map=False), settings=SETTINGS)
    assert ranking.references == ("negatives", "lines")
    result = ranking.best.relatedness
    assert [each.reference for each in result.references] == ["negatives", "lines"]
    assert result.bound == min(each.bound for each in result.references)
    assert ranking.to_dict()["ranking"][0]["relatedness"]["reference"] == result.reference


def test_one_encoder_that_fails_is_skipped_with_its_reason() -> None:
    ranking = rank(TARGET, REFERENCE, [BROKEN, GOOD, WORDS, "timm"], settings=SETTINGS)
    assert [entry.encoder for entry in ranking.entries] == ["rows"]
    reasons = {each.encoder: each.reason for each in ranking.skipped}
    assert list(reasons) == ["broken", "words", "timm"]
    assert "NaN" in reasons["broken"]
    assert "text" in reasons["words"]
    assert ranking.to_dict()["skipped"][0] == {"encoder": "broken", "reason": reasons["broken"]}


@pytest.mark.parametrize(
    ("owner", "place", "name"),
    [(TaskRelatedness, "fit", "the transfer"), (measure, "cross_fitted_probe", "the linear probe")],
)
def test_an_encoder_of_which_a_matrix_cannot_be_factorised_is_skipped(
    monkeypatch: pytest.MonkeyPatch, owner: Any, place: str, name: str
) -> None:
    original, calls = getattr(owner, place), []

    def first_fails(*given: object, **options: object) -> object:
        calls.append(place)
        if len(calls) == 1:
            raise np.linalg.LinAlgError("Matrix is singular")
        return original(*given, **options)

    monkeypatch.setattr(owner, place, first_fails)
    ranking = rank(TARGET, REFERENCE, [NOISE, GOOD], settings=replace(SETTINGS, folds=3))
    assert [entry.encoder for entry in ranking.entries] == ["rows"]
    assert f"double precision resolves them; {name} met" in ranking.skipped[0].reason


def test_when_every_encoder_fails_all_reasons_are_told() -> None:
    with pytest.raises(TaskError, match=r"no encoder could be ranked\. broken: .*NaN.*; words: .*text"):
        rank(TARGET, REFERENCE, [BROKEN, WORDS], settings=SETTINGS)


@pytest.mark.parametrize("criterion", ["logme", "leep", "knn"])
def test_scores_stand_beside_the_bound_and_can_sort(criterion: str) -> None:
    ranking = rank(TARGET, REFERENCE, [NOISE, GOOD], scores=["h_score"], criterion=criterion, settings=SETTINGS)
    assert [entry.encoder for entry in ranking.entries] == ["rows", "noise"]
    assert [column.name for column in ranking.columns] == ["h_score", criterion]
    for entry in ranking.entries:
        assert set(entry.scores) == {"h_score", criterion}
    fit, test = prepare(TARGET, SETTINGS).target_tasks(extract_features(GOOD, TARGET, cache=False))
    assert (len(fit), test) == (len(TARGET), None)  # cross-fitted: scores see all rows
    expected = float(scores.h_score(fit.features, fit.labels))
    assert ranking.best.scores["h_score"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("criterion", ["transferred_accuracy", "transferred_loss", "bound", "logme"])
def test_any_criterion_has_a_value_and_sorts(criterion: str) -> None:
    ranking = rank(TARGET, REFERENCE, [NOISE, GOOD], criterion=criterion, settings=SETTINGS)
    values = [entry.value(criterion) for entry in ranking.entries]
    assert ranking.criterion == criterion
    assert values == sorted(values, reverse=criterion in ("transferred_accuracy", "logme"))
    for entry in ranking.entries:
        expected = (
            entry.scores if criterion == "logme" else vars(entry.relatedness) | {"bound": entry.relatedness.bound}
        )
        assert entry.value(criterion) == expected[criterion]


def test_the_quantities_need_not_agree_and_the_criterion_decides() -> None:
    ranking = rank(TARGET, REFERENCE, [NOISE, GOOD], settings=SETTINGS)
    rows, noise = ranking.entries
    # The first keeps its accuracy and its bound and loses more.
    dear = replace(rows.relatedness, transferred_loss=noise.relatedness.transferred_loss + 1)
    entries = [noise, replace(rows, relatedness=dear)]
    by = {
        criterion: Ranking.sort(entries, [], criterion, [], "bands", ["lines"])
        for criterion in (None, "transferred_accuracy", "transferred_loss", "bound")
    }
    assert [each.criterion for each in by.values()] == ["transferred_accuracy", *list(by)[1:]]
    assert [each.best.encoder for each in by.values()] == ["rows", "rows", "noise", "rows"]


def test_ties_in_accuracy_go_to_the_smaller_loss_and_only_those() -> None:
    some = rank(TARGET, REFERENCE, [GOOD], settings=SETTINGS).best

    def entry(name: str, accuracy: float | None, loss: float | None) -> Ranked:
        result = replace(some.relatedness, transferred_accuracy=accuracy, transferred_loss=loss)
        return replace(some, encoder=name, relatedness=result)

    entries = [entry("unknown", None, None), entry("second", 0.75, 0.5), entry("third", 0.5, 0.1)]
    entries += [entry("first", 0.75, 0.4)]
    by_accuracy = Ranking.sort(entries, [], "transferred_accuracy", [], "bands", ["lines"])
    assert [each.encoder for each in by_accuracy.entries] == ["first", "second", "third", "unknown"]
    by_loss = Ranking.sort(entries, [], "transferred_loss", [], "bands", ["lines"])
    assert [each.encoder for each in by_loss.entries] == ["third", "first", "second", "unknown"]
    # One that is not known, and nothing is sorted by it unless somebody asks.
    assert Ranking.sort(entries, [], None, [], "bands", ["lines"]).criterion == "bound"
    assert Ranking.sort(entries[1:], [], None, [], "bands", ["lines"]).criterion == "transferred_accuracy"
    for criterion in ("transferred_accuracy", "transferred_loss"):
        with pytest.raises(OptionError, match=f"must not be '{criterion}' for target 'bands'"):
            Ranking.sort(entries[:1], [], criterion, [], "bands", ["lines"])
    # What it says of new data: the accuracy wherever one is known, for a score too.
    logme = ScoreColumn("logme", higher_is_better=True)
    scored = [replace(each, scores={"logme": 0.1}) for each in entries]
    assert Ranking.sort(scored, [], "logme", [logme], "bands", ["lines"]).quantity == "transferred_accuracy"
    assert Ranking.sort(scored[1:], [], "logme", [logme], "bands", ["lines"]).quantity == "transferred_accuracy"
    assert Ranking.sort(scored[:1], [], "logme", [logme], "bands", ["lines"]).quantity == "bound"


def test_each_sample_is_right_or_wrong_and_the_interval_is_of_their_share() -> None:
    ranking = rank(TARGET, REFERENCE, [NOISE, GOOD], settings=SETTINGS)
    for entry, standing in zip(ranking.entries, ranking.standings, strict=True):
        result = entry.relatedness
        correct = entry.per_sample("transferred_accuracy")
        assert (correct.dtype, correct.shape) == (np.dtype(bool), result.transferred_losses.shape)
        assert correct.mean() == result.transferred_accuracy
        assert standing.low <= result.transferred_accuracy <= standing.high
    assert ranking.p_best[0] == 1 > 0.05 > ranking.p_best[1]  # of noise


def test_all_scores_at_once_and_what_could_not_be_computed_says_why() -> None:
    entry = rank(TARGET, REFERENCE, [GOOD], scores=["all"], settings=SETTINGS).best
    known = set(scores.available())
    assert set(entry.scores) | set(entry.notes) == known
    assert "size" not in entry.scores  # a function has no known number of parameters
    assert entry.notes["size"]
    assert "source classes are those of the reference 'lines'" in entry.notes["leep"]


def test_a_target_without_labels() -> None:
    for target, settings in (
        (stripes("bands", 0, labelled=False), SETTINGS),
        (TARGET, Settings(cache=False, use_labels=False)),
    ):
        ranking = rank(target, REFERENCE, [GOOD], scores=["logme"], settings=settings)
        result = ranking.best.relatedness
        assert not result.certified
        assert result.transferred_accuracy is None
        assert result.pseudo_labels is not None
        assert ranking.criterion == "bound"  # what the loss is under the true labels nobody knows
        for quantity in ("transferred_accuracy", "transferred_loss"):
            assert np.isnan(ranking.best.value(quantity))
            assert ranking.best.per_sample(quantity) is None
        assert ranking.standings[0].low <= result.bound <= ranking.standings[0].high
        assert np.isfinite(ranking.best.scores["logme"])
        assert ranking.best.notes["logme"]  # on guessed labels, and it says so
        json.dumps(ranking.to_dict(), allow_nan=False)


def test_labels_that_are_ignored_do_not_reach_the_tasks() -> None:
    parts = prepare(TARGET, SETTINGS).tasks(extract_features(GOOD, TARGET, cache=False), use_labels=False)
    assert [part.labels for part in parts] == [None, None]
    assert parts[0].n_classes == 3  # the names say how many there are


def test_of_two_references_of_one_name_the_scores_use_the_one_that_stands() -> None:
    twin = stripes("lines", 3, inverted=True)
    estimator = TaskRelatedness(learn_map=False)
    for panel in ([REFERENCE, twin], [twin, REFERENCE]):
        both = rank(TARGET, panel, [GOOD], relatedness=estimator, scores=["ot_nce"], settings=SETTINGS).best
        alone = rank(TARGET, REFERENCE, [GOOD], relatedness=estimator, scores=["ot_nce"], settings=SETTINGS).best
        assert both.relatedness.bound == alone.relatedness.bound
        assert both.scores == alone.scores


def test_the_same_seed_gives_the_same_ranking() -> None:
    one, two = (rank(TARGET, REFERENCE, [GOOD, NOISE], settings=SETTINGS) for _ in range(2))
    assert [entry.relatedness.bound for entry in one.entries] == [entry.relatedness.bound for entry in two.entries]
    other = rank(TARGET, REFERENCE, [GOOD], settings=Settings(cache=False, seed=5))
    assert other.best.relatedness.bound != one.best.relatedness.bound


def test_progress_is_reported_in_words() -> None:
    said: list[tuple[str, int, int]] = []
    rank(TARGET, REFERENCE, [GOOD], settings=SETTINGS, progress=lambda *each: said.append(each))
    assert {what for what, _, _ in said} == {"rows: bands", "rows: lines", "rows: relatedness"}
    assert ("rows: bands", 60, 60) in said


def test_data_given_by_name_are_limited_and_split() -> None:
    part = prepare("packaged:digits", Settings(limit=100, test_share=0.4))
    assert len(part.dataset) == 100
    assert len(part.test_rows) == pytest.approx(40, abs=5)
    assert not set(part.fit_rows) & set(part.test_rows)
    assert set(part.dataset.labels[part.test_rows]) == set(range(10))


def test_a_score_to_sort_by_is_computed() -> None:
    ranking = rank(TARGET, REFERENCE, [GOOD, NOISE], criterion="logme", settings=SETTINGS)
    values = [entry.scores["logme"] for entry in ranking]
    assert values == sorted(values, reverse=True)
    assert "not_sorted_by" not in ranking.provenance


@pytest.mark.parametrize("criterion", ["size", "n_parameters", "ridge_all_layers"])
def test_what_no_encoder_has_sorts_nothing_and_that_is_said(criterion: str) -> None:
    ranking = rank(TARGET, REFERENCE, [GOOD, NOISE], criterion=criterion, settings=SETTINGS)
    assert ranking.criterion == "transferred_accuracy"
    assert ranking.provenance["not_sorted_by"] == criterion
    assert any("sorted by transferred accuracy: no encoder has a value of" in each for each in caveats(ranking))


def test_a_device_that_a_function_does_not_use_is_told_once() -> None:
    ranking = rank(TARGET, REFERENCE, [GOOD, NOISE], settings=replace(SETTINGS, device="gpu"))
    (said,) = [each for each in caveats(ranking) if "device" in each]
    assert said == "device: 'gpu' has no effect here: a function computes where its own code says. (all encoders)"
    assert not any("device" in each for each in caveats(rank(TARGET, REFERENCE, [GOOD], settings=SETTINGS)))


def test_faults_of_the_question_are_raised() -> None:
    with pytest.raises(UnknownNameError, match=r"no score is called 'logmee'\. Did you mean 'logme'"):
        rank(TARGET, REFERENCE, [GOOD], scores=["logmee"], settings=SETTINGS)
    with pytest.raises(UnknownNameError, match=r"no column or score is called 'bond'\. Did you mean 'bound'"):
        rank(TARGET, REFERENCE, [GOOD], criterion="bond", settings=SETTINGS)
    with pytest.raises(UnknownNameError, match=r"'qqq'\. Columns to sort by: .*bound.*transferability score --list"):
        rank(TARGET, REFERENCE, [GOOD], criterion="qqq", settings=SETTINGS)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'transferred_accuracy'"):
        rank(TARGET, REFERENCE, [GOOD], criterion="transfered_accuracy", settings=SETTINGS)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'transferred_loss'"):
        rank(TARGET, REFERENCE, [GOOD], criterion="transfered_loss", settings=SETTINGS)
    with pytest.raises(UnknownNameError, match=r"fine-tuned when the order is known \(--confirm 3\)"):
        rank(TARGET, REFERENCE, [GOOD], criterion="fine-tuned", settings=SETTINGS)
    with pytest.raises(
        UnknownNameError, match=r"nothing is sorted by 'licence', of which no value is better\. Columns"
    ):
        rank(TARGET, REFERENCE, [GOOD], criterion="licence", settings=SETTINGS)
    with pytest.raises(OptionError, match=r"'emms' needs embeddings of the class names, which a ranking has not"):
        rank(TARGET, REFERENCE, [GOOD], criterion="emms", settings=SETTINGS)
    with pytest.raises(DatasetError, match="there is no folder"):
        rank("folder:/no/such/folder", REFERENCE, [GOOD], settings=SETTINGS)
    with pytest.raises(OptionError, match="`test_share` must be between 0 and 1; got 1"):
        rank(TARGET, REFERENCE, [GOOD], settings=Settings(cache=False, test_share=1.0))
    with pytest.raises(TaskError, match=r"reference 'lines' has no labels, and a reference needs them"):
        rank(TARGET, stripes("lines", 1, labelled=False), [GOOD], settings=SETTINGS)


@pytest.mark.parametrize("criterion", ["transferred_accuracy", "transferred_loss"])
def test_what_nobody_knows_is_refused(criterion: str) -> None:
    told: list[str] = []
    bare, unlabelled = stripes("bands", 0, labelled=False), Settings(cache=False, use_labels=False)
    pack = make_pack(TARGET, GOOD, settings=SETTINGS)
    for target, settings in ((bare, SETTINGS), (TARGET, unlabelled), (pack, SETTINGS)):
        with pytest.raises(OptionError, match=rf"must not be '{criterion}' for target 'bands'.*Sort by 'bound'"):
            rank(
                target, REFERENCE, [GOOD], criterion=criterion, settings=settings,
                progress=lambda what, done, total: told.append(what),
            )  # fmt: skip
        if target is not bare:  # data without labels may get them from files of features
            assert told == []  # before anything was computed
        told.clear()


def test_by_statistics_accuracy_and_loss_are_known_where_the_target_has_samples() -> None:
    pack = make_pack(REFERENCE, GOOD, rows=0, settings=SETTINGS)
    ranking = rank(TARGET, pack, [GOOD], settings=SETTINGS)
    result = ranking.best.relatedness
    assert (ranking.criterion, result.solver, result.certified) == ("transferred_accuracy", "statistics", False)
    assert result.transferred_losses.mean() == pytest.approx(result.transferred_loss, rel=1e-6)
    assert result.transferred_correct.mean() == result.transferred_accuracy
    assert ranking.standings[0].low <= result.transferred_accuracy <= ranking.standings[0].high
    private = rank(make_pack(TARGET, GOOD, settings=SETTINGS), pack, [GOOD], settings=SETTINGS)
    assert private.criterion == "bound"
    assert private.standings == private.p_best == [None]


# ── relate ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_target_meets_every_reference() -> None:
    results = relate([REFERENCE, FAR], [TARGET, FAR], GOOD, settings=SETTINGS)
    assert [each.target for each in results] == ["bands", "negatives"]
    for result in results:
        assert [each.reference for each in result.references] == ["lines", "negatives"]
        assert all(each.certified and each.bound >= each.transferred_loss for each in result.references)
    taus = [each.tau for result in results for each in result.references]
    assert taus == pytest.approx([32 / np.sqrt(12)] * 4)


def test_one_of_each_needs_no_list() -> None:
    (result,) = relate(REFERENCE, TARGET, GOOD, settings=SETTINGS)
    assert result.references == (result,)


def test_relate_raises_what_rank_would_skip() -> None:
    with pytest.raises(LabelError, match="has no labels"):
        relate(stripes("lines", 1, labelled=False), TARGET, GOOD, settings=SETTINGS)


# ── the order ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("higher", "expected"), [(True, ["c", "a", "b"]), (False, ["a", "c", "b"])])
def test_best_first_and_unknown_last(higher: bool, expected: list[str]) -> None:
    scored = {"a": {"logme": 0.1}, "b": {}, "c": {"logme": 0.7}}
    entries = [Ranked(name, None, None, values, {}, 0.0) for name, values in scored.items()]
    columns = [ScoreColumn("logme", higher_is_better=higher)]
    assert [each.encoder for each in Ranking.sort(entries, [], "logme", columns, "t", ["r"]).entries] == expected
