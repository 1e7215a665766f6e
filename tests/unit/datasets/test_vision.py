import gzip
import pickle
import struct

import numpy as np
import pytest

from transferability.datasets import load_dataset
from transferability.errors import DatasetError, UnknownNameError


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERABILITY_DATA", str(tmp_path))
    return tmp_path


def write_mnist(folder, part, pixels, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array, magic in (("images-idx3", pixels, 2051), ("labels-idx1", labels, 2049)):
        header = struct.pack(f">{1 + array.ndim}i", magic, *array.shape)
        (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
        (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))


def test_a_data_set_that_is_there(root):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)
    write_mnist(root / "MNIST" / "raw", "train", pixels, labels)
    write_mnist(root / "MNIST" / "raw", "t10k", pixels[:3], labels[:3])
    data = load_dataset("torchvision:MNIST:test")
    assert (data.name, len(data), data.labels.tolist()) == ("MNIST_test", 3, [0, 1, 2])
    np.testing.assert_array_equal(np.asarray(data.items([1])[0])[..., 0], pixels[1])
    assert data.items([1])[0].mode == "RGB"
    assert len(load_dataset("torchvision:MNIST", limit=3)) == 3
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint() == data.fingerprint()
    with pytest.raises(UnknownNameError, match="no split 'val'"):
        load_dataset("torchvision:MNIST:val")


@pytest.mark.parametrize(
    ("spec", "error", "match"),
    [
        ("CIFAR11", UnknownNameError, "Did you mean 'CIFAR10'"),
        ("Country212", UnknownNameError, "Did you mean 'Country211'"),
        ("SEMEION:train", UnknownNameError, "has no splits"),
        ("CIFAR10:test", DatasetError, "'torchvision:CIFAR10:test' cannot be loaded: .*TRANSFERABILITY_DATA"),
        ("ImageNet:val", DatasetError, "cannot be loaded"),
    ],
)
@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_data_that_cannot_be_had(root, spec, error, match):
    with pytest.raises(error, match=match):
        load_dataset(f"torchvision:{spec}")


def test_fake_data(root, monkeypatch):
    import torchvision

    kind = torchvision.datasets.FakeData
    monkeypatch.setattr(kind.__init__, "__defaults__", (12, (3, 8, 8), 3, None, None, 0))
    data = load_dataset("torchvision:FakeData")
    assert (len(data), data.modality, data.items([3])[0].size) == (12, "image", (8, 8))
    assert data.labels.max() <= 2
