"""Folders of pictures: which part is trained on, and that all of them are encoded."""

import numpy as np
import pytest

from d3pm.config import DataConfig
from d3pm.data import load_data
from d3pm.errors import DataError
from d3pm.pictures import load_pictures

image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)


def write(root, *places):
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(RNG.integers(256, size=(8, 8)).astype(np.uint8)).save(path)
    return DataConfig("images", str(root))


def of_parts(*parts):
    return [f"{part}/{name}/{i}.png" for part in parts for name in ("cat", "dog") for i in range(10)]


def test_a_train_folder_alone_is_split_by_its_own_classes(tmp_path):
    config = write(tmp_path, *of_parts("train"))
    dataset = load_data(DataConfig("images", config.path, conditional=True))
    assert dataset.spec.classes == ("cat", "dog")
    assert (len(dataset.train), len(dataset.test)) == (18, 2)
    assert load_pictures(config).names[0] == "train/cat/0.png"


@pytest.mark.parametrize("parts", [("test",), ("val", "test"), ("Validation",)])
def test_a_test_part_is_never_trained_on(tmp_path, parts):
    config = write(tmp_path, *of_parts(*parts))
    with pytest.raises(DataError, match=r"must hold pictures to train on.*name the folder itself"):
        load_data(config)
    whole = load_pictures(config, whole=True)
    assert len(whole.train) == 20 * len(parts)
    assert whole.classes == ("cat", "dog")


def test_all_parts_are_encoded(tmp_path):
    write(tmp_path, *of_parts("train", "val"), "test/cow/0.png")
    whole = load_pictures(DataConfig("images", str(tmp_path)), whole=True)
    assert [name.split("/")[0] for name in whole.names] == ["train"] * 20 + ["test"] + ["val"] * 20
    assert whole.classes == ("cat", "cow", "dog")
    assert whole.train_labels.tolist() == [0] * 10 + [2] * 10 + [1] + [0] * 10 + [2] * 10
    assert len(whole.test) == 0


def test_folders_of_classes_with_such_names(tmp_path):
    """A class may be called train or test among others."""
    dataset = load_data(write(tmp_path, *(f"{name}/{i}.png" for name in ("plane", "train", "car") for i in range(10))))
    assert set(dataset.train_labels) == {0, 1, 2}
    with pytest.raises(DataError, match="has pictures"):
        load_data(write(tmp_path / "b", "test/0.png", "0.png"))
