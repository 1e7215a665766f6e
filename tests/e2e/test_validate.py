"""`transferability validate` as a command of its own: trained, agreed, resumed."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = "from transferability.cli.app import main; main()"
VALIDATE = ["validate", "--target", "npz:warm.npz", "--target", "npz:cold.npz", "--seeds", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("validate")
    rng = np.random.default_rng(0)
    for name, tint in (("warm", (200, 80, 40)), ("cold", (40, 80, 200))):
        labels = np.arange(90) % 3
        pixels = np.clip(rng.normal(110, 40, (90, 8, 8, 3)), 0, 255)
        for k in range(3):
            pixels[labels == k, 2 * k : 2 * k + 3] = np.clip(tint + rng.normal(0, 30, 3), 0, 255)
        np.savez(folder / f"{name}.npz", x=pixels.astype(np.uint8), y=labels)
    (folder / "own.py").write_text(
        "import numpy as np\n\n\n"
        "def rows(items):\n    return np.stack([np.asarray(each, float).mean(axis=1).ravel() for each in items])\n\n\n"
        "def colour(items):\n    return np.stack([np.asarray(each, float).mean(axis=(0, 1)) for each in items])\n\n\n"
        "def corner(items):\n    return np.stack([np.asarray(each, float)[:2, :2].ravel() for each in items])\n"
    )
    return folder


def process(place: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "TRANSFERABILITY_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1",
    }  # fmt: skip
    run = [sys.executable, "-c", COMMAND, *VALIDATE, *arguments]
    done = subprocess.run(
        run, cwd=place, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == code, done.stderr
    return done


def test_probing_ranks_three_functions_and_draws(place: Path) -> None:
    arguments = ["--method", "probe", "--score", "logme", "--score", "knn", "--plots", "plots", "--csv", "probing.csv"]
    for name in ("rows", "colour", "corner"):
        arguments += ["--encoder", f"python:own:{name}"]
    done = process(place, *arguments)
    assert "Accuracy after linear probing" in done.stdout
    assert "Agreement, mean over targets" in done.stdout
    for score in ("transferred_accuracy", "transferred_loss", "bound", "logme", "knn"):
        assert (place / "plots" / f"{score}.png").stat().st_size > 2000
    lines = [line.split() for line in done.stdout.splitlines()]
    accuracies = {
        (line[0], line[1]): float(line[2]) for line in lines if len(line) > 3 and line[1].startswith("python:")
    }
    assert len(accuracies) == 6
    assert accuracies["warm", "python:own:rows"] > 90
    assert accuracies["cold", "python:own:rows"] > accuracies["cold", "python:own:corner"]
    with (place / "probing.csv").open(encoding="utf-8", newline="") as stream:
        table = {(row["target"], row["encoder"]): row for row in csv.DictReader(stream)}
    assert {key: round(100 * float(row["accuracy"]), 1) for key, row in table.items()} == accuracies
    assert all(float(row["bound"]) > 0 and row["logme"] for row in table.values())
    assert {"transferred_accuracy", "transferred_loss", "bound", "logme", "knn"} <= {line[0] for line in lines if line}


@pytest.mark.slow
def test_fine_tuning_is_resumed_and_what_cannot_be_trained_is_skipped(place: Path, command: Command) -> None:
    arguments = ["--limit", "24", "--epochs", "2", "--score", "logme", "--results", "study.sqlite", "--json"]
    arguments += ["--encoder", "timm:test_efficientnet@random", "--encoder", "python:own:rows"]
    first = process(place, *arguments, code=3)
    found = json.loads(first.stdout)
    assert [each["encoder"] for each in found["observations"]] == ["timm:test_efficientnet@random"] * 2
    assert all("Take method 'probe'" in each["reason"] for each in found["skipped"])
    with sqlite3.connect(place / "study.sqlite") as connection:
        rows = connection.execute("SELECT kind, finished FROM results ORDER BY key").fetchall()
    assert sorted({kind for kind, _ in rows}) == ["finetune", "finetune-choice", "scores"]
    again = command(place, *VALIDATE, *arguments, code=3)
    assert again.stdout == first.stdout
    with sqlite3.connect(place / "study.sqlite") as connection:
        assert connection.execute("SELECT kind, finished FROM results ORDER BY key").fetchall() == rows


def test_results_are_kept_in_the_file_of_either_name(place: Path, command: Command) -> None:
    arguments = ["--method", "probe", "--score", "logme", "--encoder", "python:own:colour", "--limit", "24"]
    first = command(place, *VALIDATE, *arguments, "--results", "probes.sqlite")
    assert (place / "probes.sqlite").exists()
    again = command(place, *VALIDATE, *arguments, "--out", "probes.sqlite")
    assert "`--out` of validate is now `--results`" in again.stderr
    assert again.stdout == first.stdout
