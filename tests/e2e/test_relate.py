"""`transferability relate`: features, pictures and texts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transferability.features import write_features

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relate")
    for seed, (name, order) in enumerate({"plain": [0, 1, 2], "turned": [2, 0, 1]}.items()):
        rng = np.random.default_rng(seed)
        labels = np.arange(90) % 3
        features = 4 * np.eye(3, 6)[np.array(order)[labels]] + rng.normal(size=(90, 6))
        write_features(folder / f"{name}.safetensors", features.astype(np.float32), labels, ["x", "y", "z"])
    (folder / "broken.npz").write_bytes((folder / "plain.safetensors").read_bytes()[:100])
    rows = [f"good fine film {k},good\nbad poor film {k},bad" for k in range(12)]
    (folder / "films.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    rows = [f"a fine meal {k},tasty\na bad bad meal {k},awful" for k in range(12)]
    (folder / "meals.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (folder / "count_words.py").write_text(
        "import numpy as np\n\n\n"
        "def words(items):\n"
        "    known = ['good', 'fine', 'bad', 'poor', 'film', 'meal']\n"
        "    return np.array([[each.split().count(word) for word in known] for each in items], dtype=float)\n\n\n"
        "words.modality = 'text'\n"
    )
    return folder


def process(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "TRANSFERABILITY_CACHE": str(place / "cache"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUTF8": "1",
    }
    run = [sys.executable, "-c", "from transferability.cli.app import main; main()", *arguments]
    done = subprocess.run(
        run, cwd=place, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_matrix_of_feature_files(place: Path) -> None:
    names = ["features:plain.safetensors", "features:turned.safetensors"]
    arguments = [part for name in names for part in ("--reference", name, "--target", name)]
    found = json.loads(process(place, "relate", *arguments, "--json").stdout)
    assert [result["target"] for result in found["results"]] == ["plain", "turned"]
    for result in found["results"]:
        assert [each["reference"] for each in result["panel"]] == ["plain", "turned"]
        for each in result["panel"]:
            assert each["certified"]
            assert each["bound"] >= each["transferred_loss"]
    plain = found["results"][0]["panel"]
    assert plain[0]["class_map_names"] == {"x": "x", "y": "y", "z": "z"}
    assert plain[1]["class_map_names"] == {"x": "y", "y": "z", "z": "x"}  # turned: its class y sits where x sat


def test_texts_with_a_function_of_ones_own(place: Path, command: Command) -> None:
    arguments = ["--reference", "csv:films.csv", "--target", "csv:meals.csv", "--encoder", "python:count_words:words"]
    done = command(place, "relate", *arguments, "--tau", "auto")
    assert "films → meals" in done.stdout
    tasty = next(line for line in done.stdout.splitlines() if line.startswith("tasty"))
    assert tasty.split()[1] == "good"
    assert "Certified" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--reference", "features:broken.npz", "--target", "features:plain.safetensors"], "broken.npz", 1),
        (["--reference", "features:none.npz", "--target", "features:plain.safetensors"], "none.npz", 2),
        (["--reference", "feature:plain.safetensors", "--target", "csv:films.csv"], "Did you mean 'features'", 2),
        (["--reference", "csv:films.csv", "--target", "csv:meals.csv", "--encoder", "python:nowhere:f"], "nowhere", 2),
    ],
)
def test_bad_input_ends_with_one_sentence(
    place: Path, command: Command, arguments: list[str], message: str, code: int
) -> None:
    done = command(place, "relate", *arguments, code=code)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in command(place, "--debug", "relate", *arguments, code=1).stderr


def test_wrong_usage_ends_with_two(place: Path, command: Command) -> None:
    done = command(place, "relate", code=2)
    assert done.stdout == ""
    assert "`target` must be given" in done.stderr
