"""`rank --out`, `relate --out` and `transferability report` on a folder of one's own pictures and texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from transferability.cli.app import app
from transferability.errors import DatasetError, TransferabilityError

TINTS = {"birch": (40, 160, 40), "<b>oak<∕b>": (40, 60, 170), "אלון 🌳": (200, 60, 20)}


def pictures(folder: Path, seed: int, n: int = 8) -> None:
    rng = np.random.default_rng(seed)
    for name, tint in TINTS.items():
        (folder / name).mkdir(parents=True)
        for number in range(n):
            pixels = np.clip(rng.integers(-40, 40, (30, 40, 3)) + tint, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, name in enumerate(("mine", "theirs", "others")):
        pictures(tmp_path / name, seed)
    (tmp_path / "encoders_of_mine.py").write_text(
        "import numpy as np\n\n\n"
        "def colour(items):\n"
        "    return np.stack([np.asarray(each, dtype=float).mean(axis=(0, 1)) for each in items])\n\n\n"
        "def spread(items):\n"
        "    return np.stack([np.asarray(each, dtype=float).std(axis=(0, 1)) for each in items])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def rank(target: str, out: str) -> None:
    encoders = [part for name in ("colour", "spread") for part in ("--encoder", f"python:encoders_of_mine:{name}")]
    data = ["--target", f"folder:{target}", "--reference", "folder:theirs"]
    # Three features lie so near each other that at τ = 0.2 every classifier is flat, whatever they tell apart.
    run("rank", *data, *encoders, "--tau", "2", "--no-cache", "--out", out)


def test_a_report_beside_the_results_and_again_from_them(place: Path) -> None:
    rank("mine", "results")
    page = (place / "results" / "report.html").read_text("utf-8")
    assert "Take python:encoders_of_mine:colour for mine." in page
    assert "--reference" not in page.split("How it was made")[0]  # the command that was given stands last
    assert page.count("data:image/jpeg;base64,") >= 6
    assert "&lt;b&gt;oak" in page
    assert "<b>oak" not in page
    assert "אלון 🌳" in page
    (place / "results" / "report.html").unlink()
    printed = run("report", "results").splitlines()
    assert printed == [str(Path("results") / "report.html"), str(Path("results") / "report.md")]
    assert (place / "results" / "report.html").read_text("utf-8") == page


def test_several_targets_make_a_study(place: Path) -> None:
    rank("mine", "study/a")
    rank("others", "study/b")
    summary = json.loads(run("report", "study", "--json"))
    assert [part["targets"] for part in summary["parts"]] == [["mine"], ["others"]]
    assert summary["overview"]["columns"] == ["mine", "others"]
    page = (place / "study" / "report.html").read_text("utf-8")
    assert "Every encoder on every target" in page
    (place / "accuracies.csv").write_text(
        "encoder,accuracy\npython:encoders_of_mine:colour,0.5\npython:encoders_of_mine:spread,0.75\n"
    )
    assert "was not ranked" not in run("report", "study", "--measured", "accuracies.csv")
    (place / "near.csv").write_text("encoder,accuracy\npython:encoders_of_mine:color,0.5\n")
    with pytest.raises(DatasetError, match=r"'python:encoders_of_mine:color' was not ranked\. Did you mean"):
        run("report", "study", "--measured", "near.csv")
    assert "being wrong would cost about 25.0 points" in (place / "study" / "report.html").read_text("utf-8")


def test_relations_have_a_report_with_their_matrix(place: Path) -> None:
    options = ["--reference", "folder:theirs", "--reference", "folder:others", "--target", "folder:mine"]
    run("relate", *options, "--encoder", "python:encoders_of_mine:colour", "--no-cache", "--out", "related")
    page = (place / "related" / "report.html").read_text("utf-8")
    assert "mine is most like" in page
    assert "Targets by references" in page
    record = json.loads((place / "related" / "relate.json").read_text("utf-8"))
    assert record["encoder"] == "python:encoders_of_mine:colour"
    assert record["made"]["versions"]["numpy"] == np.__version__


def test_a_folder_without_results_is_told_how_to_make_some(place: Path) -> None:
    for folder in ("mine", "nowhere"):
        with pytest.raises(DatasetError, match=r"Write them with `transferability rank … --out`"):
            run("report", folder)
    (place / "mine" / "ranking.json").write_text("{")
    with pytest.raises(TransferabilityError, match="cannot be read"):
        run("report", "mine")
