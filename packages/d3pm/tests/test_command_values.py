"""What the command takes literally: paths, options that need others, settings beyond any machine."""

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app, main

RUNNER = CliRunner()
SMALL = [part for s in ("net.width=8", "train.steps=1", "train.batch=4") for part in ("--set", s)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on pictures of a path that no plain encoding holds."""
    folder = tmp_path_factory.mktemp("values")
    data = folder / 'pictures \U0001f600 "\x7f.npz'
    np.savez(data, images=np.random.default_rng(0).integers(256, size=(20, 8, 8)).astype(np.uint8))
    kind = ["--set", "data.kind=images", "--set", "data.levels=16"]
    result = RUNNER.invoke(app, ["train", "digits", "--data", str(data), "--out", str(folder / "run"), *kind, *SMALL])
    assert result.exit_code == 0, repr(result.exception)
    assert load_checkpoint(folder / "run").config.data.path == str(data)
    return folder


MISTAKES = [
    (["evaluate", "{tmp}/run", "--final", "argmax"], 2, "--quality"),
    (["evaluate", "{tmp}/run", "--sample-steps", "5"], 2, "--quality"),
]


@pytest.mark.parametrize(("arguments", "code", "sentence"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_mistakes_end_in_one_sentence(folder, monkeypatch, capsys, arguments, code, sentence):
    monkeypatch.setattr(sys, "argv", ["d3pm", *(a.replace("{tmp}", str(folder)) for a in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == code, said
    assert sentence in said
    assert said.startswith("d3pm: ")
    assert len(said.splitlines()) == 1


def test_a_perplexity_beyond_all_numbers_is_null(tmp_path):
    """One word in many characters."""
    text = tmp_path / "text.txt"
    text.write_text("".join(np.random.default_rng(0).choice(list("abcdefgh"), 20_000)))
    options = [p for s in ("data.length=500", "net.dilations=[1]", "evaluate.times=2") for p in ("--set", s)]
    trained = ["train", "characters", "--data", str(text), "--out", str(tmp_path / "run"), *SMALL, *options]
    assert RUNNER.invoke(app, trained).exit_code == 0
    result = RUNNER.invoke(app, ["evaluate", str(tmp_path / "run"), "--json"])
    assert result.exit_code == 0, repr(result.exception)
    assert json.loads(result.stdout).get("perplexity", 0) is None
    assert "perplexity: inf" in RUNNER.invoke(app, ["evaluate", str(tmp_path / "run")]).stdout
