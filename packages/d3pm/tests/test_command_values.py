"""What the command takes literally: paths, options that need others, settings beyond any machine."""

import json
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app, main
from d3pm.errors import CheckpointError, OptionError
from d3pm.nets.text import DilatedConv, Transformer
from d3pm.processes.closed import Uniform
from d3pm.schedules import ContinuousSchedule
from d3pm.times import sampling_times

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
    (folder / "three.toml").write_text("data = 3")
    (folder / "latin.toml").write_bytes("# größer".encode("latin-1"))
    (folder / "wander.toml").write_text('process.kind = "nearest_neighbour_mask"')
    (folder / "still.toml").write_text('process = {kind = "absorbing_uniform", schedule = "linear", start = 0.0}')
    return folder


MISTAKES = [
    (["evaluate", "{tmp}/run", "--final", "argmax"], 2, "--quality"),
    (["encode", "{tmp}/run"], 2, "--out"),
    (["evaluate", "{tmp}/run", "--sample-steps", "5", "--step", "1"], 2, "`sample_steps`"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "--progress", "{tmp}/way.foo"], 2, "must end in .png"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "--progress", "{tmp}/./s.png"], 2, "another file"),
    (["train", "{tmp}/three.toml", "--set", "data.path=x"], 2, "must be a table"),
    (["train", "{tmp}/three.toml", "--data", "x"], 2, "must be a table"),
    (["train", "{tmp}/latin.toml"], 2, "UTF-8"),
    *(
        (["train", recipe, "--out", "{tmp}/a", "--set", setting], 2, setting.split("=")[0].split(".")[1])
        for recipe, setting in (
            ("digits", "process.steps=1000000000000"),
            ("digits", "train.batch=1000000000000"),
            ("digits", "loss.cross_entropy=nan"),
            ("digits", "loss.cross_entropy=inf"),
            ("digits", "net.dropout=nan"),
            ("digits", "net.dropout=inf"),
            ("{tmp}/wander.toml", "process.mask_rate=0"),
            ("{tmp}/wander.toml", "process.mask_rate=inf"),
            ("{tmp}/still.toml", "process.stop=0.0"),
        )
    ),
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


def test_layers_are_listed_without_a_file(folder):
    result = RUNNER.invoke(app, ["encode", str(folder / "run"), "--layers"])
    assert result.exit_code == 0, repr(result.exception)
    assert "mid.0" in result.stdout.split()


def test_recipes_say_what_data_they_need():
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in RUNNER.invoke(app, ["recipes"]).stdout.splitlines()}
    assert lines["digits_uniform"].split() == ["digits", "uniform", "unet", "ancestral"]
    assert lines["tokens"].split() == ["tokens", "(--data)", "absorbing", "transformer", "ancestral"]


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


@pytest.mark.parametrize("net", [DilatedConv, Transformer])
@pytest.mark.parametrize("dropout", [float("nan"), -0.1, 1.5])
def test_dropout_is_a_share(net, dropout):
    with pytest.raises(OptionError, match="`dropout` must be a number"):
        net(5, width=12, dropout=dropout)


def test_steps_beyond_all_sense_are_refused():
    with pytest.raises(OptionError, match="1,000,000 in continuous time"):
        sampling_times(Uniform(3, ContinuousSchedule("linear")), 10**12)


@pytest.mark.parametrize("key", ["config", "data", "process"])
def test_a_header_that_is_no_table_is_damaged(folder, tmp_path, key):
    with safe_open(folder / "run" / "checkpoint.safetensors", framework="pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "x.safetensors", header | {key: "[1]"})
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_word_of_steps_is_one_sentence(folder, monkeypatch, capsys):
    """On the standard error, beside samples that are drawn all the same."""
    out = folder / "capped.npz"
    asked = ["d3pm", "sample", str(folder / "run"), "--out", str(out), "-n", "1", "--method", "confidence"]
    monkeypatch.setattr(sys, "argv", [*asked, "--steps", "1000"])
    monkeypatch.setattr("warnings.filters", [])  # as outside of tests
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().err == (
        "d3pm: `n_steps` = 1000 is more than the 64 tokens to fill in of a sample: the net runs 64 times, once per "
        "token.\n"
    )
    assert out.exists()
