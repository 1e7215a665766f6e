"""The examples run; in a clone they lie beside the tests."""

import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest

import d3pm

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_swiss_roll_is_drawn(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    picture = tmp_path / "roll.png"
    monkeypatch.setattr(sys, "argv", ["swiss_roll.py", "--steps", "2", "--out", str(picture)])
    runpy.run_path(str(EXAMPLES / "swiss_roll.py"), run_name="__main__")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "samples on the roll" in capsys.readouterr().out


def test_the_readme_names_what_there_is():
    """`load_checkpoint` and `sampling_times` were not to be had from `d3pm`; and files that it names lie there."""
    root = Path(__file__).parents[1]
    text = (root / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^from d3pm import (.*)$", text, re.MULTILINE))
    names = {name.strip() for line in shown for name in line.split(",")} | {"load_checkpoint", "sampling_times"}
    assert names <= set(d3pm.__all__)
    assert all(hasattr(d3pm, name) for name in d3pm.__all__)
    for name in {"load_checkpoint", "sampling_times", "generate", "GenerationConfig"}:
        assert f"{name}(" in text
    files = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|json))[ `]", text))
    assert len(files) > 10
    for name in files:
        assert (root / name).exists() or (root / "src" / "d3pm" / name).exists(), name
    for name in re.findall(r"(?:from |`)(d3pm\.\w+)(?:`| import)", text):
        importlib.import_module(name)
