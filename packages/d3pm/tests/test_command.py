"""The command from training to features, and several processes."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app
from d3pm.config import load_recipe, recipe_names
from d3pm.generation import GenerationConfig, generate

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
    for extra in (
        ["--steps", "3", "--corrections", "1", "--temperature", "0.8"],
        ["--first-hitting"],
        ["--method", "confidence", "--steps", "3", "--top-p", "0.9"],
        ["--method", "remasking", "--steps", "3"],
    ):
        result = runner.invoke(
            app, ["sample", str(out), "-n", "2", "--out", str(picture), "--progress", str(way), *extra]
        )
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == str(picture)  # as every command that writes a file
        assert picture.read_bytes()[:4] == b"\x89PNG"
        assert way.exists()
    result = runner.invoke(app, ["encode", str(out), "--out", str(tmp_path / "f.npz")])
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "f.npz") as archive:
        assert archive["features"].shape[0] == archive["labels"].shape[0] == 297
    result = runner.invoke(app, ["encode", str(out), "--out", "unused.npz", "--layers"])
    assert "mid.0" in result.stdout


def test_samples_are_drawn_as_the_recipe_says(tmp_path):
    """Its table [sample] is stored with the run; options take the place of its entries, another method of all."""
    pytest.importorskip("sklearn")
    small = ["net.width=8", "train.steps=1", "train.batch=4", "sample.n_steps=3", "sample.n_corrections=2"]
    options = [part for s in small for part in ("--set", s)]
    arguments = ["train", "digits", "--out", str(tmp_path / "run"), "--device", "cpu", *options]
    assert runner.invoke(app, arguments).exit_code == 0
    model = load_checkpoint(tmp_path / "run")
    assert model.config.sample == GenerationConfig(n_steps=3, n_corrections=2)
    for extra, config in (
        ([], GenerationConfig(n_steps=3, n_corrections=2)),
        (["--steps", "2"], GenerationConfig(n_steps=2, n_corrections=2)),
        (["--corrections", "0", "--grid", "cosine"], GenerationConfig(n_steps=3, grid="cosine")),
        (["--temperature", "0.5"], GenerationConfig(n_steps=3, n_corrections=2, temperature=0.5)),
        (["--top-p", "0.7"], GenerationConfig(n_steps=3, n_corrections=2, top_p=0.7)),
        (["--final", "argmax"], GenerationConfig(n_steps=3, n_corrections=2, final="argmax")),
        (["--method", "remasking", "--steps", "4"], GenerationConfig("remasking", n_steps=4)),
        (["--first-hitting"], GenerationConfig("first_hitting")),
    ):  # fmt: skip
        asked = ["sample", str(tmp_path / "run"), "-n", "3", "--out", str(tmp_path / "x.npz"), "--device", "cpu"]
        result = runner.invoke(app, [*asked, *extra])
        assert result.exit_code == 0, result.output
        generator = torch.Generator().manual_seed(0)
        x = generate(model.process, model.denoiser, (3, 8, 8), config, generator=generator)
        with np.load(tmp_path / "x.npz") as archive:
            assert (archive["samples"] == model.spec.to_pixels(x.numpy())).all(), extra


def test_quality_is_of_samples_drawn_as_the_recipe_says(small_run, monkeypatch):
    seen = []
    monkeypatch.setattr("d3pm.quality.require_fidelity", lambda n: None)
    monkeypatch.setattr("d3pm.quality.sample_quality", lambda samples, *_: {"fid": len(samples)})
    monkeypatch.setattr(
        "d3pm.quality.generate", lambda p, net, shape, config, **_: seen.append(config) or torch.zeros(shape)
    )
    asked = ["evaluate", str(small_run / "run"), "--quality", "3", "--examples", "1", "--times", "2", "--json"]
    for extra in ([], ["--sample-steps", "7", "--final", "argmax"]):
        result = runner.invoke(app, [*asked, *extra])
        assert result.exit_code == 0, repr(result.exception)
        assert json.loads(result.stdout)["fid"] == 3
    own = load_recipe("digits").sample
    assert seen == [own, replace(own, n_steps=7, final="argmax")]


def test_recipes_are_listed_with_their_samplers():
    lines = runner.invoke(app, ["recipes"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert next(line for line in lines if line.startswith("digits ")).endswith(" ancestral, 100 steps, 6 corrections")


def values_of(text):
    """Characters in the last twentieth of a file."""
    whole = len(text.read_text())
    return whole - int(whole * 0.95)


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
    asked = ["--steps", "4", "--prompt", "The qu___ brown", "--block", "5"]
    result = runner.invoke(app, ["sample", str(out), "-n", "2", *asked])
    lines = result.stdout.rstrip("\n").split("\n")
    assert [line[:6] + line[9:15] for line in lines] == ["the qu brown"] * 2
    assert all(len(line) <= 16 for line in lines)
    values = json.loads(runner.invoke(app, ["evaluate", str(out), "--json"]).stdout)
    assert values["unit"] == "bits/char"
    assert values["perplexity"] > 1
    features = tmp_path / "f.npz"
    assert runner.invoke(app, ["encode", str(out), "--out", str(features)]).exit_code == 0
    with np.load(features) as archive:  # of a stream, in pieces of the model's length
        assert archive["features"].shape == (values_of(text) // 16, 8)


def test_json_has_no_nan(small_run):
    """The error of the mean of a single example is not known: null, which every reader of JSON understands."""

    def refuse(word):
        raise AssertionError(word)

    result = runner.invoke(app, ["evaluate", str(small_run / "run"), "--json", "--examples", "1", "--times", "2"])
    values = json.loads(result.stdout, parse_constant=refuse)
    assert values["standard_error"] is None
    assert values["bits"] > 0


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "encode"])
def test_cuda_is_the_default_where_there_is_one(small_run, monkeypatch, command):
    """As the help says; the device that each command asks for is seen where all of them choose it."""
    import d3pm.device

    assert d3pm.device.choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")

    class ChosenError(Exception):
        pass

    def device(name):
        raise ChosenError(name)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(d3pm.device.torch, "device", device)
    arguments = {
        "train": ["digits", "--out", str(small_run / "b")],
        "sample": [str(small_run / "run"), "--out", str(small_run / "s.png")],
        "evaluate": [str(small_run / "run")],
        "encode": [str(small_run / "run"), "--out", str(small_run / "f.npz")],
    }[command]
    result = runner.invoke(app, [command, *arguments])
    assert isinstance(result.exception, ChosenError)
    assert str(result.exception) == "cuda"


def test_perplexity_is_per_word_of_the_text(tmp_path):
    pytest.importorskip("tokenizers")
    rng = np.random.default_rng(0)
    words = np.array(["the", "fox's", "den", "is", "twelve", "metres", "deep"])
    lines = [" ".join(rng.choice(words, rng.integers(3, 9))) + "." for _ in range(300)]
    (tmp_path / "lm.txt").write_text("\n".join(lines))
    small = [
        "net.width=8", "net.n_heads=2", "net.n_layers=1", "net.hidden=8", "train.steps=2", "train.batch=4",
        "train.precision=float32", "data.length=4", "data.vocabulary=300", "evaluate.times=2", "evaluate.examples=0",
    ]  # fmt: skip
    options = [part for s in small for part in ("--set", s)]
    arguments = ["train", "tokens", "--data", str(tmp_path / "lm.txt"), "--out", str(tmp_path / "run"), *options]
    assert runner.invoke(app, [*arguments, "--device", "cpu"]).exit_code == 0
    values = json.loads(runner.invoke(app, ["evaluate", str(tmp_path / "run"), "--json", "--device", "cpu"]).stdout)
    held_out = lines[285:]
    n_words = sum(len(line.split()) + 1 for line in held_out)
    nats = values["bits"] * np.log(2) * 4 * values["examples"]
    # All held-out text but what follows the last whole piece of four tokens.
    assert nats / np.log(values["perplexity"]) == pytest.approx(n_words, abs=4)
    assert nats / np.log(values["perplexity"]) <= n_words + 1e-6


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
