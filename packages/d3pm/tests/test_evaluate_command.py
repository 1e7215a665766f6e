"""`d3pm evaluate`: of which model the bound is."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from d3pm.checkpoint import load_checkpoint
from d3pm.cli import app
from d3pm.data import load_data
from d3pm.errors import OptionError
from d3pm.evaluation import evaluate
from d3pm.likelihood import negative_log_likelihood
from d3pm.times import sampling_times

RUNNER = CliRunner()
OPTIONS = [
    "data.length=12", "net.width=8", "net.dilations=[1,2]", "train.steps=2", "train.batch=8",
    "evaluate.times=0", "evaluate.examples=4", "sample.temperature=1.0",
]  # fmt: skip
DISCRETE = ["process.steps=12", "process.schedule=inverse", "sample.n_steps=12"]
SCORES = ["process.schedule=geometric", "conventions.mode=score", "loss.kind=bound"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function that trains a model of characters with settings, once each."""
    folder, runs = tmp_path_factory.mktemp("evaluated"), {}
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog " * 40)

    def train(*settings):
        if settings not in runs:
            run = ["train", "characters", "--data", str(folder / "text.txt"), "--out", str(folder / str(len(runs)))]
            options = [part for setting in (*OPTIONS, *settings) for part in ("--set", setting)]
            result = RUNNER.invoke(app, [*run, "--device", "cpu", *options])
            assert result.exit_code == 0, repr(result.exception)
            runs[settings] = folder / str(len(runs))
        return runs[settings]

    return train


def values_of(run, *options):
    result = RUNNER.invoke(app, ["evaluate", str(run), "--json", "--device", "cpu", *options])
    assert result.exit_code == 0, repr(result.exception)
    return json.loads(result.stdout)


@pytest.mark.parametrize(("settings", "grid"), [(DISCRETE, "even"), (DISCRETE, "cosine"), ([], "even"), ([], "cosine")])
def test_the_bound_is_of_the_steps_that_samples_are_drawn_in(trained, settings, grid):
    run = trained(*settings, f"sample.grid={grid}")
    model = load_checkpoint(run)
    x_0 = load_data(model.config.data, model.spec).test_examples(4).tokens
    times = sampling_times(model.process, 5, grid)
    generator = torch.Generator().manual_seed(0)
    expected = negative_log_likelihood(model.process, model.denoiser, x_0, times=times, generator=generator)
    values = values_of(run, "--sample-steps", "5")
    assert values["bits"] == pytest.approx(expected.bits_per_position)
    assert values["bound_of"] == f"sampling in {len(times) - 1} steps, {grid} grid"
    assert values["step"] is None
    whole = values_of(run, "--times", "64")
    assert values["bits"] != pytest.approx(whole["bits"], abs=0.05)
    assert whole["bound_of"] == ("T = 12 steps, 1 at once" if settings else "continuous time")
    shown = RUNNER.invoke(app, ["evaluate", str(run), "--sample-steps", "5", "--device", "cpu"]).stdout
    assert f"bits/char (bound of sampling in {len(times) - 1} steps, {grid} grid; ±" in shown
    assert "(cost of the test data by the token frequencies of the training data alone)" in shown


def test_steps_of_the_recipe_give_way_to_those_of_the_samples(trained):
    run = trained(*DISCRETE, "evaluate.step=3")
    assert values_of(run)["bound_of"] == "T = 12 steps, 3 at once"
    assert values_of(run, "--sample-steps", "12")["bits"] == pytest.approx(values_of(run, "--step", "1")["bits"])


@pytest.mark.parametrize("settings", [SCORES, ["sample.method=first_hitting"], ["sample.method=remasking"]])
def test_where_no_bound_is_known_of_so_many_steps_it_says_of_which_it_is(trained, settings):
    run = trained(*settings)
    asked, whole = values_of(run, "--times", "4", "--sample-steps", "5"), values_of(run, "--times", "4")
    assert asked["bits"] == whole["bits"]
    assert asked["bound_of"] == "continuous time: none is known of samples in 5"


