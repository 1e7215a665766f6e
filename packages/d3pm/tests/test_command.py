"""The command from training to features, its mistakes, and several processes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app, main

runner = CliRunner()


def test_command_from_training_to_features(tmp_path):
    pytest.importorskip("sklearn")
    out = tmp_path / "run"
    small = [
        "net.width=8",
        "train.steps=3",
        "train.batch=8",
        "train.log_every=1",
        "evaluate.times=2",
        "evaluate.examples=20",
    ]
    options = [part for s in small for part in ("--set", s)]
    result = runner.invoke(app, ["train", "digits", "--out", str(out), "--device", "cpu", *options])
    assert result.exit_code == 0, result.output
    result = runner.invoke(app, ["evaluate", str(out), "--json"])
    values = json.loads(result.stdout)
    assert values["unit"] == "bits/dim"
    assert values["bits"] > 1
    assert values["examples"] == 20
    picture, way = tmp_path / "s.png", tmp_path / "way.png"
    for extra in (["--steps", "3"], ["--first-hitting"]):
        result = runner.invoke(
            app, ["sample", str(out), "-n", "2", "--out", str(picture), "--progress", str(way), *extra]
        )
        assert result.exit_code == 0, result.output
        assert picture.read_bytes()[:4] == b"\x89PNG"
        assert way.exists()
    result = runner.invoke(app, ["encode", str(out), "--out", str(tmp_path / "f.npz")])
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "f.npz") as archive:
        assert archive["features"].shape[0] == archive["labels"].shape[0] == 297
    result = runner.invoke(app, ["encode", str(out), "--out", "unused.npz", "--layers"])
    assert "mid.0" in result.stdout


def test_command_fills_in_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog " * 60)
    out = tmp_path / "run"
    small = [
        "net.width=8",
        "net.dilations=[1,2]",
        "train.steps=2",
        "train.batch=4",
        "data.length=16",
        "evaluate.times=2",
        "evaluate.examples=2",
    ]
    options = [part for s in small for part in ("--set", s)]
    result = runner.invoke(
        app, ["train", "characters", "--data", str(text), "--out", str(out), "--device", "cpu", *options]
    )
    assert result.exit_code == 0, result.output
    result = runner.invoke(app, ["sample", str(out), "-n", "2", "--steps", "4", "--prompt", "The qu___ brown"])
    lines = result.stdout.rstrip("\n").split("\n")
    assert [line[:6] + line[9:15] for line in lines] == ["the qu brown"] * 2
    assert all(len(line) <= 16 for line in lines)
    values = json.loads(runner.invoke(app, ["evaluate", str(out), "--json"]).stdout)
    assert values["unit"] == "bits/char"
    assert values["perplexity"] > 1


def test_mistakes_end_in_one_sentence(tmp_path, monkeypatch, capsys):
    for arguments, code, sentence in (
        (["train", "digit"], 1, "Did you mean 'digits'"),
        (["sample", str(tmp_path)], 1, "there is none"),
        (["evaluate"], 2, "Missing argument"),
    ):
        monkeypatch.setattr(sys, "argv", ["d3pm", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        assert sentence in capsys.readouterr().err


def test_the_two_packages_do_not_import_each_other():
    code = "import sys, d3pm.encoder, d3pm.cli; print('transferability' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    """Data-parallel training through accelerate, on two CPU processes."""
    pytest.importorskip("accelerate")
    pytest.importorskip("sklearn")
    small = ["net.width=8", "net.multipliers=[1]", "train.steps=2", "train.batch=4", "train.log_every=1"]
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "-m",
        "d3pm",
        "train",
        "digits",
        "--distributed",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command + [part for s in small for part in ("--set", s)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_checkpoint(tmp_path).step == 2
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
