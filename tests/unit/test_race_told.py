"""Whoever reads what a race left behind learns who left, when, on what evidence, and what it cost: everywhere."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from transferability.cli.app import app
from transferability.display.race import how_many_left, race_cells, race_headings, race_in_words, race_table
from transferability.pipeline import Settings, rank
from transferability.ranking.result import Ranking
from transferability.report.narrative import answer
from transferability.report.render import to_html, to_markdown
from transferability.report.summarize import summarize, summarize_records

STRENGTHS = {"good": 3.0, "poor": 0.3, "poorer": 0.0}
LEFT = "2 of 3 encoders left a race"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("race")
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    for name, strength in STRENGTHS.items():
        features = rng.normal(size=(400, 8)) + strength * np.eye(8)[labels]
        np.savez(folder / f"{name}.npz", features=features, labels=labels)
    return folder


def run(place: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(place)
    encoders = [word for name in STRENGTHS for word in ("-e", f"features:{name}.npz")]
    return CliRunner().invoke(app, ["rank", "features:good.npz", *encoders, *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def ranking(place: Path) -> Ranking:
    encoders = [f"features:{place}/{name}.npz" for name in STRENGTHS]
    return rank(f"features:{place}/good.npz", None, encoders, race=1, settings=Settings(cache=False))


def test_the_command_says_it_on_the_terminal_and_in_every_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(place, monkeypatch, "--race", "--out", "results", "--csv", "table.csv")
    assert done.exit_code == 0
    notices = " ".join(done.stderr.split())
    words = "A race began with 3 encoders: 2 left on samples of the target, 1 stayed to the end."
    cost = "It encoded 50.0 % of what a full ranking encodes (600 of 1,200 items)."
    assert f"{words} {cost} An encoder left when a paired test put it behind the first." in notices
    assert re.search(r"left after 100 rows: features:poor.npz, transferred accuracy \S+ % against \S+ % of ", notices)
    assert re.search(r"of features:good.npz; p = \d+e-\d+ that it is the first\.", notices)
    title, _, *rows = done.stdout.splitlines()
    assert f"; {LEFT})" in title  # with --quiet too
    assert len(rows) == 1

    page, text, readme = (
        Path("results", name).read_text("utf-8") for name in ("report.html", "report.md", "README.md")
    )
    for said in (page, text):
        assert "was ranked on all rows: 2 of 3 encoders left a race on samples of the target, each put behind" in said
        assert "so nothing can be said of a choice" not in said
    for said in (page, text.replace("\\", ""), readme):
        assert f"{words} {cost}" in said
    assert "<h2>The race</h2>" in page
    assert re.search(r"\| features:poor\.npz \| 100 \| [\d.]+ % \| features:good\.npz \| [\d.]+ % \| \d+e-\d+ \|", text)
    for cell in ("features:poor.npz", "features:poorer.npz"):
        assert f"<bdi>{cell}</bdi>" in page

    with Path("table.csv").open() as file:
        first, *left = csv.DictReader(file)
    assert (first["encoder"], first["left_after_rows"]) == ("features:good.npz", "")
    assert {each["encoder"] for each in left} == {"features:poor.npz", "features:poorer.npz"}
    for each in left:
        assert (each["place"], each["transferred_accuracy"], each["left_after_rows"]) == ("", "", "100")
        assert float(each["transferred_accuracy_when_left"]) < float(each["transferred_accuracy_of_left_behind"])
        assert (each["left_behind"], float(each["left_p_value"]) < 0.05) == ("features:good.npz", True)

    again = CliRunner().invoke(app, ["report", "results"], catch_exceptions=False)
    assert again.exit_code == 0
    assert Path("results", "report.html").read_text("utf-8") == page


def test_without_a_race_nothing_is_said_of_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(place, monkeypatch, "--out", "whole")
    said = [done.stdout, done.stderr, *(path.read_text("utf-8") for path in Path("whole").glob("*.[hm]*"))]
    assert len(said) == 5
    assert not any(re.search(r"\brace\b", each) for each in said)


def test_python_says_it_too(ranking: Ranking) -> None:
    assert repr(ranking).endswith(f"; {LEFT})")
    assert race_in_words(ranking.provenance["race"]) in ranking._repr_html_()
    record = json.loads(json.dumps(ranking.to_dict()))
    part = summarize(ranking)["parts"][0]
    assert part["answer"]["facts"][-1]["value"] == "2 left"
    assert to_html(summarize_records([(record, ranking.detail_records())])) == to_html(summarize(ranking))


def test_the_answer_counts_who_left_among_several(ranking: Ranking) -> None:
    part = summarize(ranking)["parts"][0]
    (best,) = part["entries"]
    other = best | {"name": "b", "place": 2, "accuracy": 0.1}
    race = ranking.provenance["race"]
    sentence = answer("t", "transferred_accuracy", [best, other], "probe", race=race)["sentence"]
    assert f"{LEFT} on samples of the target, each put behind the first by a test (p ≤ 0.05)" in sentence
    assert "none of the others that were ranked does better by the probe" in sentence
    alone = answer("t", "transferred_accuracy", [best], "probe", race=race | {"dropped": []})["sentence"]
    assert "the only encoder that was ranked, so nothing" in alone
    tuned = {"encoder": "b", "accuracy": 0.9, "interval": [0.8, 1.0], "probe_accuracy": 0.7}
    confirmed = {"best": "b", "entries": [tuned], "in_words": "b is best.", "n_test": 40}
    sentence = answer("t", "transferred_accuracy", [best, other], "probe", confirmed, race)["sentence"]
    assert sentence.endswith(f"; {LEFT} before.")


LEAVING = {"encoder": "a", "n_rows": 1200, "value": 1.5, "rival": "b", "rival_value": 0.5, "p_value": 0.0}
RACE = {
    "first": 2,
    "error": 0.05,
    "quantity": "bound",
    "n_began": 5,
    "n_stayed": 2,
    "dropped": [LEAVING, LEAVING],
    "rounds": [{"n_rows": 1000, "n_encoders": 5, "n_compared": 4, "why_not": "too few rows."}],
    "items": 1234,
    "items_of_all": 4936,
}


def test_what_can_happen_in_a_race() -> None:
    said = race_in_words(RACE)
    assert "5 encoders: 2 left on samples of the target, 2 stayed to the end, 1 failed. It encoded 25.0 % of" in said
    assert "On a sample of 1,000 rows 4 of 5 encoders were compared: too few rows. An" in said
    assert "behind the first 2." in said
    assert race_headings(RACE)[2:5] == ["bound", "behind", "its bound"]
    assert race_cells(RACE)[0] == ["a", "1,200", "1.500 nats", "b", "0.500 nats", "< 1e-300"]
    assert race_table(RACE)[0]["bound_when_left"] == 1.5
    none = RACE | {"dropped": [], "rounds": [], "n_stayed": 5}
    assert race_in_words(none).endswith("The target has too few rows for a race, so none was judged on a sample.")
    assert "no more encoders than places" in race_in_words(none | {"first": 5})
    assert how_many_left(none) == how_many_left(None) == ""
    assert race_table(None) == []
    early = {name: value for name, value in RACE.items() if not name.startswith("n_")}
    early["rounds"] = [{"n_rows": 1000, "n_encoders": 5}]
    assert race_in_words(early).startswith("A race began with 5 encoders: 2 left on samples of the target. It enc")


def test_a_long_race_is_cut_in_the_report(ranking: Ranking) -> None:
    record = ranking.to_dict()
    long = RACE | {"n_began": 1002, "dropped": [LEAVING | {"encoder": f"<b>{k}"} for k in range(1000)]}
    summary = summarize_records([(record | {"made": record["made"] | {"race": long}}, ranking.detail_records())])
    for said in (to_html(summary), to_markdown(summary).replace("\\", "")):
        assert "800 more left: made.race in ranking.json names all." in said
        assert "199" in said
        assert "<b>999" not in said
    assert "<b>1" not in to_html(summary)


def test_a_damaged_race_is_said_to_be_damaged(ranking: Ranking, tmp_path: Path) -> None:
    ranking.report(tmp_path)
    path = tmp_path / "ranking.json"
    record = json.loads(path.read_text("utf-8"))
    record["made"]["race"]["dropped"] = [{"encoder": 3}]
    path.write_text(json.dumps(record))
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 1
    assert "`made.race.dropped[0].encoder` must be a text; got 3" in str(done.exception)
