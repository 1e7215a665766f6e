"""From one's own files to a task, as a user of the library would write it."""

import numpy as np
import pytest
from PIL import Image

from transferability.datasets import load_dataset, split
from transferability.encoders import load_encoder
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
