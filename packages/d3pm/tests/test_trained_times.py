"""Recipes that are trained at some times alone say so where a net is used at others, and what their figures are."""

import json

import pytest
from typer.testing import CliRunner

from d3pm import Objective
from d3pm.cli import app
from d3pm.errors import TimesWarning
from d3pm.metrics import progress_line

RUNNER = CliRunner()
LEFT_OUT = r"not trained at times below 0\.05 T and above 0\.6 T \(loss\.low, loss\.high\)"


def ran(*arguments):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, repr(result.exception)
    return result


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    pytest.importorskip("sklearn")
    out = tmp_path_factory.mktemp("trained_times") / "run"
    small = ["net.width=8", "train.steps=1", "train.batch=4", "evaluate.times=2", "evaluate.examples=4"]
    options = [part for setting in small for part in ("--set", setting)]
    return out, ran("train", "digits_encoder", "--out", out, "--device", "cpu", *options)


def test_an_encoders_samples_and_bound_say_what_was_not_trained(encoder, tmp_path):
    run = encoder[0]
    with pytest.warns(TimesWarning, match=rf"{LEFT_OUT}, which samples pass through\.") as said:
        ran("sample", run, "-n", 1, "--steps", 2, "--out", tmp_path / "x.npz", "--device", "cpu")
    assert len(said) == 1
    with pytest.warns(TimesWarning, match=rf"{LEFT_OUT}, which the bound includes\.") as said:
        result = ran("evaluate", run, "--json", "--device", "cpu")
    assert len(said) == 1
    assert json.loads(result.stdout)["bits"] > 0


def test_of_all_times_there_is_nothing_to_say(small_run, tmp_path):
    """A warning would be an error here."""
    ran("sample", small_run / "run", "-n", 1, "--steps", 2, "--corrections", 0, "--out", tmp_path / "x.npz")
    Objective().say_untrained("")
    for options, named in (({"low": 0.1}, r"times below 0\.1 T \("), ({"high": 0.5}, r"times above 0\.5 T \(")):
        with pytest.warns(TimesWarning, match=named):
            Objective(**options).say_untrained("")


def test_progress_names_what_is_no_bound(encoder):
    """Of an encoder's recipe it is the cross-entropy at masks; "bits" is what the others estimate of the bound."""
    line = encoder[1].stderr.splitlines()[0]
    assert line.startswith("step 1/1  cross-entropy at masks ")
    assert "bits" not in line
    values = {"bits": 1.25, "cross_entropy": 0.5, "gradient_norm": 2.0, "seconds": 3.0}
    rest = "cross-entropy 0.500  gradient 2  3 s"
    for kind in ("bound", "masked", "counted"):
        assert progress_line(kind, 10, 20, values) == f"step 10/20  bits 1.250  {rest}"
    assert progress_line("simple", 10, 20, values) == f"step 10/20  cross-entropy at masks 1.250  {rest}"
    assert progress_line("cross_entropy", 10, 20, values) == f"step 10/20  {rest}"
