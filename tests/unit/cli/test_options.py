"""Every option of every command: a value that it cannot have is wrong usage, and any other arrives at what computes.

That it changes results there is tested where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from transferability import datasets, encoders, features, pipeline, study
from transferability.cli.app import app, main
from transferability.settings import Settings
from transferability.validation import validate

CALLS = {
    "rank": "photos.npz -r photos.npz -e python:own:means",
    "relate": "photos.npz -r photos.npz -e python:own:means",
    "score": "features.npz",
    "extract": "photos.npz -e python:own:means --out new.npz",
    "pack": "photos.npz -e python:own:means --out new.pack.safetensors",
    "report": "photos.npz",
    "validate": "photos.npz -e python:own:means --method probe",
    "study": "study.toml",
}
OWN = "import numpy as np\ndef means(items):\n    return np.stack([np.asarray(item).mean((0, 1)) for item in items])\n"
ANY_TEXT = {  # a name of files to be, a folder that is made, a pattern; and the encoder of several that is skipped
    "--out", "--csv", "--plots", "--results", "--encoder", "--known", "--measured",
}  # fmt: skip


def options_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Yield every option with its command, and whether it is a switch."""
    for name, each in getattr(command, "commands", {}).items():
        yield from options_of(each, (*path, name))
    if not hasattr(command, "commands"):
        for each in command.params:
            if each.param_type_name == "option" and each.name != "help":
                yield path, next(name for name in each.opts if name.startswith("--")), each.is_flag


OPTIONS = [each for each in options_of(typer.main.get_command(app)) if each[1] not in ANY_TEXT]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("wrong options")
    labels = np.arange(24) % 2
    pixels = np.random.default_rng(0).integers(0, 60, (24, 4, 4, 3)) + 90 * labels[:, None, None, None]
    np.savez(folder / "photos.npz", images=pixels.astype(np.uint8), labels=labels)
    np.savez(folder / "features.npz", features=pixels.mean((1, 2)), labels=labels)
    (folder / "own.py").write_text(OWN)
    (folder / "study.toml").write_text("encoders = ['python:own:means']\ntargets = ['photos.npz']\n")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.mark.parametrize(
    ("path", "option", "switch"), OPTIONS, ids=[" ".join((*path, option)) for path, option, _ in OPTIONS]
)
def test_a_value_that_an_option_cannot_have_is_wrong_usage(
    path: tuple[str, ...], option: str, switch: bool, place: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(place / "cache"))
    wrong = [f"{option}=perhaps"] if switch else [option, "§nonsense"]
    monkeypatch.setattr("sys.argv", ["transferability", *path, *CALLS.get(path[0], "").split(), *wrong])
    with pytest.raises(SystemExit) as ended:
        main()
    seen = capsys.readouterr()
    assert (ended.value.code, seen.out) == (2, "")
    assert "perhaps" in seen.err or "nonsense" in seen.err or option in seen.err
    assert "Traceback" not in seen.err


VALUES: dict[str, Any] = {
    "limit": 9, "test_share": 0.4, "folds": 3, "seed": 7, "near_duplicates": True, "layer": "-2", "pool": "cls",
    "precision": "bfloat16", "compile": True, "device": "cpu", "trust_remote_code": True, "dtype": "float16",
    "batch_size": 4, "workers": 1, "cache": False,
}  # fmt: skip
COMPUTE: dict[str, tuple[Any, str]] = {
    "rank": (pipeline, "rank"),
    "relate": (pipeline, "relate"),
    "pack": (pipeline, "make_pack"),
    "validate": (validate, "validate"),
    "study": (study, "run_study"),
}
FIELDS = {f"--{'no-' * (each.default is True)}{each.name.replace('_', '-')}": each.name for each in fields(Settings)}
OFFERED = [(path[0], option) for path, option, _ in OPTIONS if path[0] in COMPUTE and option in FIELDS]


