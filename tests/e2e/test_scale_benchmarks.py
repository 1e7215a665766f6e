"""The benchmarks of scale run, print what is asked beside what is measured, and end when they should."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no benchmarks beside the tests")


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("scale_summary")


def _run(*arguments: str) -> list[str]:
    command = [sys.executable, str(FOLDER / "scale_summary.py"), "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_figure_is_printed_beside_what_is_asked(tmp_path: Path) -> None:
    heading, rows, limit = _run("--case", "rows", "limit", "--out", str(tmp_path / "lines"))
    assert heading.split() == ["case", "figure", "asked", "measured", "share", "reached"]
    assert rows.startswith("rows")
    assert "≤       3" in rows
    assert rows.endswith("yes (s)")
    assert limit.split()[-6:] == ["≤", "0", "0", "–", "yes", "(items)"]
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert [(line["case"], line["is_reached"]) for line in lines] == [("rows", True), ("limit", True)]


def test_more_than_asked_and_less_than_asked(summary: Any) -> None:
    figures = [summary.Figure("f", 2, measured, "s", at_least) for measured in (1, 3) for at_least in (False, True)]
    assert [figure.is_reached for figure in figures] == [True, False, False, True]


def test_without_a_gpu_its_part_is_said_to_be_left_out(
    summary: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(summary, "run", lambda *_: "False\n")
    monkeypatch.setattr("sys.argv", ["scale_summary.py", "--case", "gpu"])
    summary.main()
    assert "not measured: torch finds no GPU here" in capsys.readouterr().out


def test_every_case_of_scaling_that_is_named_exists(summary: Any) -> None:
    scaling = importlib.import_module("scaling")
    options = summary.Options(quick=True, encoders=2)
    fitted = ("race", "race-scores", "rank", "rows", "classes-100", "classes-1000")
    assert {*fitted} <= scaling.CASES.keys() & summary.CASES.keys()
    assert all(summary.sizes_of(case, options)["n"] == 300 for case in fitted)
    assert "encoders" not in summary.sizes_of("rows", options)
    assert summary.sizes_of("race", options)["encoders"] == 2


@pytest.mark.slow
def test_all_of_it_runs() -> None:
    cases = {line.split()[0] for line in _run()[1:]}
    assert cases >= {"race", "race-scores", "rank", "rows", "classes-100", "classes-1000", "start", "help", "limit"}
    assert cases >= {"demo", "gpu"}


def test_measurements_on_a_gpu_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    gpu: Any = importlib.import_module("gpu_extraction")
    monkeypatch.setitem(gpu.PARTS, "same", lambda *_: iter([{"a": 1}, {"a": 2}]))
    assert list(gpu.within(60, ["same"], "cpu", 1.0, {})) == [{"part": "same", "a": 1}, {"part": "same", "a": 2}]
    (line,) = gpu.within(-1, ["same"], "cpu", 1.0, {})
    assert line["part"] == "same"
    assert "left_out" in line


def test_a_compiled_encoder_is_measured_against_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from transferability.encoders import _compiler

    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(_compiler, "BACKEND", "eager")
    _compiler._reason.cache_clear()
    gpu: Any = importlib.import_module("gpu_extraction")
    (line,) = gpu.compiled("cpu", 0.1, {"timm:test_vit@random": 160})
    assert line["ratio"] == pytest.approx(line["compiled"] / line["plain"])
    assert line["largest_difference"] < 1e-5
    assert line["first_batch_seconds"] > 0
