"""The examples run; in a clone they lie beside the tests."""

import runpy
import sys
from pathlib import Path

import pytest

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
