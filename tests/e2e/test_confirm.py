"""`rank --confirm` and `validate --top` as commands: a shortlist fine-tuned, told, kept and resumed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transferability.display.frozen import better_frozen
from transferability.encoders.function import FunctionEncoder
from transferability.errors import OptionError
from transferability.pipeline import Settings, prepare
from transferability.validation.confirm import Job
from transferability.validation.ray import run_on_ray
from transferability.validation.settings import FineTuning

Command = Callable[..., subprocess.CompletedProcess[str]]
LAYER_FOLDERS = """
import timm
import torch

for seed in (3, 4):
    torch.manual_seed(seed)
    network = timm.create_model("test_vit", pretrained=False)
    timm.models.save_for_hf(network, f"runs/layer={seed}", safe_serialization=True)
"""
ENCODERS = ("timm:test_efficientnet@random", "timm:test_vit@random", "python:own:rows")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("confirm")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = np.clip(rng.normal(110, 40, (60, 8, 8, 3)), 0, 255)
    for k in range(3):
        pixels[labels == k, 2 * k : 2 * k + 3] += 80
    np.savez(folder / "bands.npz", x=np.clip(pixels, 0, 255).astype(np.uint8), y=labels)
    (folder / "own.py").write_text(
        "import numpy as np\n\n\n"
        "def rows(items):\n    return np.stack([np.asarray(each, float).mean(axis=1).ravel() for each in items])\n"
    )
    return folder


def kinds(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT count(*) FROM results WHERE kind = 'confirm'").fetchone()[0])


@pytest.mark.slow
def test_a_ranking_is_confirmed_as_it_is_made_and_afterwards(place: Path, command: Command) -> None:
    options = [each for name in ENCODERS for each in ("--encoder", name)]
    done = command(place, "rank", "npz:bands.npz", *options, "--confirm", "3", "--out", "results", code=3)
    assert "fine-tuned" in done.stdout.splitlines()[1]
    said = " ".join(done.stderr.split())
    assert "Fine-tuned on bands, timm:test_" in said
    assert "'python:own:rows' cannot be fine-tuned" in said
    record = json.loads((place / "results" / "ranking.json").read_text())
    entries = record["confirmation"]["entries"]
    assert [each["encoder"] for each in entries][2] == "python:own:rows"
    assert record["confirmation"]["best"] == entries[0]["encoder"]
    shown = {each["encoder"]: each["confirmed_accuracy"] for each in record["ranking"]}
    assert shown == {each["encoder"]: each["accuracy"] for each in entries}
    report = (place / "results" / "report.html").read_text()
    frozen = better_frozen(record)
    taken = f"{entries[0]['encoder']} for" if frozen is None else "python:own:rows as it is for"
    assert f"Take {taken} bands." in report
    assert record["confirmation"]["in_words"].split(" (95")[0] in report
    assert "Of the fine-tuning" in report
    assert "python:own:rows: passed over" in report
    assert "Of the fine-tuning: python:own:rows: passed over" in (place / "results" / "report.md").read_text()

    store = place / "results" / "finetuned.sqlite"
    assert kinds(store) == 2
    again = command(
        place, "validate", "--top", "3", "results", "--csv", "tuned.csv", "--json", code=3
    )  # one cannot be fine-tuned
    assert json.loads(again.stdout)["entries"] == entries  # nothing was trained again
    assert kinds(store) == 2
    lines = (place / "tuned.csv").read_text().splitlines()
    assert lines[0].startswith("encoder,accuracy,")
    assert lines[0].endswith("accuracy_low,accuracy_high")
    assert [line.split(",")[0] for line in lines[1:]] == [each["encoder"] for each in entries]
    first = record["ranking"][0]["encoder"]
    shorter = command(place, "validate", "--top", "1", "results/ranking.json")
    table = shorter.stdout
    assert "`--top 2` brings the others back" in " ".join(shorter.stderr.split())
    record = json.loads((place / "results" / "ranking.json").read_text())
    entries = record["confirmation"]["entries"]
    assert len(entries) == 1 + first.startswith("python:")  # passed over, and told last
    assert [each["accuracy"] is not None for each in entries] == [True, False][: len(entries)]
    assert sum(each["confirmed"] is not None for each in record["ranking"]) == len(entries)
    assert "transferred accuracy" in table


@pytest.mark.slow
def test_what_cannot_be_trained_gives_its_place_to_the_next(place: Path, command: Command) -> None:
    options = [each for name in ("python:own:rows", ENCODERS[1]) for each in ("--encoder", name)]
    done = command(place, "rank", "npz:bands.npz", *options, "--sort", "items_per_second", "--confirm", "1", "--json")
    record = json.loads(done.stdout)
    assert record["ranking"][0]["encoder"] == "python:own:rows"  # the fastest
    assert record["confirmation"]["best"] == ENCODERS[1]
    passed_over = record["confirmation"]["entries"][1]
    assert passed_over["encoder"] == "python:own:rows"
    assert passed_over["note"].startswith("passed over: encoder 'python:own:rows' cannot be fine-tuned")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("validate", "--top", "2", "nowhere"), "nowhere"),
        (("validate", "--top", "2"), "`ranking` must be given"),
        (
            ("rank", "npz:bands.npz", "-e", "python:own:rows", "--unlabelled", "--confirm", "1"),
            "fine-tuning needs them",
        ),
    ],
)
def test_what_cannot_be_confirmed_is_refused(
    arguments: tuple[str, ...], message: str, place: Path, command: Command
) -> None:
    done = command(place, *arguments, code=2)
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())


RAY = """
import json
import ray
from transferability.pipeline import Settings, prepare
from transferability.validation.confirm import Job, run_here
from transferability.validation.ray import run_on_ray
from transferability.validation.settings import FineTuning, Hyperparameters

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    settings = Settings(cache=False, device="cpu", workers=0)
    part = prepare("npz:bands.npz", settings)
    tuning, chosen = FineTuning(), Hyperparameters(1e-3, 1e-2)
    jobs = [Job(name, part, settings, tuning, 1, 0, chosen) for name in ("timm:test_vit@random", "python:own:rows")]
    found = (sorted(run(jobs), key=lambda pair: pair[0]) for run in (run_here, run_on_ray))
    here, there = ([{**each, "seconds": 0} for _, each in pairs] for pairs in found)
    print(json.dumps([here, there]))
    ray.shutdown()
