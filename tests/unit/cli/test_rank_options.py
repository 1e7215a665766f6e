"""Every option of `rank` changes what it says it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from transferability.cli.app import app
from transferability.errors import OptionError
from transferability.features import write_features
from transferability.pipeline import relate
from transferability.settings import Settings


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return feature files: a target of overlapping classes and two references."""
    folder, made = tmp_path_factory.mktemp("features"), {}
    for seed, name in enumerate(["near", "far", "goal"]):
        rng = np.random.default_rng(seed)
        labels = np.arange(90) % 3
        features = 2 * np.eye(3, 5)[labels] + rng.normal(size=(90, 5)) + 0.3 * seed
        write_features(folder / f"{name}.npz", features.astype(np.float32), labels, ["a", "b", "c"])
        made[name] = f"features:{folder / name}.npz"
    return made


def ranked(files: dict[str, str], *options: str, reference: bool = True) -> dict[str, Any]:
    """Return what `rank --json` prints of its only encoder."""
    given = ["--reference", files["near"]] if reference else []
    encoder = files["goal"].replace("goal", "{data}")
    arguments = ["rank", "--target", files["goal"], *given, "--encoder", encoder, "--json", *options]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    (entry,) = record["ranking"]
    return {**entry["relatedness"], "entry": entry, "made": record["made"]}


@pytest.fixture(scope="module")
def plain(files: dict[str, str]) -> dict[str, Any]:
    return ranked(files)


def test_without_options(plain: dict[str, Any]) -> None:
    assert (plain["reference"], plain["evaluated_on"], plain["ground_cost"]) == ("near", "folds", "exact")
    assert plain["tau"] == pytest.approx(32 / np.sqrt(5), rel=0.01)
    assert plain["scale"] != 1
    assert plain["certified"]


def test_no_reference_is_the_other_half(files: dict[str, str]) -> None:
    assert ranked(files, reference=False)["reference"] == "own other half"


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (["--tau", "0.3"], "tau", 0.3),
        (["--folds", "1"], "evaluated_on", "test"),
        (["--no-scale"], "scale", 1.0),
        (["--ground-cost", "loss"], "ground_cost", "loss"),
        (["--ground-cost", "gamma"], "solver", "statistics"),
        (["--matching", "2,1,0"], "class_map", [2, 1, 0]),
        (["--unlabelled"], "certified", False),
        (["--unlabelled"], "transferred_accuracy", None),
    ],
)
def test_options_reach_the_result(
    files: dict[str, str], plain: dict[str, Any], options: list[str], name: str, value: object
) -> None:
    assert plain[name] != value
    assert ranked(files, *options)[name] == value


def test_options_that_decide_which_rows(files: dict[str, str], plain: dict[str, Any]) -> None:
    assert ranked(files, "--seed", "3")["bound"] != plain["bound"]
    limited = ranked(files, "--limit", "45")["made"]["data"][0]
    assert limited["fit_rows"] == 45
    share = ranked(files, "--folds", "1", "--test-share", "0.5")["made"]["data"][0]
    assert (share["fit_rows"], share["test_rows"]) == (45, 45)
    assert ranked(files, "--folds", "3")["made"]["data"][0]["folds"] == 3


def test_scores_union_and_order(files: dict[str, str]) -> None:
    both = ranked(files, "--reference", files["far"], "--union", "--score", "logme", "--sort", "bound")
    assert [each["reference"] for each in both["panel"]] == ["near", "far", "all references"]
    assert list(both["entry"]["scores"]) == ["logme"]
    assert [each["reference"] for each in ranked(files, "--reference", files["far"])["panel"]] == ["near", "far"]


def test_wide_shows_the_terms_in_nats_and_in_points(files: dict[str, str]) -> None:
    encoder = files["goal"].replace("goal", "{data}")
    arguments = ["rank", "--target", files["goal"], "--reference", files["near"], "--encoder", encoder]
    narrow, wide = (CliRunner().invoke(app, [*arguments, *more], catch_exceptions=False) for more in ([], ["--wide"]))
    for column in ("bound", "distribution mismatch", "points lost on target", "scale"):
        assert column in wide.stdout
        assert column not in narrow.stdout
    for column in ("transferred accuracy", "95 % interval", "linear probe", "seconds"):
        assert column in narrow.stdout


def test_no_cache_leaves_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\ndef pixels(items):\n"
        "    return np.stack([np.asarray(each.convert('L'), dtype=float).ravel() for each in items])\n"
        "pixels.version = '1'\n"
    )
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(cache))
    arguments = ["rank", "--target", "packaged:digits", "--limit", "60", "--encoder", "python:mine:pixels"]
    for more, kept in ((["--no-cache"], False), ([], True)):
        done = CliRunner().invoke(app, [*arguments, *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert any(cache.rglob("*.safetensors")) == kept


@pytest.mark.parametrize("folds", ["0", "-1", "two", "1.5"])
def test_folds_that_are_none_are_refused(files: dict[str, str], folds: str) -> None:
    arguments = ["rank", "--target", files["goal"], "--encoder", "features:x", "--folds", folds]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code != 0
    assert "`--folds` must be a whole number ≥ 1 or auto" in str(done.exception or done.output)


@pytest.mark.parametrize("command", ["rank", "relate"])
def test_more_folds_than_rows_of_the_target_are_refused(files: dict[str, str], command: str) -> None:
    arguments = [command, "--target", files["goal"], "--reference", files["near"], "--encoder"]
    done = CliRunner().invoke(app, [*arguments, files["goal"].replace("goal", "{data}"), "--folds", "91"])
    assert done.exit_code != 0
    assert "`folds` must be at most the number of different rows of target 'goal', 90; got 91" in str(done.exception)


def test_folds_are_of_the_target_alone(files: dict[str, str], tmp_path: Path) -> None:
    """A reference with fewer rows than there are folds has no part in them."""
    rng, labels = np.random.default_rng(5), np.arange(9) % 3
    write_features(tmp_path / "few.npz", (2 * np.eye(3, 5)[labels] + rng.normal(size=(9, 5))), labels, ["a", "b", "c"])
    few = f"features:{tmp_path}/few.npz"
    arguments = ["relate", files["goal"], "--reference", few, "--folds", "10", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(done.stdout)["results"][0]["evaluated_on"] == "folds"


@pytest.mark.parametrize("folds", [0, -1, 2.5, True, "five", None])
def test_settings_with_folds_that_are_none_are_refused(files: dict[str, str], folds: object) -> None:
    with pytest.raises(OptionError, match="`folds` must be a whole number ≥ 1 or 'auto'"):
        relate(files["near"], files["goal"], settings=Settings(folds=folds))


def test_a_classifier_that_is_never_right_is_said_to_be_below_chance(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 30)
    features = np.concatenate([np.eye(2)[labels], np.zeros((60, 1))], axis=1)
    for name, shown in (("seen", labels), ("turned", 1 - labels)):
        write_features(tmp_path / f"{name}.npz", features, shown, ["a", "b"])
    arguments = [f"features:{tmp_path}/turned.npz", "--reference", f"features:{tmp_path}/seen.npz", "--matching", "0,1"]
    done = CliRunner().invoke(app, ["relate", *arguments, "--fixed-map"], catch_exceptions=False)
    assert "0.0 %" in done.stdout
    assert "chance 50.0 %, and this is below" in " ".join(done.stdout.split())
