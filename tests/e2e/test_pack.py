"""`transferability pack`, and what it is for: comparing without samples, on packaged digits."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
ENCODERS = """
import numpy as np


def rows(items):
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0) for each in items])


def pixels(items):
    return np.stack([np.asarray(each.convert("L"), dtype=float).ravel() for each in items])


rows.modality = pixels.modality = "image"
rows.version = pixels.version = "1"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A folder with two encoders and a pack of each."""
    folder = tmp_path_factory.mktemp("packs")
    (folder / "own.py").write_text(ENCODERS)
    for name in ("rows", "pixels"):
        arguments = ["--data", "packaged:digits", "--encoder", f"python:own:{name}", "--limit", "300", "--json"]
        told = json.loads(command(folder, "pack", *arguments, "--out", f"packs/python-own-{name}.safetensors").stdout)
        assert told["file"] == f"packs/python-own-{name}.safetensors"
        assert (told["rows"], told["classes"], told["covariance"]) == (300, 10, "low-rank")
        assert told["bytes"] == (folder / told["file"]).stat().st_size
    return folder


def test_rank_with_a_pack_for_each_encoder(place: Path, command: Command) -> None:
    encoders = ["--encoder", "python:own:rows", "--encoder", "python:own:pixels"]
    shared = ["--target", "packaged:digits", "--limit", "300", *encoders, "--json"]
    by_pack = json.loads(command(place, "rank", "--reference", "pack:packs/{encoder}.safetensors", *shared).stdout)
    by_samples = json.loads(command(place, "rank", "--reference", "packaged:digits", *shared).stdout)
    for found in (by_pack, by_samples):
        assert found["criterion"] == "transferred_accuracy"  # the target has samples
        assert [each["encoder"] for each in found["ranking"]] == ["python:own:pixels", "python:own:rows"]
        for each in found["ranking"]:
            result = each["relatedness"]
            assert (result["certified"], result["evaluated_on"]) == (True, "folds")
            assert result["bound"] >= result["transferred_loss"]
    named = [
        part for name in ("rows", "pixels") for part in ("--reference", f"pack:packs/python-own-{name}.safetensors")
    ]
    by_name = json.loads(command(place, "rank", *named, *shared).stdout)
    bounds = [[each["relatedness"]["bound"] for each in found["ranking"]] for found in (by_pack, by_name)]
    assert bounds[0] == bounds[1]


def test_relate_to_a_pack_and_between_packs(place: Path, command: Command) -> None:
    pack = "pack:packs/python-own-pixels.safetensors"
    arguments = ["--target", "packaged:digits", "--encoder", "python:own:pixels", "--limit", "300"]
    done = command(place, "relate", "--reference", pack, *arguments)
    assert "The reference is the 90 rows whose logits the pack keeps." in " ".join(done.stderr.split())
    bare = ["--data", "packaged:digits", "--encoder", "python:own:pixels", "--limit", "300", "--rows", "0", "--json"]
    told = json.loads(command(place, "pack", *bare, "--out", "bare.safetensors").stdout)
    assert told["rows_of_logits"] == 0
    done = command(place, "relate", "--reference", "pack:bare.safetensors", *arguments)
    assert "Not certified: an estimate" in " ".join(done.stderr.split())
    (found,) = json.loads(command(place, "relate", "--reference", pack, "--target", pack, "--json").stdout)["results"]
    assert found["transferred_loss"] is None
    assert found["class_map"] == list(range(10))
    assert found["distribution_mismatch"] < 0.05  # to itself
    gamma = ["--ground-cost", "gamma", "--fixed-map", "--json"]
    (found,) = json.loads(command(place, "relate", "--reference", pack, "--target", pack, *gamma).stdout)["results"]
    assert found["distribution_mismatch"] == pytest.approx(0.0, abs=1e-9)
    assert "Eq. 5" in found["certificate"]


def test_private_targets_are_ranked_without_samples(place: Path, command: Command) -> None:
    packs = "pack:packs/{encoder}.safetensors"
    arguments = ["--encoder", "python:own:rows", "--encoder", "python:own:pixels", "--score", "logme", "--json"]
    found = json.loads(command(place, "rank", "--reference", packs, "--target", packs, *arguments).stdout)
    assert [each["encoder"] for each in found["ranking"]] == ["python:own:pixels", "python:own:rows"]
    assert found["criterion"] == "bound"
    sort = ["--reference", packs, "--target", packs, *arguments, "--sort", "transferred_accuracy"]
    assert "Sort by 'bound' or a score" in command(place, "rank", *sort, code=2).stderr
    for each in found["ranking"]:
        assert each["relatedness"]["transferred_accuracy"] is None
        assert each["scores"] == {}
        assert "needs samples" in each["notes"]["logme"]


@pytest.mark.parametrize(
    ("command_name", "arguments", "message"),
    [
        (
            "relate",
            ["--reference", "pack:packs/python-own-rows.safetensors", "--target", "packaged:digits"],
            "made with encoder 'python:own:rows' (",
        ),
        ("relate", ["--reference", "pack:own.py", "--target", "packaged:digits"], "damaged or not a reference pack"),
    ],
)
def test_what_does_not_fit_ends_with_one_sentence(
    place: Path, command: Command, command_name: str, arguments: list[str], message: str
) -> None:
    shown = command(place, command_name, *arguments, "--encoder", "python:own:pixels", code=1)
    assert shown.stdout == ""
    assert shown.stderr.startswith("error: ")
    assert message in shown.stderr
    if "made with" in message:  # both are shown
        assert "this is encoder 'python:own:pixels' (" in shown.stderr


def test_packs_of_different_encoders_are_not_compared(place: Path, command: Command) -> None:
    reference, target = (f"pack:packs/python-own-{name}.safetensors" for name in ("rows", "pixels"))
    assert "cannot be compared" in command(place, "relate", "--reference", reference, "--target", target, code=1).stderr


def test_a_compact_pack_is_small_and_gives_nearly_the_same_bound(place: Path, command: Command) -> None:
    made = ["--data", "packaged:digits", "--encoder", "python:own:pixels", "--limit", "300"]
    done = command(place, "pack", *made, "--compact", "--out", "small.safetensors")
    assert "It holds the logits of 90 rows; --rows 0 leaves them out." in " ".join(done.stderr.split())
    assert (place / "small.safetensors").stat().st_size < 0.3 * (
        place / "packs/python-own-pixels.safetensors"
    ).stat().st_size
    arguments = ["--target", "packaged:digits", "--encoder", "python:own:pixels", "--limit", "300", "--json"]
    bounds = []
    for pack in ("small.safetensors", "packs/python-own-pixels.safetensors"):
        (found,) = json.loads(command(place, "relate", "--reference", f"pack:{pack}", *arguments).stdout)["results"]
        bounds.append(found["bound"])
    assert bounds[0] == pytest.approx(bounds[1], abs=0.02)