"""


@pytest.mark.slow
def test_a_cluster_trains_the_same(place: Path) -> None:
    (place / "with_ray.py").write_text(RAY)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": _search_path(place)}
    done = subprocess.run(
        [sys.executable, "with_ray.py"], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    here, there = json.loads(done.stdout.splitlines()[-1])
    assert here == there
    assert here[0]["accuracy"] > 0
    assert "cannot be fine-tuned" in here[1]["reason"]


def _search_path(place: Path) -> str:
    return os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_encoders_in_memory_stay_here(place: Path) -> None:
    encoder = FunctionEncoder("mine", len)
    part = prepare(f"npz:{place / 'bands.npz'}", Settings(cache=False))
    with pytest.raises(OptionError, match=r"must be 'local' for encoders that are objects.*'mine'"):
        run_on_ray([Job(encoder, part, Settings(), FineTuning(), 1, 0)])


@pytest.mark.slow
def test_layers_are_confirmed_as_the_encoder_and_other_data_are_refused(place: Path, command: Command) -> None:
    options = ["--encoder", ENCODERS[1], "--layer", "all", "--out", "layers"]
    done = command(place, "rank", "npz:bands.npz", *options, "--confirm", "1")
    record = json.loads((place / "layers" / "ranking.json").read_text())
    first = record["ranking"][0]["encoder"]
    (entry,) = record["confirmation"]["entries"]
    assert entry["encoder"] == record["confirmation"]["best"] == ENCODERS[1]
    assert entry["ranked_as"] == (None if first == ENCODERS[1] else first)
    assert [each["confirmed"] is not None for each in record["ranking"]] == [True] + [False] * (
        len(record["ranking"]) - 1
    )
    assert {each["expected_accuracy"] for each in record["ranking"]} == {entry["accuracy"]}
    assert f"Take {ENCODERS[1]} for bands." in (place / "layers" / "report.html").read_text()
    assert f"Fine-tuned on bands, {ENCODERS[1]}" in " ".join(done.stderr.split())
    with np.load(place / "bands.npz") as bands:
        np.savez(place / "other.npz", x=bands["x"][::-1], y=bands["y"])
    refused = command(place, "validate", "--top", "1", "layers", "--target", "npz:other.npz", code=2)
    assert "are not those of the ranking" in " ".join(refused.stderr.split())


@pytest.mark.slow
def test_folders_that_look_like_layers_and_two_names_of_one_model(place: Path, command: Command) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", LAYER_FOLDERS], cwd=place, env=environment, check=True, capture_output=True)
    names = [f"timm:local-dir:{folder}" for folder in ("runs/layer=3", "./runs/layer=3", "runs/layer=4")]
    options = [each for name in names for each in ("--encoder", name)]
    command(place, "rank", "npz:bands.npz", *options, "--layer", "all", "--confirm", "3", "--out", "odd", code=3)
    record = json.loads((place / "odd" / "ranking.json").read_text())
    rows = record["ranking"]
    assert {each["base_encoder"] for each in rows} == set(names)
    for each in rows:
        layer = "" if each["layer"] is None else f"/layer={each['layer']}"
        assert each["encoder"] == each["base_encoder"] + layer
    *entries, other = record["confirmation"]["entries"]
    tuned = {each["encoder"]: each["accuracy"] for each in entries}
    assert len(tuned) == 2  # of two names the first
    assert names[2] in tuned
    (first,) = set(tuned) - {names[2]}
    assert {first, other["encoder"]} == set(names[:2])
    assert other["note"] == f"passed over: it is {first!r} by another name: both are the same model."
    expected = {each["base_encoder"]: each["expected"] for each in rows}
    assert {name: expected[name]["value"] for name in tuned} == tuned
    assert expected[names[0]] == expected[names[1]] == expected[first]
    assert len({each["model_hash"] for each in rows}) == 2
