"""The summary: what a report says, before it is a page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from transferability.display.frozen import FrozenEncoder
from transferability.errors import TaskError
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.ranking.entry import LinearProbe, Ranked
from transferability.ranking.result import Ranking
from transferability.relatedness.results.result import Relatedness
from transferability.report.narrative import answer
from transferability.report.relation_narrative import relation_answer, relation_on_new_data
from transferability.report.render import to_html, to_json, to_markdown
from transferability.report.result_narrative import certificate_in_words, points_in_words
from transferability.report.summarize import summarize


def test_a_summary_is_json_and_says_what_the_ranking_says(ranking: Ranking) -> None:
    summary = summarize(ranking)
    assert json.loads(to_json(summary)) == summary
    (part,) = summary["parts"]
    assert [entry["name"] for entry in part["entries"]] == [entry.encoder for entry in ranking.entries]
    for entry, ranked in zip(part["entries"], ranking.entries, strict=True):
        result = entry["result"]
        assert result["bound"] == ranked.relatedness.bound
        assert sum(row["cost"] for row in result["classes"]) == pytest.approx(result["bound"])
        assert [each["bound"] for each in result["panel"]] == [each.bound for each in ranked.relatedness.references]
        assert result["points"] is not None
        for row in result["classes"]:
            assert len(row["samples"]) == len(row["reference_samples"]) == 3
            assert all(key in summary["samples"] for key in row["samples"])
    assert [each["encoder"] for each in part["skipped"]] == ["python:broken"]
    assert [each["score"] for each in part["agreement"]] == [
        "transferred_accuracy",
        "transferred_loss",
        "bound",
        "logme",
    ]
    assert (part["criterion"], part["quantity"]) == ("transferred_accuracy", "transferred_accuracy")
    assert part["matrix"]["columns"] == ["lines", "edges"]
    made = part["made"]
    assert made["settings"]["test_share"] == 0.3
    assert made["estimator"]["tau"] == [0.1, 0.2]
    assert {each["role"] for each in made["data"]} == {"target", "reference"}
    assert "numpy" in made["versions"]


def test_agreement_of_few_encoders_has_no_interval(ranking: Ranking) -> None:
    """Of fewer than five: null in JSON, and nothing in the caption."""

    def said(entries: tuple[Ranked, ...]) -> tuple[list[Any], list[str]]:
        summary = summarize(replace(ranking, entries=entries))
        ends = [each["kendall"]["low"] for each in json.loads(to_json(summary))["parts"][0]["agreement"]]
        return ends, re.findall(r"Kendall ([^,]*), Pearson", to_html(summary))

    few = tuple(
        replace(entry, encoder=f"e{n}", probe=LinearProbe(0.6 + n / 100 * (-1) ** n, 1.0))
        for n, entry in enumerate(ranking.entries)
    )
    assert len(few) < 5
    ends, captions = said(few)
    assert ends
    assert set(ends) == {None}
    assert captions
    assert not any(" " in each for each in captions)
    more = tuple(replace(entry, encoder=f"{entry.encoder} {n}") for n in range(2) for entry in few)
    ends, captions = said(more)
    assert None not in ends
    assert all(" to " in each for each in captions)


def test_the_answer_names_the_choice_how_sure_and_the_price(ranking: Ranking) -> None:
    said = summarize(ranking)["parts"][0]["answer"]
    best, second = ranking.entries[:2]
    assert said["headline"] == f"Take {best.encoder} for bands."
    assert second.encoder in said["sentence"]
    assert "(about 95 % confidence)" in said["sentence"]
    assert "linear probe" in said["sentence"]


def test_of_folds_and_of_bounds_it_is_about_95_percent_confident() -> None:
    for part, how in (("test", "with 95 %"), ("folds", "with about 95 %")):
        entries = [entry("a", 1, 0.9), entry("b", 1.2, 0.8, 0.3)]
        for each in entries:
            each["result"]["evaluated_on"] = part
        said = answer("t", "transferred_accuracy", entries, None)
        assert re.match(rf"on new data .*, {how} confidence for all", said["facts"][0]["note"])
        assert f"new data too ({how.removeprefix('with ')} confidence)" in said["sentence"]
        assert "on other rows too (about 95 % confidence)" in answer("t", "bound", entries, None)["sentence"]
        standing = {"low": 0.8, "high": 0.95, "n_shared": 2}
        assert (
            relation_on_new_data(standing, part)
            == f"on new data 80.0 – 95.0 %, {how} confidence for 2 references at once"
        )


def test_each_class_shows_the_points_that_it_loses(ranking: Ranking, relations: list[Relatedness]) -> None:
    for results in (ranking, relations):
        summary = summarize(results)
        page, markdown = to_html(summary), to_markdown(summary)
        result = summary["parts"][0]["entries"][0]["result"]
        written = [row["points_lost"].replace(" + ", " ").replace(" − ", " -").split() for row in result["classes"]]
        lost = [[float(each) for each in three] for three in written]
        assert np.shape(lost) == (len(result["classes"]), 3)
        assert np.sum(lost) == pytest.approx(100 * (1 - result["transferred_accuracy"]), abs=0.05 * 3 * len(lost))
        assert '<th scope="col" title="Points of accuracy, of all rows' in page
        for row in result["classes"]:
            assert row["points_lost"] in page
            assert f"| {row['points_lost']} |" in markdown
    names = ("accuracy_lost_on_reference", "accuracy_lost_to_labels", "accuracy_lost_on_target")
    assert points_in_words(dict(zip(names, (0.0331, -0.0, -0.021), strict=True))) == "3.3 + 0.0 − 2.1"
    assert points_in_words({"accuracy_lost_on_reference": None}) == "–"


def entry(name: str, bound: float, accuracy: float | None, p_best: float = 1.0) -> dict:
    result = {"bound": bound, "reference": "r", "evaluated_on": "test", "transferred_loss": bound / 4}
    result |= {
        "certified": True,
        "transferred_accuracy": accuracy,
        "chance": 0.1,
        "transferability": 0.2,
        "transferability_accuracy": accuracy,
    }
    if accuracy is None:
        result["transferred_loss"] = None
    standing = {"low": bound - 0.1, "high": bound + 0.1, "p_best": p_best}
    return {"name": name, "accuracy": accuracy, "standing": standing, "scores": {"logme": bound}, "result": result}


def test_no_encoder_is_recommended_where_none_is_above_chance() -> None:
    below, above = [entry("a", 2.3, 0.1), entry("b", 2.4, 0.05)], entry("c", 2.0, 0.2)
    headline = answer("t", "transferred_accuracy", below, None)["headline"]
    assert headline == "No encoder of these does better than chance on t."
    assert answer("t", "transferred_accuracy", [above, *below], None)["headline"] == "Take c for t."


@pytest.mark.parametrize(
    ("accuracies", "headline"),
    [
        ((0.2, 0.05), "Take a for t."),
        ((0.1, 0.05), "No encoder that was fine-tuned does better than chance on t."),
        ((0.05, 0.2), "Fine-tuned, a does no better than chance on t."),  # b left the race before
    ],
)
def test_no_encoder_is_recommended_that_is_not_above_chance_after_fine_tuning(accuracies, headline) -> None:
    tuned = [
        Confirmed(name, accuracy, 0.3, 12 - 9 * number, finished=not number)
        for number, (name, accuracy) in enumerate(zip("ab", accuracies, strict=True))
    ]
    confirmation = Confirmation("t", 100, (*tuned, Confirmed("c", None, note="it cannot")), (3, 12)).to_dict()
    entries = [entry("b", 2.0, 0.4), entry("a", 2.1, 0.3), entry("c", 2.2, 0.2)]
    assert answer("t", "transferred_accuracy", entries, None, confirmation)["headline"] == headline


@pytest.mark.parametrize(
    ("epoch", "headline", "label"),
    [(0, "Take a as it is for t.", "Accuracy as it is"), (2, "Take a for t.", "Fine-tuned accuracy")],
)
def test_what_fine_tuning_did_not_improve_is_taken_as_it_is(epoch, headline, label) -> None:
    tuned = Confirmed("a", 0.793, 0.793, 12, finished=True, best_epoch=epoch)
    confirmation = Confirmation("t", 100, (tuned,), (12,)).to_dict()
    found = answer("t", "transferred_accuracy", [entry("a", 2.1, 0.3)], None, confirmation)
    assert found["headline"] == headline
    assert found["facts"][0]["label"] == label


def test_the_answer_names_an_encoder_that_does_better_as_it_is() -> None:
    tuned = (Confirmed("a", 0.793, 0.7, 12, finished=True), Confirmed("pixels", None, note="it cannot"))
    confirmation = Confirmation("t", 100, tuned, (12,)).to_dict()
    entries = [entry("pixels", 2.0, 0.97), entry("a", 2.1, 0.3)]
    plain = answer("t", "transferred_accuracy", entries, None, confirmation)
    assert plain["headline"] == "Take a for t."
    assert plain["sentence"].endswith("; before fine-tuning, pixels was first.")
    frozen = FrozenEncoder("pixels", 0.96, "pixels cannot be fine-tuned: take it as it is.")
    found = answer("t", "transferred_accuracy", entries, None, confirmation, frozen=frozen)
    assert found["headline"] == "Take pixels as it is for t."
    assert found["sentence"] == f"{plain['sentence']} {frozen.in_words}"
    assert found["facts"][0]["note"].startswith("of a; on new data ")
    shown = {fact["label"]: fact["value"] for fact in found["facts"]}
    assert shown["Transferred accuracy"] == "97.0 %"  # of what is to be taken
    at_chance = Confirmation("t", 100, (Confirmed("a", 0.1, 0.1, 12, finished=True),), (12,)).to_dict()
    found = answer("t", "transferred_accuracy", entries, None, at_chance, frozen=frozen)
    assert found["headline"] == "Take pixels as it is for t."


unsure = {"standing": None}


@pytest.mark.parametrize(
    ("entries", "criterion", "words"),
    [
        (
            [entry("a", 1, 0.9), entry("b", 2, 0.8, 0.0)],
            "bound",
            "below that of b; no other encoder can have the small",
        ),
        (
            [entry("a", 1, 0.8), entry("b", 1.1, 0.9, 0.3)],
            "bound",
            "below that of b, which can have the smallest bound on other rows too (about 95 %",
        ),
        (
            [entry("a", 1, 0.8), entry("b", 1.1, 0.9, 0.03)],
            "bound",
            "(about 95 % confidence); by the probe, the runner-up does best",
        ),
        ([entry("a", 1, 0.8), entry("b", 1.1, 0.9, 0.15)], "bound", "being wrong would cost about 10.0 points"),
        ([entry("a", 1, None), entry("b", 1.1, None, 0.01)], "bound", "nothing can be said of what a wrong choice"),
        ([entry("a", 1, 0.8)], "bound", "the only encoder"),
        (
            [entry("a", 1, 0.8), entry("b", 1.2, 0.9, 0.03)],
            "transferred_loss",
            "Its transferred loss is 0.250 nats, 0.050 less than that of b; no other encoder can lose least on new "
            "data (95 % confidence); by the probe, the runner-up does best",
        ),
        ([entry("a", 1, 0.8) | unsure, entry("b", 1.2, 0.7) | unsure], "transferred_loss", "less than that of b; no"),
        ([entry("a", 1, 0.8), entry("b", 1.2, None)], "transferred_loss", "that of b is not known"),
        (
            [entry("a", 1, 0.925), *(entry(name, 1.2, 0.9, 0.2) for name in "bcdef"), entry("g", 1.3, 0.5, 0.001)],
            "transferred_accuracy",
            "Its transferred accuracy is 92.5 %, 2.5 points more than that of b, which can be the most "
            "accurate on new data too, as can c, d, e and 1 more (95 % confidence); no other",
        ),
        (
            [entry("a", 1, 0.9), entry("b", 1.2, 0.9, 0.5)],
            "transferred_accuracy",
            "is 90.0 %; its loss is 0.050 nats below that of the equally accurate b, which can be the most accurate on "
            "new data too (95 % confidence); no other",
        ),
        (
            [entry("a", 1, 0.9), entry("b", 1.2, 0.8, 0.01), *(entry(name, 1.2, 0.95, 0.2) for name in "cd")],
            "transferred_accuracy",
            "more than that of b; c and d can be the most accurate on new data too (95 % confidence); by the probe, c",
        ),
        ([entry("a", 1, 0.8) | unsure, entry("b", 1.2, 0.7) | unsure], "transferred_accuracy", "than that of b; no"),
        ([entry("a", 1, 0.8), entry("b", 1.2, None)], "transferred_accuracy", "is 80.0 %; that of b is not known"),
        ([entry("a", 0.5, 0.8), entry("b", 0.25, 0.9)], "logme", "By logme it leads b with 0.5000 against 0.2500"),
    ],
)
def test_the_answer_in_every_case(entries: list[dict], criterion: str, words: str) -> None:
    truth = None if entries[0]["accuracy"] is None else "probe"
    sentence = answer("t", criterion, entries, truth)["sentence"]
    assert words in sentence
    assert len(re.findall(r"\bb\b", sentence)) <= 1  # the runner-up is named once


@pytest.mark.parametrize(
    ("criterion", "of", "interval", "behind"),
    [
        ("transferred_accuracy", "Transferred accuracy", "90.0 – 110.0 %", "accuracy -5.0 points"),
        ("transferred_loss", "Transferred loss", "0.900 – 1.100", "loss +0.050 nats"),
        ("bound", "Bound on the transferred loss", "0.900 – 1.100", "bound +0.200 nats"),
        ("logme", "Transferred accuracy", "90.0 – 110.0 %", "accuracy -5.0 points"),
    ],
)
def test_the_interval_stands_with_what_it_is_of(criterion: str, of: str, interval: str, behind: str) -> None:
    said = answer("t", criterion, [entry("a", 1, 0.85), entry("b", 1.2, 0.8)], "probe")
    assert said["facts"][0]["label"] == of
    assert [each["label"] for each in said["facts"] if interval in each["note"]] == [of]
    assert said["facts"][-1]["note"] == behind
    shown = next(each for each in said["facts"] if each["label"].startswith("Transferred"))
    assert shown["value"] == ("85.0 %" if of == "Transferred accuracy" else "0.250 nats")
    assert ("loss 0.250 nats" if of == "Transferred accuracy" else "accuracy 85.0 %") in shown["note"]
    bare = answer("t", "bound", [entry("a", 1, None)], None)
    assert [each["label"] for each in bare["facts"]] == ["Bound on the transferred loss"]


def test_the_table_marks_what_orders_and_shows_what_is_promised(ranking: Ranking) -> None:
    for criterion in ("transferred_accuracy", "transferred_loss", "bound"):
        by = Ranking.sort(ranking.entries, [], criterion, ranking.columns, "bands", ranking.references)
        page, text = to_html(summarize(by)), to_markdown(summarize(by))
        for each, standing in zip(by.entries, by.standings, strict=True):
            value, interval = f"{each.value(criterion):.3f}", f"{standing.low:.3f} – {standing.high:.3f}"
            if criterion == "transferred_accuracy":
                value = f"{100 * each.value(criterion):.1f} %"
                interval = f"{100 * standing.low:.1f} – {100 * standing.high:.1f} %"
            assert f"<b>{value}</b>" in page
            assert f">{interval}<" in page
            result = each.relatedness
            assert f" {100 * result.transferred_accuracy:.1f} % |" in text
            assert f" {result.transferred_loss:.3f} |" in text
            assert f" {result.bound:.3f} |" in text


def test_measured_accuracies_take_the_place_of_the_stand_in(ranking: Ranking) -> None:
    names = [each.encoder for each in ranking.entries]
    accuracies = dict(zip(names, (0.7, 0.9, 0.5), strict=True))
    for target in ("bands", ""):
        part = summarize(ranking, {target: accuracies})["parts"][0]
        assert [entry["accuracy"] for entry in part["entries"]] == [0.7, 0.9, 0.5]
    assert part["truth"] == "measured accuracy"
    assert "by the measured accuracy, the runner-up does best" in part["answer"]["sentence"]
    assert "20.0 points" in part["answer"]["sentence"]
    unknown = summarize(ranking, {"another": accuracies})["parts"][0]
    assert unknown["truth"] is None
    assert unknown["agreement"] == []


def test_nothing_cannot_be_summarized() -> None:
    with pytest.raises(TaskError, match="at least one ranking"):
        summarize([])


def test_the_own_half_is_said_in_words() -> None:
    result = entry("a", 1, 0.9)["result"] | {"target": "photos", "reference": "own other half", "solver": "alternating"}
    result |= {"ridge": 1.0, "certificate": "Certified.", "exact_transport": True}
    assert certificate_in_words(result).startswith(
        "The classifier trained on one half of photos, transferred to the other half by the fitted map, has a mean loss"
    )
    assert relation_answer([result], None)["headline"] == "photos is most like its own other half."
