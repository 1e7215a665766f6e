import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from transferability.errors import DatasetError, FeatureError, FileDamagedError, LabelError, OptionError
from transferability.features import read_features, write_features

FEATURES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1, 1])
suffixes = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])


@suffixes
def test_what_was_written_is_read(tmp_path, suffix):
    path = tmp_path / "new folder" / f"fé atures{suffix}"
    names, ids = ["Hund & Katze", "☹"], [f"dir/{i}.png" for i in range(5)]
    assert write_features(path, FEATURES, LABELS, names, ids) == path
    table = read_features(path)
    np.testing.assert_array_equal(table.features, FEATURES)
    assert table.features.dtype == np.float32
    assert table.labels.tolist() == LABELS.tolist()
    assert table.class_names == tuple(names)
    assert table.ids.tolist() == ids
    assert table.name == "fé atures"
    assert repr(table.task()) == "Task('fé atures': 5 samples, 3 features, 2 classes)"
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # no temporary file is left


@suffixes
def test_features_alone_and_other_dtypes(tmp_path, suffix):
    path = write_features(tmp_path / f"f{suffix}", FEATURES.astype(np.float16))
    table = read_features(path)
    assert table.features.dtype == np.float32
    assert (table.labels, table.class_names, table.ids) == (None, None, None)
    write_features(path, FEATURES.astype(np.float64)[:, ::-1])  # replaces; not contiguous
    np.testing.assert_array_equal(read_features(path).features, FEATURES[:, ::-1])


@suffixes
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_never_read(tmp_path_factory, suffix, share):
    path = tmp_path_factory.mktemp("f") / f"f{suffix}"
    write_features(path, FEATURES, LABELS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FileDamagedError, match=rf"f\{suffix}"):
        read_features(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "f.safetensors"
    path.write_bytes(b"\xff" * 200)
    with pytest.raises(FileDamagedError, match="damaged or not a safetensors file"):
        read_features(path)
    save_file({"features": FEATURES}, path, metadata={"ids": "not json"})
    with pytest.raises(FileDamagedError, match="safetensors"):
        read_features(path)
    path = tmp_path / "f.npz"
    np.savez(path, features=FEATURES, labels=np.array([None] * 5))
    with pytest.raises(FileDamagedError, match="pickled objects"):
        read_features(path)
    with pytest.raises(DatasetError, match="there is no file"):
        read_features(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": FEATURES}, "must hold an array `features`; it holds x"),
        ({"features": FEATURES[0]}, "must be 2-D"),
        ({"features": FEATURES, "labels": LABELS[:4]}, "`labels` of .* one entry per row"),
        ({"features": FEATURES, "ids": np.array(["a"])}, "`ids` of .* one entry per row"),
        ({"features": FEATURES, "class_names": np.array("ab")}, "`class_names` of .* must be a list"),
        ({"features": np.where(np.arange(5)[:, None] == 3, np.nan, FEATURES)}, "row 3 holds NaN"),
        ({"features": FEATURES[:0]}, "at least one row"),
    ],
)
def test_files_whose_arrays_do_not_fit(tmp_path, arrays, match):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(FeatureError, match=match):
        read_features(tmp_path / "f.npz")


def test_write_refuses_before_it_touches_the_disk(tmp_path):
    with pytest.raises(OptionError, match=r"end in \.npz or \.safetensors; got 'f\.pkl'"):
        write_features(tmp_path / "sub" / "f.pkl", FEATURES)
    broken = FEATURES.copy()
    broken[2] = np.inf
    with pytest.raises(FeatureError, match="row 2"):
        write_features(tmp_path / "sub" / "f.npz", broken)
    assert list(tmp_path.iterdir()) == []


@suffixes
def test_a_failure_in_writing_leaves_the_old_file(tmp_path, monkeypatch, suffix):
    path = write_features(tmp_path / f"f{suffix}", FEATURES)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)  # everything is real up to the last step
    with pytest.raises(OSError, match="No space"):
        write_features(path, FEATURES * 2)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_names_in_safetensors_are_plain_json(tmp_path):
    path = write_features(tmp_path / "f.safetensors", FEATURES, LABELS, ["a", "b"])
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert json.loads(header["__metadata__"]["class_names"]) == ["a", "b"]
    assert set(load_file(path)) == {"features", "labels"}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("as_array", [list, np.array, lambda names: np.array(names, dtype=object)])
def test_labels_that_are_names_are_written_as_numbers_and_names(tmp_path, suffix, as_array):
    found = read_features(write_features(tmp_path / f"f{suffix}", np.eye(4), as_array(["b", "a", "b", "c"])))
    assert (found.labels.tolist(), found.class_names) == ([1, 0, 1, 2], ("a", "b", "c"))
    path = write_features(tmp_path / f"g{suffix}", np.eye(4), as_array(["b", "a", "b", "c"]), ["c", "b", "a"])
    found = read_features(path)
    assert (found.labels.tolist(), found.class_names) == ([1, 2, 1, 0], ("c", "b", "a"))


def test_labels_that_cannot_be_written(tmp_path):
    for labels, said in (
        (np.array(["a", None, "b", "a"], dtype=object), "row 1 is None. Fill it"),
        (["a", 1, "b", 2], "must be all of one kind"),
        ([0, 1, 0], r"one entry per row of the features; got shape \(3,\) for 4 rows"),
        (np.array(["a", "b"]), "for 4 rows"),
        (1, r"got shape \(\) for 4 rows"),
    ):
        with pytest.raises(LabelError, match=said):
            write_features(tmp_path / "f.npz", np.eye(4), labels)
    with pytest.raises(LabelError, match="must be among the class names; 'd' is not"):
        write_features(tmp_path / "f.npz", np.eye(2), ["a", "d"], ["a", "b"])
    assert not list(tmp_path.iterdir())
