"""What an interrupt leaves: results that say that they are not whole, and never in the place of whole ones."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import TWO_ENCODERS

from transferability.cli.app import main
from transferability.display.next_steps import next_steps
from transferability.pipeline import Settings, rank
from transferability.pipeline.rank_encoders import RankingInterrupted
from transferability.report.summarize import summarize_records

Run = Callable[..., tuple[int, str, str]]
HALTING = (
    TWO_ENCODERS
    + """
def halted(items):
    raise KeyboardInterrupt
halted.version = "1"
"""
)
RANK = ["rank", "packaged:digits", "--limit", "60", "--folds", "1", "-e", "python:halting:rows"]
STOPPED = [*RANK, "-e", "s=python:halting:halted", "-e", "python:halting:pixels"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    Path("halting.py").write_text(HALTING)
    sys.modules.pop("halting", None)

    def call(*arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["transferability", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), out.getvalue(), " ".join(err.getvalue().split())

    return call


def test_a_partial_ranking_says_so_in_every_file(run: Run) -> None:
    code, out, err = run(*STOPPED, "--out", "r", "--csv", "t.csv", "--plots", "plots")
    assert code == 130
    assert "interrupted after 1 of 3 encoders" in " ".join(out.split())
    assert "s=python:halting:halted, python:halting:pixels: skipped: interrupted before it was ranked" in err
    assert "--csv and --plots are not written after an interrupt" in err
    assert not Path("t.csv").exists()
    assert not Path("plots").exists()
    record = json.loads(Path("r/ranking.json").read_text())
    assert [each["encoder"] for each in record["ranking"]] == ["python:halting:rows"]
    assert [each["encoder"] for each in record["skipped"]] == ["s=python:halting:halted", "python:halting:pixels"]
    assert {each["reason"] for each in record["skipped"]} == {"interrupted before it was ranked"}
    assert record["made"]["interrupted"] == {"done": 1, "total": 3}
    headline = "Interrupted after 1 of 3 encoders. Take python:halting:rows for digits."
    assert headline in Path("r/report.md").read_text()
    assert headline in Path("r/report.html").read_text()
    again = "Next: Rank the other encoders; what was extracted is in the cache: transferability rank packaged:digits"
    assert again in err


def test_the_answer_names_nobody_who_was_not_ranked(run: Run) -> None:
    run(*RANK, "-e", "python:halting:pixels", "-e", "python:halting:halted", "--out", "r")
    record = json.loads(Path("r/ranking.json").read_text())
    answer = summarize_records([(record, [])])["parts"][0]["answer"]
    assert "no other encoder does better" not in answer["sentence"]
    assert answer["facts"][0]["label"] == "Interrupted"
    assert answer["facts"][0]["value"] == "2 of 3 encoders were ranked"


def test_a_whole_ranking_is_not_replaced_by_a_part(run: Run) -> None:
    assert run(*RANK, "-e", "python:halting:pixels", "--out", "r")[0] == 0
    before = {path.name: path.read_bytes() for path in Path("r").iterdir()}
    assert "transform-2.safetensors" in before
    code, out, err = run(*STOPPED, "--out", "r")
    assert code == 130
    assert "halting:rows" in out
    assert {path.name: path.read_bytes() for path in Path("r").iterdir()} == before
    assert "r stays as it was: it holds results of a finished run. What was done now is in the cache" in err
    assert "is not kept" in run(*STOPPED, "--out", "r", "--no-cache")[2]


@pytest.mark.parametrize("content", ["{", "[]", '{"made": {"interrupted": null}}'])
def test_what_cannot_be_read_is_not_replaced_by_a_part(run: Run, content: str) -> None:
    Path("r").mkdir()
    Path("r/ranking.json").write_text(content)
    assert run(*STOPPED, "--out", "r")[0] == 130
    assert Path("r/ranking.json").read_text() == content


def test_a_part_is_replaced_by_another_part_and_by_the_whole(run: Run) -> None:
    assert run(*STOPPED, "--out", "r")[0] == 130
    assert run(*RANK, "-e", "python:halting:pixels", "-e", "python:halting:halted", "--out", "r")[0] == 130
    assert json.loads(Path("r/ranking.json").read_text())["made"]["interrupted"] == {"done": 2, "total": 3}
    assert run(*RANK, "--out", "r")[0] == 0
    record = json.loads(Path("r/ranking.json").read_text())
    assert "interrupted" not in record["made"]
    assert "Interrupted" not in Path("r/report.md").read_text()


def test_an_interrupt_of_fine_tuning_leaves_the_ranking(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transferability.cli.rank.confirm_first", stopped)
    code, out, err = run(*RANK, "--confirm", "1", "--out", "r")
    assert code == 130
    assert "halting:rows" in out
    assert "interrupted while fine-tuning: this is the whole ranking" in err
    record = json.loads(Path("r/ranking.json").read_text())
    assert (record["confirmation"], record["skipped"]) == (None, [])
    record["made"]["command"] = "transferability rank photos --confirm 3"
    record["ranking"][0] |= {"encoder": "timm:a", "identifier": "timm:a", "fine_tunable": True}
    assert next_steps(record)[-1].code == "transferability rank photos --confirm 3"  # and not twice


def test_an_interrupt_between_two_encoders_leaves_those_that_are_done(run: Run) -> None:
    def tell(_entry: object, done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    encoders = ["python:halting:rows", "python:halting:pixels"]
    with pytest.raises(RankingInterrupted) as stopped:
        rank("packaged:digits", None, encoders, settings=Settings(limit=60, folds=1, cache=False), tell=tell)
    assert [each.encoder for each in stopped.value.ranking] == ["python:halting:rows"]


STUDY = """
encoders = ["python:halting:rows", "python:halting:halted"]
targets = ["packaged:digits"]
settings = { limit = 60, folds = 1 }
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "study.toml"], "finished pairs are in the file of results, and the same command continues."),
        ([*RANK[:-1], "python:halting:halted"], "extracted features are in the cache, and the same command continues"),
        ([*RANK[:-1], "python:halting:halted", "--no-cache"], "interrupted"),
        (["extract", "packaged:digits", "--limit", "30", "-e", "python:halting:halted"], "features are in the cache"),
        (
            [
                "validate",
                "packaged:digits",
                "-e",
                "python:halting:halted",
                "--method",
                "probe",
                "--results",
                "r.sqlite",
            ],
            "finished runs are kept, and the same command continues.",
        ),
    ],
)
def test_what_an_interrupt_leaves_is_said(run: Run, arguments: list[str], said: str) -> None:
    Path("study.toml").write_text(STUDY)
    code, out, err = run(*arguments)
    assert (code, out) == (130, "")
    assert "interrupted" in err
    assert said in err
    assert ("cache" in err) == ("cache" in said)
