"""Options are declared once: commands, study files and functions take what `Settings` says."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from typing import Unpack, get_type_hints

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from transferability import settings as declared
from transferability.cli import options
from transferability.cli.confirm import _OF_RANKING
from transferability.datasets.in_memory import from_memory
from transferability.encoders import load_encoder
from transferability.encoders.function import FunctionEncoder
from transferability.errors import OptionError
from transferability.features import extract_blocks, extract_features, extract_outputs, extract_share, extract_to_files
from transferability.settings import ExtractionArguments, ExtractionOptions, LoadingOptions, Settings

EXTRACTING = (extract_features, extract_outputs, extract_blocks, extract_to_files, extract_share)


def test_what_is_declared_for_loading_is_an_argument_with_the_same_default():
    parameters = inspect.signature(load_encoder).parameters
    assert {each.name: parameters[each.name].default for each in fields(LoadingOptions)} == {
        each.name: each.default for each in fields(LoadingOptions)
    }


@pytest.mark.parametrize("function", EXTRACTING)
def test_functions_that_extract_take_the_options_of_extraction(function):
    parameters = inspect.signature(function).parameters
    assert parameters["options"].kind is inspect.Parameter.VAR_KEYWORD
    assert get_type_hints(function)["options"] == Unpack[ExtractionArguments]
    assert parameters["cache"].default is True


def test_a_group_of_options_as_arguments():
    given = Settings(layer=3, cache=False, limit=50)
    assert given.of(LoadingOptions)["layer"] == 3
    assert given.of(ExtractionOptions) == {**asdict(ExtractionOptions()), "cache": False}


def _run(arguments, *, only=None, without=()):
    seen = []

    @options.with_settings(only=only, without=without)
    def command(*, settings: Settings) -> None:
        seen.append(settings)

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, arguments)
    return done, seen


def test_the_command_line_says_what_python_says():
    arguments = (
        "--limit 9 --test-share 0.5 --folds 3 --seed 7 --near-duplicates --layer -2 --pool cls --precision bfloat16"
    )
    arguments += " --compile --device cpu --trust-remote-code --dtype float16 --batch-size 4 --workers 1 --no-cache"
    done, (found,) = _run(arguments.split())
    assert done.exit_code == 0
    assert found == Settings(
        limit=9,
        test_share=0.5,
        folds=3,
        seed=7,
        near_duplicates=True,
        layer="-2",
        pool="cls",
        precision="bfloat16",
        compile=True,
        device="cpu",
        trust_remote_code=True,
        dtype="float16",
        batch_size=4,
        workers=1,
        cache=False,
    )
    assert _run([])[1] == [Settings()]


@pytest.mark.parametrize(
    "arguments",
    ["--limit 1", "--test-share 1", "--seed -1", "--batch-size 0", "--workers -1", "--precision half", "--dtype int8"],
)
def test_ranges_are_those_declared(arguments):
    done, seen = _run(arguments.split())
    assert (done.exit_code, seen) == (2, [])


def test_folds_are_a_number_or_a_word():
    done, _ = _run(["--folds", "many"])
    assert isinstance(done.exception, OptionError)


def test_a_command_may_have_some():
    assert _run(["--seed", "3"], only=["seed"])[1] == [Settings(seed=3)]
    assert _run(["--limit", "3"], only=["seed"])[0].exit_code == 2
    assert _run(["--seed", "3"], without=["seed"])[0].exit_code == 2


def test_an_option_is_added_in_one_place(monkeypatch):
    @dataclass(frozen=True)
    class More(Settings):
        crop: float = declared._option(0.875, "Share of a picture that is kept.", least=0.1)

    monkeypatch.setattr(options, "Settings", More)
    done, seen = _run(["--crop", "0.5"])
    assert (done.exit_code, seen) == (0, [More(crop=0.5)])
    assert "Share of a picture" in _run(["--help"])[0].output
    assert _run(["--crop", "0"])[0].exit_code == 2


def test_a_ranking_continued_elsewhere_keeps_its_options_and_not_those_of_its_machine():
    names = {"limit", "test_share", "folds", "seed", "near_duplicates", "pool", "precision"}
    assert names == _OF_RANKING


def test_help_needs_no_mathematics():
    code = "import sys, transferability.cli.options; print(sorted({'numpy', 'scipy', 'torch'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_arguments_of_extraction_are_its_options():
    """Two declarations, for types and for help, of one thing; the cache is an argument of its own."""
    options = get_type_hints(ExtractionOptions)
    assert get_type_hints(ExtractionArguments) == {name: options[name] for name in options if name != "cache"}
    encoder, texts = FunctionEncoder("lengths", lambda texts: [[len(each)] for each in texts]), from_memory(["a", "bb"])
    with pytest.raises(TypeError, match="batchsize"):
        extract_features(encoder, texts, batchsize=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": "3"}, "`limit` must be an integer, at least 1; got '3'"),
        ({"limit": 0}, "at least 1; got 0"),
        ({"limit": 2.0}, "got 2.0"),
        ({"limit": True}, "got True"),
        ({"test_share": 2}, "`test_share` must be between 0 and 1; got 2"),
        ({"test_share": 0}, "got 0"),
        ({"test_share": float("nan")}, "got nan"),
        ({"test_share": "0.3"}, "got '0.3'"),
        ({"folds": 2.0}, "`folds` must be a whole number ≥ 1 or 'auto'; got 2.0"),
        ({"folds": 0}, "got 0"),
        ({"folds": "many"}, "got 'many'"),
        ({"folds": None}, "got None"),
        ({"seed": -1}, "`seed` must be an integer, at least 0; got -1"),
        ({"seed": None}, "got None"),
        ({"batch_size": 0}, "`batch_size` must be an integer, at least 1"),
        ({"workers": -1}, "`workers` must be an integer, at least 0"),
        ({"cache": "no"}, "`cache` must be True or False; got 'no'"),
        ({"use_labels": 0}, "`use_labels` must be True or False"),
        ({"near_duplicates": None}, "`near_duplicates` must be True or False"),
        ({"precision": "float64"}, "`precision` must be one of 'float32', 'bfloat16', 'float16'; got 'float64'"),
        ({"dtype": ["float32"]}, "`dtype` must be one of 'float32', 'float16'"),
        ({"layer": 1.5}, "`layer` must be a name or a number; got 1.5"),
        ({"pool": 3}, "`pool` must be a name, such as 'mean'; got 3"),
    ],
    ids=str,
)
def test_a_value_that_no_option_takes_is_refused_where_it_is_given(given, said):
    with pytest.raises(OptionError) as caught:
        Settings(**given)
    assert said in str(caught.value)


def test_numbers_of_numpy_become_those_of_python():
    given = Settings(
        limit=np.int64(9), seed=np.uint8(3), folds=np.int32(2), layer=np.int64(-1), test_share=np.float32(0.5)
    )
    assert json.loads(json.dumps([given.limit, given.seed, given.folds, given.layer])) == [9, 3, 2, -1]
    assert Settings(folds=1, workers=0, test_share=0.5) == Settings(
        folds=np.int64(1), workers=np.int8(0), test_share=0.5
    )