class ArrivedError(Exception):
    """What the computation was called with."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()
        self.arguments, self.options = arguments, options


def stop(*arguments: Any, **options: Any) -> None:
    raise ArrivedError(*arguments, **options)


@pytest.fixture
def call(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ArrivedError]:
    """Return what calls a command with options, and returns what it would have computed with."""
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(place / "cache"))

    def run(command: str, *options: str) -> ArrivedError:
        module, name = COMPUTE[command]
        monkeypatch.setattr(module, name, stop)
        monkeypatch.setattr("sys.argv", ["transferability", command, *CALLS[command].split(), *options])
        with pytest.raises(ArrivedError) as arrived:
            main()
        return arrived.value

    return run


def settings_of(found: ArrivedError) -> Settings:
    settings = found.options["settings"] if "settings" in found.options else found.arguments[0].settings
    assert isinstance(settings, Settings)
    return settings


@pytest.mark.parametrize(("command", "option"), OFFERED, ids=[" ".join(each) for each in OFFERED])
def test_options_of_data_and_encoders(command: str, option: str, call: Callable[..., ArrivedError]) -> None:
    name = FIELDS[option]
    value = VALUES[name]
    given = [option] if isinstance(value, bool) else [option, str(value)]
    assert settings_of(call(command, *given)) == replace(settings_of(call(command)), **{name: value})


@pytest.mark.parametrize(
    ("option", "name"),
    [(option, FIELDS[option]) for path, option, _ in OPTIONS if path == ("extract",) and option in FIELDS],
)
def test_extract_loads_and_computes_by_its_options(
    option: str, name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    load_dataset, load_encoder = datasets.load_dataset, encoders.load_encoder

    def read(identifier: str, **options: Any) -> Any:
        given.update(options)
        return load_dataset(identifier)

    def load(identifier: str, **options: Any) -> Any:
        given.update(options)
        return load_encoder(identifier)

    monkeypatch.setattr(datasets, "load_dataset", read)
    monkeypatch.setattr(encoders, "load_encoder", load)
    monkeypatch.setattr(features, "extract_to_files", lambda *_, **options: (given.update(options), stop()))
    value = VALUES[name]
    words = [option] if isinstance(value, bool) else [option, str(value)]
    monkeypatch.setattr("sys.argv", ["transferability", "extract", *CALLS["extract"].split(), *words])
    with pytest.raises(ArrivedError):
        main()
    assert given[name] == value


@pytest.mark.parametrize(
    ("command", "words", "name", "value"),
    [
        *((each, ["--no-scale"], "scale", False) for each in ("rank", "relate")),
        *((each, ["--union"], "union", True) for each in ("rank", "relate")),
        *((each, ["--tau", "0.1,0.3"], "tau", (0.1, 0.3)) for each in ("rank", "relate", "pack")),
        *((each, ["--ground-cost", "loss"], "ground_cost", "loss") for each in ("rank", "relate")),
        *((each, ["--matching", "gradient"], "matching", "gradient") for each in ("rank", "relate")),
        *((each, ["--seed", "7"], "seed", 7) for each in ("rank", "relate")),
        *((each, ["--no-packs"], "packs", False) for each in ("rank", "relate")),
        ("relate", ["--solver", "sgd"], "solver", "sgd"),
        ("relate", ["--fixed-map"], "learn_map", False),
        ("relate", ["--ground-cost", "euclidean", "--space", "target"], "space", "target"),
        ("rank", ["--race"], "race", 1),
        ("rank", ["--race", "--confirm", "3"], "race", 3),
        ("rank", ["--score", "logme"], "scores", ["logme"]),
        ("rank", ["--sort", "bound"], "criterion", "bound"),
        ("rank", ["--executor", "ray"], "executor", "ray"),
        ("pack", ["--covariance", "full"], "covariance", "full"),
        ("pack", ["--rank", "3"], "rank", 3),
        ("pack", ["--rows", "5"], "rows", 5),
        ("validate", ["--seeds", "2", "--seed", "7"], "seeds", range(7, 9)),
        ("validate", ["--score", "knn"], "scores", ["knn"]),
        ("study", ["--refresh"], "refresh", True),
        ("study", ["--shard", "1/2"], "share", "1/2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_options_of_one_command(
    command: str, words: list[str], name: str, value: Any, call: Callable[..., ArrivedError]
) -> None:
    found = call(command, *words)
    assert arrived(found, name) in (value, list(value) if isinstance(value, tuple) else value)
    assert arrived(call(command), name) != value


def arrived(found: ArrivedError, name: str) -> Any:
    if name in found.options:
        return found.options[name]
    return found.options["relatedness"].get_params()[name]


def test_the_number_of_parameters_is_a_score(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "score features.npz --score size --parameters 1000000"
    monkeypatch.setattr("sys.argv", ["transferability", *words.split()])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.split()[-3:-1] == ["size", "6"]  # its logarithm


@pytest.mark.parametrize(
    ("words", "name", "value"), [(["--epochs", "3"], "epochs", 3), (["--augment"], "augmentation", True)]
)
def test_validate_trains_by_its_options(
    words: list[str], name: str, value: Any, call: Callable[..., ArrivedError]
) -> None:
    assert getattr(call("validate", *words).options["tuning"], name) == value
    assert getattr(call("validate").options["tuning"], name) != value
