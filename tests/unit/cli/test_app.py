"""The command in one process: help, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from command_runs import HOSTILE, run

from transferability import __version__
from transferability.cli.app import app, main
from transferability.display.formats import number, percent
from transferability.errors import TransferabilityError
from transferability.features import write_features

COMMANDS = [
    "cache", "demo", "doctor", "encoders", "extract", "pack", "rank", "relate", "report", "score", "study", "validate",
]  # fmt: skip


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_commands_are_the_documented_ones() -> None:
    assert sorted(typer.main.get_command(app).commands) == COMMANDS  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_every_option_has_help(command: str) -> None:
    for flag in ("--help", "-h"):
        out, _ = run(command, flag)
        assert f"transferability {command}" in out
    click_command = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    assert len(click_command.help) > 40
    for option in click_command.params:
        assert option.help, f"{command} {option.name}"


def test_without_a_command_there_is_help() -> None:
    out, err = run(code=2)
    assert "Begin with: transferability demo" in out + err
    out, _ = run("--help")
    for command in COMMANDS:
        assert command in out


def test_version() -> None:
    assert run("--version")[0].strip() == __version__


# ── usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study"], "Missing argument"),
        (["rank", "--targt", "x"], "No such option"),
        (["relate", "--reference", "a", "--target", "b", "--limit", "many"], "Invalid value"),
        (["relate", "--reference", "a", "--target", "b", "--limit", "1"], "Invalid value"),
        (["relate", "--reference", "a", "--target", "b", "--test-share", "1.5"], "Invalid value"),
        (["relate", "--reference", "a", "--target", "b", "--seed", "-3"], "Invalid value"),
        (["extract", "--encoder", "a", "--data", "b", "--seed", "-1"], "Invalid value"),
    ],
)
def test_wrong_usage_ends_with_two(arguments: list[str], message: str) -> None:
    out, err = run(*arguments, code=2)
    assert out == ""
    assert message in err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--tau", "steep"], r"`--tau` must be a number, numbers with commas, scaled or auto; got 'steep'"),
        (["--tau", "1e300"], r"`tau` must lie between 1e-09 and 1e\+09; got 1e\+300"),
        (["--tau", "1e-300"], r"`tau` must lie between"),
        (["--tau", "0.1,1e300"], r"`tau` must lie between"),
        (["--tau", "-1"], r"`tau` must be a finite number > 0; got -1"),
        (["--ground-cost", "los"], r"Did you mean 'loss'"),
        (
            ["--matching", "0,1"],
            r"`matching` must give one reference class from 0 to 2 for each of the 3 target classes",
        ),
        (["--matching", "assignmnt"], r"Did you mean 'assignment'"),
        (["--target", "features:nowhere.npz"], r"nowhere\.npz"),
        (["--target", "zip:nowhere"], r"zip"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(files: dict[str, str], extra: list[str], message: str) -> None:
    options = ["--reference", files["near"]] + ([] if "--target" in extra else ["--target", files["goal"]])
    with pytest.raises(TransferabilityError, match=message):
        run("relate", *options, *extra)


@pytest.mark.parametrize("debug", [False, True])
def test_main_prints_the_sentence_alone_unless_asked_for_more(
    debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--debug"] * debug + ["relate", "--reference", "features:no.npz", "--target", "features:no.npz"]
    monkeypatch.setattr("sys.argv", ["transferability", *arguments])
    if debug:
        with pytest.raises(TransferabilityError, match=r"no\.npz"):
            main()
        return
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.startswith("error: ")
    assert len(seen.err.strip().splitlines()) == 1


def test_a_rank_beyond_all_features_is_refused(files: dict[str, str]) -> None:
    for rank in ("1025", "9" * 30):
        with pytest.raises(TransferabilityError, match="`rank` must be an integer from 1 to 1024; got"):
            run("pack", "--data", files["near"], "--rank", rank)


# ── relate ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_relate_prints_terms_and_classes(files: dict[str, str]) -> None:
    out, err = run("relate", "--reference", files["near"], "--target", files["goal"])
    for word in (
        "bound",
        "reference loss",
        "label mismatch",
        "distribution mismatch",
        "transferred loss",
        "points lost on target",
        "near → goal",
    ):
        assert word in out
    assert "Certified" in err
    assert "Certified" not in out
    assert "transferability" not in out  # h_T is trained where there is one split
    split, _ = run("relate", "--reference", files["near"], "--target", files["goal"], "--folds", "1")
    assert "transferability" in split
    assert run("--quiet", "relate", "--reference", files["near"], "--target", files["goal"])[1] == ""


def test_relate_prints_a_matrix_for_several(files: dict[str, str]) -> None:
    arguments = ["--reference", files["near"], "--reference", files["goal"]]
    out, _ = run("relate", *arguments, "--target", files["goal"], "--target", files["near"])
    header = next(line for line in out.splitlines() if line.startswith("target"))
    assert header.split() == ["target", "near", "goal", "closest"]
    assert sum(line.startswith(("goal", "near")) for line in out.splitlines()) == 2


@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["--tau", "auto"],
        ["--tau", "0.1,0.5"],
        ["--ground-cost", "euclidean", "--space", "target"],
        ["--solver", "sgd", "--folds", "1"],
        ["--matching", "0,1,2"],
        ["--matching", "random"],
        ["--fixed-map"],
        ["--unlabelled"],
        ["--limit", "30"],
    ],
)
def test_relate_as_json(files: dict[str, str], extra: list[str]) -> None:
    out, _ = run("relate", "--reference", files["near"], "--target", files["goal"], "--json", *extra)
    found = json.loads(out)
    assert found["schema"] == 1
    (result,) = found["results"]
    parts = result["reference_loss"] + result["label_mismatch"] + result["distribution_mismatch"]
    assert result["bound"] == pytest.approx(parts, rel=1e-12)
    if "--unlabelled" in extra or "--solver" in extra:
        assert result["certified"] is False
    elif "target" not in extra:
        assert result["certified"] is True
        assert result["bound"] >= result["transferred_loss"]


def test_relate_takes_a_target_without_labels(files: dict[str, str]) -> None:
    out, err = run("relate", "--reference", files["near"], "--target", files["bare"])
    assert "–" in out  # what nobody can know
    assert "Not certified" in err


def test_hostile_class_names_are_printed_and_not_obeyed(files: dict[str, str]) -> None:
    out, _ = run("relate", "--reference", files["near"], "--target", files["hostile"])
    for name in HOSTILE[:2]:
        assert name in out
    assert r"naïve 類 \u202egnp \x1b[31m \x9b2J :rocket: \n" in out
    text = run("relate", "--reference", files["near"], "--target", files["hostile"], "--json")[0]
    assert not any(character in out + text for character in "\u202e\x1b\x9b")
    found = json.loads(text)
    assert list(found["results"][0]["class_map_names"]) == HOSTILE


# ── rank ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rank_feature_files_of_encoders(tmp_path: Path, files: dict[str, str]) -> None:
    for encoder, noise in (("sharp", 1), ("blurred", 5)):
        (tmp_path / encoder).mkdir()
        for seed, name in enumerate(["near", "goal"]):
            rng = np.random.default_rng(seed)
            labels = np.arange(60) % 3
            features = (4 * np.eye(3, 5)[labels] + noise * rng.normal(size=(60, 5))).astype(np.float32)
            write_features(tmp_path / encoder / f"{name}.npz", features, labels, ["a", "b", "c"])
    encoders = [f"features:{tmp_path}/{encoder}/{{data}}.npz" for encoder in ("blurred", "sharp")]
    arguments = ["--target", files["goal"], "--reference", files["near"]]
    arguments += [part for each in encoders for part in ("--encoder", each)]
    out, err = run("rank", *arguments, "--out", str(tmp_path / "out"), "--json", "--score", "logme", "--no-cache")
    found = json.loads(out)
    assert [each["encoder"] for each in found["ranking"]] == encoders[::-1]
    assert json.loads((tmp_path / "out" / "ranking.json").read_text()) == found
    names = [
        "README.md",
        "ranking.details.json",
        "ranking.json",
        "report.html",
        "report.md",
        "transform-1.safetensors",
        "transform-2.safetensors",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert "written" in err

    assert found["criterion"] == "transferred_accuracy"
    accuracies = [each["relatedness"]["transferred_accuracy"] for each in found["ranking"]]
    for each, accuracy in zip(found["ranking"], accuracies, strict=True):  # the interval is that of the criterion
        assert each["standing"]["low"] <= accuracy <= each["standing"]["high"]

    for sort in ("transferred_accuracy", "transferred_loss", "bound", "logme"):
        table, _ = run("rank", *arguments, "--sort", sort, "--no-cache")
        assert table.index("sharp") < table.index("blurred")
        assert f"best first by {sort.replace('_', ' ')} (" in table
    _, err = run("rank", *arguments, "--no-cache")
    assert "transferred accuracy: of the reference's classifier" in " ".join(err.split())
    bare = ["--target", files["bare"], *arguments[2:], "--no-cache"]
    (tmp_path / "sharp" / "bare.npz").write_bytes((tmp_path / "bare.npz").read_bytes())
    table, err = run("rank", *bare, code=3)  # no labels: by the bound; of the other encoder there is no file
    assert "best first by bound (" in table
    assert "transferred accuracy: of" not in err
    for sort in ("transferred_accuracy", "transferred_loss"):
        with pytest.raises(TransferabilityError, match=f"must not be '{sort}' for target 'bare'"):
            run("rank", *bare, "--sort", sort)
    missing = [*arguments, "--encoder", f"features:{tmp_path}/none/{{data}}.npz"]
    out, err = run("rank", *missing, "--no-cache", "--json", code=3)
    assert len(json.loads(out)["ranking"]) == 2
    assert "none" in json.loads(out)["skipped"][0]["encoder"]
    out, err = run("rank", *missing, "--no-cache", code=3)
    assert "skipped" in err
    assert "skipped" not in out


# ── extract ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_extract_writes_a_file_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_encoder.py").write_text(
        "import numpy as np\n\n\ndef grey(items):\n"
        "    return np.stack([np.asarray(each.convert('L')).ravel() for each in items])\n"
    )
    arguments = ["--encoder", "python:own_encoder:grey", "--data", "packaged:digits", "--limit", "50", "--no-cache"]
    out, err = run("extract", *arguments)
    assert out.strip() == "digits-python-own_encoder-grey.safetensors"
    assert Path(out.strip()).is_file()
    assert "50 rows of 64 features" in err
    found = json.loads(run("extract", *arguments, "--out", "f.npz", "--json")[0])
    assert (found["rows"], found["dimensions"], found["file"]) == (50, 64, "f.npz")
    for file in (["f.npz"], ["features:f.npz"], ["--features", "f.npz"]):
        scored = json.loads(run("score", *file, "--score", "logme", "--score", "knn", "--json")[0])
        assert [each["name"] for each in scored["scores"]] == ["logme", "knn"]


def test_numbers_for_people() -> None:
    assert (number(1.23456), number(1.23456, 1), number(None), number(float("nan"))) == ("1.235", "1.2", "–", "–")
    assert (percent(0.12345), percent(None)) == ("12.3 %", "–")