@pytest.mark.parametrize("method", ["ancestral", "first_hitting"])
def test_no_bound_is_known_of_samples_in_blocks(trained, method):
    """Of blocks it named the bound of all tokens at once, in so many steps."""
    run = trained(*DISCRETE, f"sample.method={method}", "sample.block=4")
    asked, whole = values_of(run, "--sample-steps", "5"), values_of(run)
    assert asked["bits"] == whole["bits"]
    assert asked["bound_of"] == "T = 12 steps, 1 at once: none is known of samples in 5 per block of 4"
    one = trained(*DISCRETE, "sample.block=12")  # all tokens are one block
    assert values_of(one, "--sample-steps", "5")["bound_of"] == "sampling in 5 steps, even grid"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["sample.temperature=0.8", "sample.top_p=0.9"], "temperature 0.8 and top_p 0.9"),
        (["sample.n_corrections=2", "sample.final=argmax"], "2 corrections and final argmax"),
        (["conventions.final=argmax"], "final argmax"),
    ],
)
def test_it_says_how_samples_differ_from_the_law_that_is_bounded(trained, settings, named):
    run = trained(*DISCRETE, *settings)
    assert (
        values_of(run, "--sample-steps", "5")["bound_of"]
        == f"sampling in 5 steps, even grid, without the samples' {named}"
    )
    assert values_of(run)["bound_of"] == "T = 12 steps, 1 at once"


@pytest.mark.parametrize(
    ("settings", "options", "sentence"),
    [
        (["sample.method=first_hitting"], ["--quality", "10", "--final", "argmax"], "they are ancestral"),
        (["sample.method=first_hitting"], ["--sample-steps", "13"], "T = 12; got 13"),
        (["sample.method=confidence"], ["--sample-steps", "13"], "T = 12; got 13"),
        (["sample.block=4"], ["--sample-steps", "13"], "T = 12; got 13"),
        ([], ["--quality", "10", "--final", "mean"], "`final` must be one of"),
        ([], ["--quality", "10"], "`quality` is measured on pictures"),
        ([], ["--sample-steps", "3", "--step", "2"], "pass one of them"),
    ],
)
def test_options_are_refused_before_anything_is_computed(trained, monkeypatch, settings, options, sentence):
    """The bound was computed first, for minutes, and steps above T passed where the method has steps of its own."""
    run = trained(*DISCRETE, *settings)

    def computed(*_):
        pytest.fail("the data are read")

    monkeypatch.setattr("d3pm.evaluate_command.load_data", computed)
    result = RUNNER.invoke(app, ["evaluate", str(run), "--device", "cpu", *options])
    assert isinstance(result.exception, OptionError)
    assert sentence in str(result.exception)


def test_quality_stands_beside_the_bound_of_its_steps(run, dataset, monkeypatch, tmp_path):
    """Both are given the same number of steps."""
    with safe_open(run, framework="pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "x.safetensors", header)
    seen = {}
    monkeypatch.setattr("d3pm.evaluate_command.load_data", lambda *_: dataset)
    monkeypatch.setattr("d3pm.evaluate_command.check_quality", lambda *_: None)

    def measured(model, data, n, seed, options):
        seen.update(options)
        return {"fid": 1.0}

    monkeypatch.setattr("d3pm.evaluate_command.measure_quality", measured)
    values = values_of(tmp_path / "x.safetensors", "--quality", "10", "--sample-steps", "5", "--times", "0")
    assert seen["n_steps"] == 5
    assert values["fid"] == 1.0
    model = load_checkpoint(run)
    settings = replace(model.config.evaluate, times=0, step=2)
    assert values["bits"] == pytest.approx(evaluate(model, dataset, settings).bits_per_position)  # T = 10
