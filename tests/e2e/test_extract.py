"""From one's own files to a task, as a user of the library would write it."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from transferability.cli.app import app
from transferability.datasets import load_dataset, split
from transferability.encoders import hidden_layers, load_encoder
from transferability.errors import OptionError
from transferability.features import extract_features, read_features, write_features


@pytest.fixture
def leaves(tmp_path):
    """Return a folder of pictures of two classes, of any size, mode and format, that colour tells apart."""
    rng = np.random.default_rng(0)
    for name, tint in (("birch leaf", (40, 160, 40)), ("maple leaf", (200, 60, 20))):
        (tmp_path / "my leaves" / name).mkdir(parents=True)
        for number, suffix in enumerate(["png", "jpg", "webp", "png", "jpg", "bmp"]):
            height, width = rng.integers(20, 60, 2)
            noise = rng.integers(-30, 30, (height, width, 3))
            pixels = np.clip(noise + tint, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my leaves" / name / f"{number}.{suffix}")
    return tmp_path / "my leaves"


def test_own_pictures_to_a_task_and_back_from_a_file(leaves, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    data = load_dataset(f"folder:{leaves}")
    encoder = load_encoder("timm:test_efficientnet@random", device="cpu")
    found = extract_features(encoder, data)
    again = extract_features(
        load_encoder("timm:test_efficientnet@random", device="cpu"), load_dataset(f"folder:{leaves}")
    )
    np.testing.assert_array_equal(found.features, again.features)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1

    task = found.task()
    assert (task.name, task.class_names, len(task)) == ("my leaves", ("birch leaf", "maple leaf"), 12)
    path = write_features(tmp_path / "leaves.npz", found.features, found.labels, found.class_names, found.ids)
    stored = read_features(path).task()
    np.testing.assert_array_equal(stored.features, task.features)
    assert stored.class_names == task.class_names

    fit, test = split(task.labels, 0.5)
    assert np.bincount(task.labels[fit]).tolist() == np.bincount(task.labels[test]).tolist() == [3, 3]
    # Even an untrained network tells green from red: nearest class mean of the fitting half.
    means = np.stack([task.features[fit][task.labels[fit] == label].mean(0) for label in (0, 1)])
    nearest = np.linalg.norm(task.features[test][:, None] - means, axis=2).argmin(1)
    assert (nearest == task.labels[test]).all()


def test_every_layer_in_one_pass_one_file_each(leaves, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    common = ["extract", "--encoder", "timm:test_efficientnet@random", "--data", f"folder:{leaves}", "--device", "cpu"]

    def run(*arguments):
        done = CliRunner().invoke(app, [*common, *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    found = json.loads(run("--layer", "all", "--out", "layers", "--dtype", "float16", "--json"))
    layers = hidden_layers(load_encoder("timm:test_efficientnet@random", device="cpu"))
    assert [each["output"] for each in found["files"]] == ["features", *layers]
    assert len(layers) > 2
    last = read_features(tmp_path / found["files"][-1]["file"])
    assert last.features.shape == (12, found["files"][-1]["dimensions"])
    run("--layer", "-1", "--out", "last.npz", "--dtype", "float16")
    np.testing.assert_array_equal(read_features(tmp_path / "last.npz").features, last.features)
    path = run("--layer", layers[0]).strip()
    assert path == f"my-leaves-timm-test_efficientnet-random-{layers[0]}.safetensors"
    whole, half = (read_features(tmp_path / each).features for each in (path, found["files"][1]["file"]))
    np.testing.assert_array_equal(half, whole.astype(np.float16))
    with pytest.raises(OptionError, match="must not go with `--executor ray`"):
        run("--shard", "1/2", "--executor", "ray")
