"""Feature files written row by row, against those written at once."""

from dataclasses import replace

import numpy as np
import pytest

from transferability import _tensors
from transferability.datasets import load_dataset
from transferability.errors import OptionError
from transferability.features import read_features, write_features
from transferability.features.files import feature_writer

ROWS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
suffixes = pytest.mark.parametrize("suffix", ["npz", "safetensors"])


@pytest.fixture
def data():
    return load_dataset("packaged:digits", limit=30)


def write(path, dataset, parts=(7, 20), blocks=None):
    with feature_writer(path, dataset) as writer:
        for block in np.split(ROWS, parts) if blocks is None else blocks:
            writer.add(block)


@suffixes
@pytest.mark.parametrize("targets", [None, np.float32, np.float64])
@pytest.mark.parametrize("labelled", [True, False])
def test_reads_as_if_written_at_once(tmp_path, data, suffix, targets, labelled):
    n_all = len(data.all_ids)
    numbers = None if targets is None else np.random.default_rng(1).normal(size=(n_all, 2)).astype(targets)
    data = replace(data, all_targets=numbers, all_labels=data.all_labels if labelled else None)
    write(tmp_path / f"a.{suffix}", data)
    write_features(tmp_path / f"b.{suffix}", ROWS, data.labels, data.class_names, data.ids, data.targets)
    found, expected = (read_features(tmp_path / f"{name}.{suffix}") for name in "ab")
    for name in ("features", "labels", "class_names", "ids", "targets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert (getattr(found, name) is None) == (getattr(expected, name) is None)
    assert found.features.dtype == np.float32


@suffixes
def test_blocks_of_any_size_make_the_same_file(tmp_path, data, suffix):
    write(tmp_path / f"a.{suffix}", data, parts=(1, 2, 3))
    write(tmp_path / f"b.{suffix}", data, parts=())
    first, second = (read_features(tmp_path / f"{name}.{suffix}").features for name in "ab")
    np.testing.assert_array_equal(first, second)


@suffixes
def test_a_failure_leaves_the_old_file(tmp_path, data, suffix):
    path = tmp_path / f"a.{suffix}"
    write(path, data)
    before = path.read_bytes()

    def blocks():
        yield ROWS[:3]
        raise OptionError("the next block")

    with pytest.raises(OptionError, match="the next block"):
        write(path, data, blocks=blocks())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_ids_that_no_header_holds(tmp_path, data, monkeypatch):
    monkeypatch.setattr(_tensors, "_LONGEST_HEADER", 50)
    with pytest.raises(OptionError, match=r"must end in \.npz for names and ids"):
        write(tmp_path / "a.safetensors", data)
    write(tmp_path / "a.npz", data)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
