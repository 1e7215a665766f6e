import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from transferability.errors import FileDamagedError, OptionError
from transferability.features import FeatureCache, cache_admin
from transferability.features.store import is_whole, read_shard

ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
KEYS = np.arange(96, dtype=np.uint8).reshape(6, 16)
MARK, OTHER_MARK = "a" * 64, "b" * 64


def make(cache, data="letters", used=None, shards=2, rows=ROWS):
    about = {"encoder": {"source": "test"}, "output": "features", "dtype": str(rows.dtype)}
    about["data"] = {"rows": 2 * cache.shard_rows, "ids": data}
    entry = cache.entry(about, {"encoder_name": "test", "data_name": data})
    for number in range(shards):
        entry.write(number, MARK, rows, KEYS)
    if used is not None:
        os.utime(entry.folder / "manifest.json", (used, used))
    return entry


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path, shard_rows=6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_shard_is_a_safetensors_file_that_is_read_in_place(cache, dtype):
    rows = ROWS.astype(dtype)
    path = make(cache, rows=rows).find(0, MARK)
    np.testing.assert_array_equal(load_file(path)["features"], rows)
    view = read_shard(path)
    np.testing.assert_array_equal(view, rows)
    assert view.dtype == dtype
    assert isinstance(view.base, np.memmap)
    assert not view.flags.writeable


def test_the_same_rows_make_the_same_file_and_other_contents_replace_it(cache):
    entry = make(cache)
    first = entry.find(0, MARK)
    content, written = first.read_bytes(), first.stat().st_mtime_ns
    assert entry.write(0, MARK, ROWS, KEYS) == first
    assert (first.read_bytes(), first.stat().st_mtime_ns >= written) == (content, True)
    assert entry.find(0, OTHER_MARK) is None
    entry.write(0, OTHER_MARK, ROWS, KEYS)
    assert entry.find(0, MARK) is None
    assert entry.numbers() == {0, 1}


def test_keys_follow_what_features_are_and_not_what_they_are_called(cache):
    def key(cache=cache, name="mine", **change):
        about = {"encoder": {"source": "test"}, "output": "features", "dtype": "float32", "data": {"rows": 3}}
        return cache.entry({**about, **change}, {"encoder_name": name}).key

    changes = [{"output": "layer1"}, {"dtype": "float16"}, {"encoder": {}}, {"data": {"rows": 4}}]
    changes.append({"cache": FeatureCache(cache.folder.parent, shard_rows=7)})
    assert key(name="yours") == key()
    assert len({key(), *(key(**change) for change in changes)}) == 6


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}", b"\x09\0\0\0\0\0\0\0[1,2,3]]x"])
def test_what_is_no_shard_is_never_read(tmp_path, content):
    (tmp_path / "f.safetensors").write_bytes(content)
    with pytest.raises(FileDamagedError, match="damaged or was removed"):
        read_shard(tmp_path / "f.safetensors")
    with pytest.raises(FileDamagedError, match="damaged or was removed"):
        read_shard(tmp_path / "nothing.safetensors")


def test_a_lock_is_held_once_and_leaves_no_file(cache):
    first = cache.acquire("x")
    assert cache.acquire("x") is None
    other = cache.acquire("y")
    cache.release(first)
    cache.release(other)
    assert not list(cache.folder.rglob("*.lock"))
    cache.release(cache.acquire("x"))


# --- cache_admin


def test_contents_tell_what_is_kept(cache):
    make(cache, "whole", used=200.0)
    make(cache, "half", used=100.0, shards=1)
    (cache.folder / "00" / "broken").mkdir(parents=True)
    (cache.folder / "00" / "broken" / "manifest.json").write_text("[]")
    half, whole = cache_admin.contents(cache)
    assert (half.data, half.shards, half.all_shards) == ("half", 1, 2)
    assert (whole.encoder, whole.output, whole.dtype, whole.rows, whole.n_features) == (
        "test",
        "features",
        "float32",
        12,
        4,
    )
    assert whole.used == 200.0
    assert whole.bytes == sum(path.stat().st_size for path in whole.folder.iterdir())
    assert cache_admin.size(cache) == whole.bytes + half.bytes + 2


def test_entries_are_found_by_the_beginning_of_their_key(cache):
    entries = [make(cache, name) for name in "abc"]
    (found,) = cache_admin.find(cache, [entries[1].key[:10].upper()])
    assert found.key == entries[1].key
    with pytest.raises(OptionError, match=r"none of 3 begin with 'zz'.*cache ls"):
        cache_admin.find(cache, ["zz"])
    with pytest.raises(OptionError, match="3 of 3 begin with ''"):
        cache_admin.find(cache, [""])


def test_verify_finds_every_damage_and_nothing_else(cache):
    path = make(cache).find(1, MARK)
    assert cache_admin.verify(cache_admin.contents(cache)) == []
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert cache_admin.verify(cache_admin.contents(cache)) == [path]
    assert cache_admin.verify(cache_admin.contents(cache)) == []
    assert cache_admin.contents(cache)[0].shards == 1


def test_prune_removes_what_was_not_used_for_longest(cache):
    names = ["new", "old", "older"]
    for age, name in enumerate(names):
        make(cache, name, used=1000.0 - age)
    one = cache_admin.contents(cache)[0].bytes
    assert [kept.data for kept in cache_admin.prune(cache, 2 * one + 20)] == ["older"]
    assert cache_admin.prune(cache, 2 * one + 20) == []
    (old,) = (kept.key for kept in cache_admin.contents(cache) if kept.data == "old")
    assert [kept.data for kept in cache_admin.prune(cache, 0, spare=[old])] == ["new"]
    assert cache_admin.size(cache) <= one
    cache_admin.remove(cache_admin.contents(cache))
    assert cache_admin.contents(cache) == []
    assert cache_admin.size(cache) == 0


def test_prune_takes_half_written_files_of_the_dead_but_not_of_the_living(cache):
    folder = make(cache).folder
    old, young = folder / ".00000-x.safetensors.1.safetensors", folder / ".00001-x.safetensors.2.safetensors"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    assert cache_admin.prune(cache, 10**9) == []
    assert (old.exists(), young.exists()) == (False, True)


def test_clear_removes_all(cache):
    make(cache)
    n_bytes = cache_admin.size(cache)
    assert cache_admin.clear(cache) == (1, n_bytes)
    assert not cache.folder.exists()
    assert (cache_admin.contents(cache), cache_admin.size(cache), cache_admin.prune(cache, 0)) == ([], 0, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10", 10), ("1.5GB", 1_500_000_000), ("20 gb", 20 * 10**9), ("3k", 3000), ("2TiB", 2 * 10**12)],
)
def test_sizes_as_people_write_them(text, expected):
    assert cache_admin.parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 XB", "1e9"])
def test_sizes_that_are_none(text):
    with pytest.raises(OptionError, match="such as 500MB"):
        cache_admin.parse_size(text)


def test_a_shard_that_cannot_be_read_is_not_whole(tmp_path, monkeypatch):
    content = b"features"
    path = tmp_path / f"00000-{'0' * 32}-{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
    path.write_bytes(content)
    assert is_whole(path)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert not is_whole(path)
