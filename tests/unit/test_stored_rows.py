"""A few rows are read without the others, and are those of the whole file."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferability._files import read_features, write_features
from transferability._stored_rows import StoredRows
from transferability.encoders import load_encoder
from transferability.errors import FeatureError, FileDamagedError

N_ROWS = 40


def some(rows):
    return lambda ids, n_rows: np.asarray(rows, dtype=np.int64)


@pytest.fixture(params=["npz", "safetensors"])
def file(request, tmp_path):
    features = np.random.default_rng(0).normal(size=(N_ROWS, 7)).astype(np.float32)
    ids = [f"row {k}" for k in range(N_ROWS)]
    path = tmp_path / f"target.{request.param}"
    return write_features(path, features, np.arange(N_ROWS) % 3, ["a", "b", "c"], ids)


@given(rows=st.lists(st.integers(0, N_ROWS - 1), max_size=N_ROWS))
@settings(deadline=None, max_examples=30)
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_rows_are_those_of_the_whole_file(tmp_path_factory, suffix, rows):
    path = tmp_path_factory.mktemp("rows") / f"target.{suffix}"
    rng = np.random.default_rng(0)
    write_features(path, rng.normal(size=(N_ROWS, 7)), np.arange(N_ROWS), targets=rng.normal(size=(N_ROWS, 2)))
    whole, found = read_features(path), read_features(path, some(rows))
    np.testing.assert_array_equal(found.features, whole.features[rows])
    np.testing.assert_array_equal(found.labels, whole.labels[rows])
    np.testing.assert_array_equal(found.targets, whole.targets[rows])


@pytest.mark.parametrize(("rows", "read_alone"), [([5, 3, 20], True), (range(20), True), (range(21), False)])
def test_up_to_half_of_the_rows_is_read_without_the_others(file, rows, read_alone, monkeypatch):
    read = []
    monkeypatch.setattr(
        StoredRows,
        "read",
        lambda self, rows, read_rows=StoredRows.read: read.append(len(rows)) or read_rows(self, rows),
    )
    found = read_features(file, some(rows))
    assert read == ([len(rows)] if read_alone else [])
    assert found.ids.tolist() == [f"row {k}" for k in rows]
    assert found.class_names == ("a", "b", "c")


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_every_type_of_number(tmp_path, dtype):
    features = np.random.default_rng(0).normal(size=(N_ROWS, 7)).astype(dtype)
    np.savez(tmp_path / "a.npz", features=features)
    assert StoredRows.find(tmp_path / "a.npz", "features").dtype == np.dtype(dtype)
    found = read_features(tmp_path / "a.npz", some([9, 2]))
    np.testing.assert_array_equal(found.features, features[[9, 2]])
    assert found.features.dtype == (np.float64 if dtype == "<f8" else np.float32)
    assert found.features.dtype.isnative


def test_other_archives_are_read_whole(tmp_path):
    features = np.random.default_rng(0).normal(size=(N_ROWS, 7))
    np.savez_compressed(tmp_path / "compressed.npz", features=features)
    np.savez(tmp_path / "columns.npz", features=np.asfortranarray(features))
    np.savez(tmp_path / "integers.npz", features=features.astype(int))
    for name, wanted in (("compressed", features), ("columns", features), ("integers", features.astype(int))):
        assert StoredRows.find(tmp_path / f"{name}.npz", "features") is None
        np.testing.assert_array_equal(read_features(tmp_path / f"{name}.npz", some([9, 2])).features, wanted[[9, 2]])


def overwrite(path, at, content):
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(content)


@pytest.mark.parametrize("n_rows", [1, 3])
def test_rows_of_zeros_have_the_checksum_compared(file, n_rows):
    stored = StoredRows.find(file, "features")
    overwrite(file, stored.start + 4 * 28, bytes(n_rows * 28))
    with pytest.raises(FileDamagedError):
        read_features(file, some([4, 30]))


def test_a_row_that_is_zero_and_belongs_there_is_read(tmp_path):
    features = np.ones((N_ROWS, 3))
    features[4] = 0
    for suffix in ("npz", "safetensors"):
        path = write_features(tmp_path / f"a.{suffix}", features)
        np.testing.assert_array_equal(read_features(path, some([4, 5])).features, features[4:6])


def test_numbers_that_are_not_finite_are_told_as_always(tmp_path):
    features = np.ones((N_ROWS, 3))
    features[7, 1] = np.nan
    np.savez(tmp_path / "a.npz", features=features)
    with pytest.raises(FeatureError, match="row 7"):
        read_features(tmp_path / "a.npz", some([7]))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_damaged(file, keep):
    os.truncate(file, int(keep * file.stat().st_size))
    with pytest.raises(FileDamagedError):
        read_features(file, some([0]))


def test_a_file_that_shrinks_while_it_is_read_is_damaged(file, monkeypatch):
    def shrunk(self, rows, read=StoredRows.read):
        os.truncate(self.path, self.start + 10)
        return read(self, rows)

    monkeypatch.setattr(StoredRows, "read", shrunk)
    with pytest.raises(FileDamagedError):
        read_features(file, some([30]))


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_flipped_bit_is_noticed_as_soon_as_the_whole_is_read(tmp_path, suffix):
    path = write_features(tmp_path / f"target.{suffix}", np.ones((2000, 7)))
    overwrite(path, StoredRows.find(path, "features").start + 56 * 1500, b"\x01")
    read_features(path, some([1, 2]))
    with pytest.raises(FileDamagedError):
        read_features(path)


def test_feature_files_of_a_sample_read_its_rows_alone(file, monkeypatch):
    encoder = load_encoder(f"features:{file.parent}/{{data}}{file.suffix}")
    ids = np.array(["row 30", "row 2"])
    whole = read_features(file)
    read = []
    monkeypatch.setattr(
        StoredRows,
        "read",
        lambda self, rows, read_rows=StoredRows.read: read.append(rows.tolist()) or read_rows(self, rows),
    )
    found = encoder.lookup("target", ids, np.array([0, 1]), 2, None)
    assert read == [[30, 2]]
    np.testing.assert_array_equal(found.features, whole.features[[30, 2]])
    np.testing.assert_array_equal(found.labels, whole.labels[[30, 2]])
