"""`transferability rank` on a folder of one's own pictures, as a command of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferability.relatedness.results.transform import Transform

Command = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = "from transferability.cli.app import main; main()"
TINTS = {"birch": (40, 160, 40), "maple [red]": (200, 60, 20), "<b>oak</b>": (40, 60, 170)}


def pictures(folder: Path, seed: int, n: int = 8) -> None:
    """Write pictures whose colour tells their class, of any size and format."""
    rng = np.random.default_rng(seed)
    for name, tint in TINTS.items():
        place = folder / name.replace("/", "∕")  # a slash cannot be in a name; its look-alike can
        place.mkdir(parents=True)
        for number in range(n):
            height, width = rng.integers(20, 50, 2)
            pixels = np.clip(rng.integers(-40, 40, (height, width, 3)) + tint, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.{['png', 'jpg', 'webp'][number % 3]}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rank")
    pictures(folder / "my leaves", 0)
    pictures(folder / "their leaves", 1)
    (folder / "own_encoders.py").write_text(
        "import numpy as np\n\n\n"
        "def colour(items):\n"
        "    return np.stack([np.asarray(each, dtype=float).mean(axis=(0, 1)) for each in items])\n\n\n"
        "def size(items):\n"
        "    return np.array([each.size for each in items], dtype=float)\n"
    )
    return folder


def process(place: Path, *arguments: str, code: int = 0, before: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "TRANSFERABILITY_CACHE": str(place / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONUTF8": "1",
    }
    run = [sys.executable, "-c", before + COMMAND, *arguments]
    done = subprocess.run(
        run, cwd=place, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == code, done.stderr
    return done


def test_own_pictures_own_encoders_and_a_network(place: Path, command: Command) -> None:
    arguments = ["rank", "--target", "folder:my leaves", "--reference", "folder:their leaves", "--json", "--out", "out"]
    for encoder in ("python:own_encoders:size", "python:own_encoders:colour", "timm:test_efficientnet@random"):
        arguments += ["--encoder", encoder]
    done = process(place, *arguments, "--score", "logme")
    found = json.loads(done.stdout)  # nothing but data on stdout
    ranked = [each["encoder"] for each in found["ranking"]]
    assert ranked.index("python:own_encoders:colour") < ranked.index("python:own_encoders:size")
    assert len(ranked) == 3
    assert found["skipped"] == []
    for place_in_list, each in enumerate(found["ranking"], start=1):
        result = each["relatedness"]
        assert result["certified"]
        assert result["bound"] >= result["transferred_loss"]
        assert (result["reference"], result["target"]) == ("their leaves", "my leaves")
        assert set(result["class_map_names"]) == {name.replace("/", "∕") for name in TINTS}
        transform = Transform.load(place / "out" / f"transform-{place_in_list}.safetensors")
        np.testing.assert_allclose(transform.B.sum(axis=0), 1)
    assert json.loads((place / "out" / "ranking.json").read_text(encoding="utf-8")) == found

    again = json.loads(command(place, *arguments, "--score", "logme").stdout)  # the network's features from the cache
    assert [each["relatedness"]["bound"] for each in again["ranking"]] == [
        each["relatedness"]["bound"] for each in found["ranking"]
    ]
    assert list((place / "cache").rglob("*.safetensors"))


def test_one_encoder_that_does_not_exist_is_skipped_and_the_exit_status_says_so(place: Path, command: Command) -> None:
    arguments = ["rank", "--target", "folder:my leaves", "--reference", "folder:their leaves"]
    arguments += ["--encoder", "python:own_encoders:color", "--encoder", "python:own_encoders:colour"]
    done = command(place, *arguments, code=3)
    assert "1  python:own_encoders:colour" in done.stdout
    assert "best first by transferred accuracy (reference their leaves; chance 33.3 %)" in done.stdout
    header = next(line for line in done.stdout.splitlines() if "linear probe" in line)
    assert header.split()[:7] == ["#", "encoder", "transferred", "accuracy", "95", "%", "interval"]
    assert "python:own_encoders:color: skipped: " in done.stderr
    assert "Did you mean 'colour'" in done.stderr
    assert "on all rows of the target, each by a classifier fitted without it" in " ".join(done.stderr.split())
    assert "skipped" not in done.stdout


def test_a_missing_extra_names_the_command_that_installs_it(place: Path) -> None:
    arguments = ["rank", "--target", "folder:my leaves", "--reference", "folder:their leaves"]
    hidden = "import sys; sys.modules['timm'] = None; "  # as if it were not installed
    done = process(place, *arguments, "--encoder", "timm:resnet18", code=1, before=hidden)
    assert done.stdout == ""
    assert "pip install 'transferability[timm]'" in done.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated", "oak"),
        ("lonely", "class 'birch' of data 'leaves' has a single row"),
        ("empty", "holds no picture"),
        ("nowhere", "there is no folder"),
    ],
)
def test_data_at_fault_end_with_one_sentence_and_no_file(
    place: Path, command: Command, tmp_path: Path, damage: str, message: str
) -> None:
    folder = tmp_path / "leaves"
    if damage != "nowhere":
        pictures(folder, 2, n=4)
    if damage == "truncated":
        file = folder / "<b>oak<∕b>" / "0.png"
        file.write_bytes(file.read_bytes()[:60])
    elif damage == "lonely":
        for number in (0, 1, 2):
            next((folder / "birch").glob(f"{number}.*")).unlink()
    elif damage == "empty":
        (folder / "zelkova").mkdir()
    arguments = ["rank", "--target", f"folder:{folder}", "--reference", "folder:their leaves", "--out", "never"]
    code = 2 if damage == "nowhere" else 1
    done = command(place, *arguments, "--encoder", "python:own_encoders:colour", code=code)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "never").exists()
