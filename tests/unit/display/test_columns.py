"""One table of columns: the same names in every place that shows a ranking, and what each says of an entry."""

from __future__ import annotations

import json

import numpy as np
import pytest

from transferability import Task, TaskRelatedness
from transferability.display.column_table import COLUMNS
from transferability.display.columns import shown_columns, sort_key
from transferability.display.formats import FORMATS
from transferability.display.front import cost_column, mark_front
from transferability.display.layout import spread
from transferability.errors import OptionError, UnknownNameError
from transferability.ranking.entry import EncoderCost, LinearProbe, Ranked, ScoreColumn
from transferability.ranking.result import Ranking
from transferability.relatedness.results.summary import RelatednessSummary
from transferability.report.render import to_html, to_markdown
from transferability.report.summarize import summarize


def entry(name: str, seed: int, speed: float | None, **options: object) -> Ranked:
    labels = np.arange(90) % 3
    rng = np.random.default_rng(seed)
    means = (1 + 1.5 * seed) * np.eye(3, 5)
    tasks = [Task(means[labels] + rng.normal(size=(90, 5)), labels, each) for each in ("r", "t")]
    result = TaskRelatedness(1.0).fit(*tasks, folds=3)
    cost = EncoderCost(speed, 5, "224 × 224", 10**9, "MIT", 1.0, 2.0, 3.0)
    return Ranked(name, 10**6, result, {"logme": 0.5 - seed}, {}, 6.0, (), LinearProbe(0.9, 0.3), cost, **options)


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    entries = [entry("slow", 2, 10.0), entry("fast", 1, 100.0), entry("bad", 0, 50.0)]
    return Ranking.sort(entries, [], None, [ScoreColumn("logme", higher_is_better=True)], "t", ["r"])


def test_keys_and_titles_are_each_given_once() -> None:
    assert len({column.key for column in COLUMNS}) == len({column.title for column in COLUMNS}) == len(COLUMNS)
    assert all(column.explanation.endswith(".") for column in COLUMNS)


def test_frame_json_and_pandas_have_the_same_names(ranking: Ranking) -> None:
    record = json.loads(json.dumps(ranking.to_dict()))
    names = [field["key"] for field in record["fields"]]
    assert list(ranking.frame()[0]) == names == list(ranking.to_pandas().columns)
    for row, found in zip(ranking.frame(), record["ranking"], strict=True):
        assert {**found["scores"], **found}["logme"] == row["logme"]
        assert {name: found[name] for name in names if name != "logme"} == {
            k: v for k, v in row.items() if k != "logme"
        }


def test_every_table_shows_the_same_titles_and_texts(ranking: Ranking) -> None:
    record = ranking.to_dict()
    page, text, cell = to_html(summarize(ranking)), to_markdown(summarize(ranking)), ranking._repr_html_()
    for column in shown_columns(record["ranking"], record["columns"], record["criterion"]):
        title = column.title if column.key == "logme" else column.title[:1].upper() + column.title[1:]
        assert f"{title}</th>" in page
        assert f">{column.title}<" in cell
        assert f" {column.title} |".replace("#", "\\#") in text
        if column.key != "on_front":
            for found in record["ranking"]:
                assert f">{column.show(found)}<" in page.replace("<bdi>", "").replace("<b>", "")
                assert f">{column.show(found)}<" in cell


@pytest.mark.parametrize("column", [each for each in COLUMNS if each.higher_is_better is not None], ids=lambda c: c.key)
def test_every_column_with_a_direction_sorts(ranking: Ranking, column) -> None:
    if all(column.value(record) is None for record in ranking.records):
        with pytest.raises(OptionError, match="is known of none"):
            Ranking.sort(ranking.entries, [], column.key, ranking.columns, "t", ["r"])
        return
    for name in (column.key, column.title):
        by = Ranking.sort(ranking.entries, [], name, ranking.columns, "t", ["r"])
        values = [column.value(record) for record in by.records]
        assert values == sorted(values, reverse=bool(column.higher_is_better))
        assert by.criterion == column.key


def test_short_names_sort_and_unknown_ones_are_refused(ranking: Ranking) -> None:
    assert sort_key("accuracy") == "transferred_accuracy"
    assert sort_key("linear_probe") == "linear_probe"  # a score of the registry
    with pytest.raises(UnknownNameError, match="Did you mean 'logme'"):
        Ranking.sort(ranking.entries, [], "logm", ranking.columns, "t", ["r"])


def test_the_front_is_what_nobody_beats_in_both(ranking: Ranking) -> None:
    assert {record["encoder"]: record["on_front"] for record in ranking.records} == {
        "slow": True, "fast": True, "bad": False,
    }  # fmt: skip
    assert cost_column(ranking.records).key == "seconds_per_item"
    without = [record | {"cost": None} for record in ranking.records]
    assert cost_column(without).key == "n_parameters"
    assert mark_front(without) == [True, False, False]  # the same cost: the most accurate alone
    assert mark_front([record | {"n_parameters": None} for record in without]) == [None] * 3


def test_a_ranking_is_read_like_a_sequence(ranking: Ranking) -> None:
    assert len(ranking) == 3
    assert [each.encoder for each in ranking] == [each.encoder for each in ranking[:]] == ["slow", "fast", "bad"]
    assert ranking["fast"] is ranking[1]
    assert repr(ranking).startswith("Ranking('t', 3 encoders by transferred_accuracy: 1. slow: ")
    with pytest.raises(UnknownNameError, match="Did you mean 'fast'"):
        ranking["fats"]


def test_a_summary_comes_back_from_its_record(ranking: Ranking) -> None:
    for each in ranking:
        record = json.loads(json.dumps(each.relatedness.to_dict()))
        result = each.relatedness
        arrays = {"transferred_losses": result.transferred_losses, "transferred_correct": result.transferred_correct}
        assert RelatednessSummary.from_dict(record, **arrays).to_dict() == record
        again = RelatednessSummary.from_dict(record)  # what lies on new data is known by the rows, not by their mean
        assert again.to_dict() == record | {"standing": None}
        assert type(again) is RelatednessSummary
        assert again.bound == each.relatedness.bound


def test_results_predict_and_score(ranking: Ranking) -> None:
    labels = np.arange(90) % 3
    features = 5 * np.eye(3, 5)[labels]
    result = ranking.best.relatedness
    assert (result.predict(features) == result.predict_proba(features).argmax(axis=1)).all()  # type: ignore[attr-defined]
    assert result.score(features, labels) == result.score(features, labels.astype(str)) == 1.0  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="'x' is none"):
        result.score(features, ["x"] * 90)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="from 0 to 2"):
        result.score(features, labels + 1)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="one entry per row"):
        result.score(features, labels[:5])  # type: ignore[attr-defined]


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_labels_are_apart_and_within(n: int) -> None:
    places = np.random.default_rng(n).random(n).round(1).tolist()
    found = spread(places, 0.05, 0.0, 1.0)
    assert min(found) >= -1e-12
    assert max(found) <= 1 + 1e-12
    gaps = np.diff(np.sort(found))
    assert n == 1 or gaps.min() >= min(0.05, 1 / (n - 1)) - 1e-9
    assert [places[k] for k in np.argsort(found, kind="stable")] == sorted(places)


def test_a_loss_of_nothing_has_no_minus() -> None:
    assert [FORMATS["points"](value) for value in (-1e-6, 0.0, 0.05, -0.025, None)] == [
        "+0.0",
        "+0.0",
        "+5.0",
        "-2.5",
        "–",
    ]
