"""Upkeep beside runs: nobody's result is lost, nothing of somebody else's is removed."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from transferability.datasets import load_dataset
from transferability.encoders.function import FunctionEncoder
from transferability.errors import OptionError, OutputError
from transferability.features import FeatureCache, cache_admin, extract_blocks, extract_features, extract_share
from transferability.features import extract as extract_module
from transferability.features import local as local_module
from transferability.features import locks as locks_module
from transferability.features.locks import Locks


def mean(items):
    time.sleep(0.002)
    return np.array([[np.asarray(item).mean(), np.asarray(item).std()] for item in items], dtype=np.float32)


mean.version = "1"  # type: ignore[attr-defined]


def encoder(name="mean"):
    return FunctionEncoder(name, mean)


@pytest.fixture
def digits():
    return load_dataset("packaged:digits", limit=60)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path, shard_rows=16)


def plant(cache, number, **manifest):
    """Write an entry with small shards, as a version of today or of another time would have."""
    key = f"{number:064x}"
    folder = cache.folder / key[:2] / key
    folder.mkdir(parents=True)
    about = {
        "schema": 4, "key": key, "encoder_name": "e", "output": "features", "dtype": "float32", "data_name": "d",
        "data": {"rows": 5}, "shard_rows": 1024,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({**about, **manifest}))
    for shard in range(8):
        (folder / f"{shard:05d}-{'a' * 32}-{'b' * 32}.safetensors").write_bytes(b"x" * 100)
    return folder


# --- races


def _extract(folder, name, expected):
    data = load_dataset("packaged:digits", limit=60)
    for _ in range(3):
        found = extract_features(encoder(name), data, cache=FeatureCache(folder, shard_rows=16), batch_size=8)
        assert found.features.tobytes() == expected
        assert b"".join(
            block.features.tobytes()
            for block in extract_blocks(encoder(name), data, cache=FeatureCache(folder, shard_rows=16), batch_size=8)
        ) == expected  # fmt: skip


def _look_after(folder, until):
    cache = FeatureCache(folder, shard_rows=16)
    while not until.is_set():
        cache_admin.prune(cache, 0)
        cache_admin.contents(cache)
        cache_admin.clear(cache)
        cache_admin.verify(cache_admin.contents(cache))
        cache_admin.remove(cache_admin.contents(cache))
        cache_admin.size(cache)


@pytest.mark.slow
def test_runs_beside_every_kind_of_upkeep(tmp_path, digits, monkeypatch):
    monkeypatch.setenv("TRANSFERABILITY_CACHE_SIZE", "1kB")
    context = multiprocessing.get_context("fork")
    expected = extract_features(encoder(), digits, cache=False, batch_size=8).features.tobytes()
    until = context.Event()
    keepers = [context.Process(target=_look_after, args=(tmp_path, until)) for _ in range(2)]
    runs = [context.Process(target=_extract, args=(tmp_path, name, expected)) for name in ("mean", "mean", "other")]
    for process in (*keepers, *runs):
        process.start()
    for process in runs:
        process.join(120)
    until.set()
    for process in keepers:
        process.join(30)
    assert [process.exitcode for process in (*runs, *keepers)] == [0] * 5


def test_many_entries_are_pruned_by_several_at_once(cache):
    for number in range(60):
        plant(cache, number)
    errors = []

    def keep():
        try:
            cache_admin.prune(cache, 0)
        except Exception as error:  # noqa: BLE001 - whatever it is, none is wanted
            errors.append(error)

    threads = [threading.Thread(target=keep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert cache_admin.size(cache) == 0


def test_entries_in_use_are_not_removed(cache, digits):
    extract_features(encoder(), digits, cache=cache, batch_size=16)
    blocks = extract_blocks(encoder(), digits, cache=cache, batch_size=16)
    first = next(blocks)
    assert cache_admin.prune(cache, 0) == []
    assert cache_admin.clear(cache) == (0, 0)
    assert len(cache_admin.contents(cache)) == 1
    assert len(first) + sum(len(block) for block in blocks) == 60
    assert cache_admin.clear(cache)[0] == 1
    assert not cache.folder.exists()


def test_a_lease_of_a_killed_process_is_none(cache):
    cache.locks.folder.mkdir(parents=True)
    (cache.locks.folder / f"{'0' * 64}.1.lease").touch()
    plant(cache, 0)
    assert len(cache_admin.prune(cache, 0)) == 1
    assert not list(cache.locks.folder.glob("*.lease"))


def test_what_vanished_is_computed_again(cache, digits, monkeypatch):
    expected = extract_features(encoder(), digits, cache=cache, batch_size=16).features
    run = local_module.run

    def vanishing(job, shards, progress=None):
        for done in run(job, shards, progress):
            for part in done.parts.values():
                if isinstance(part, Path):
                    part.unlink()
            yield done

    monkeypatch.setattr(extract_module, "run", vanishing)
    np.testing.assert_array_equal(extract_features(encoder(), digits, cache=cache).features, expected)


def test_a_limit_that_cannot_be_kept_costs_no_result(cache, digits, monkeypatch, caplog):
    monkeypatch.setenv("TRANSFERABILITY_CACHE_SIZE", "1kB")
    plant(cache, 1)
    unlink = Path.unlink

    def refuse(path, missing_ok=False):
        if "b" * 32 in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)  # root may remove anything
    assert len(extract_features(encoder(), digits, cache=cache).features) == 60
    assert "could not be kept within its limit" in caplog.text
    with pytest.raises(OutputError, match="cannot be removed: Permission denied"):
        cache_admin.clear(cache)


def test_a_limit_that_is_none_is_said_before_anything_is_computed(cache, digits, monkeypatch):
    monkeypatch.setenv("TRANSFERABILITY_CACHE_SIZE", "a lot")
    calls = []
    with pytest.raises(OptionError, match="TRANSFERABILITY_CACHE_SIZE"):
        extract_features(FunctionEncoder("mine", calls.append), digits, cache=cache)
    assert not calls


# --- what is whose


def test_only_files_of_the_cache_are_removed(cache, tmp_path):
    folder = plant(cache, 3)
    (folder / f".00000-x.{'0' * 32}.safetensors").write_bytes(b"half")
    mine = [folder / "notes.txt", cache.folder / "README", cache.folder / "ab" / "letters" / "manifest.json"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "manifest.json").write_text("mine")
    (cache.folder / "ff").mkdir()
    (cache.folder / "ff" / ("f" * 64)).symlink_to(outside)
    assert cache_admin.clear(cache)[0] == 1
    assert all(path.read_text() == "mine" for path in (*mine, outside / "manifest.json"))
    assert list(folder.iterdir()) == [folder / "notes.txt"]


def test_entries_of_other_versions_go_first(cache):
    old = plant(cache, 1, schema=3)
    new = plant(cache, 2)
    os.utime(new / "manifest.json", (1.0, 1.0))
    assert [kept.key for kept in cache_admin.contents(cache)] == [new.name]
    removed = cache_admin.prune(cache, cache_admin.size(cache) - 10)
    assert [kept.folder for kept in removed] == [old]


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"rows": 10**400}}, {"data": {"rows": -1}}, {"data": {"rows": "5"}}, {"data": {"rows": True}},
        {"data": []}, {"shard_rows": 0}, {"shard_rows": 1.5}, {"encoder_name": 3}, {"output": None}, {"key": "x"},
        {"schema": "4"}, {"dtype": {}},
    ],
)  # fmt: skip
def test_manifests_that_lie_are_passed_over(cache, change):
    plant(cache, 1, **change)
    assert cache_admin.contents(cache) == []
    assert cache_admin.clear(cache)[0] == 1


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"{" * 10, b"\xff\xfe", b"9" * 5000, b" " * 2_000_000])
def test_manifests_that_are_none_are_passed_over(cache, content):
    (plant(cache, 1) / "manifest.json").write_bytes(content)
    assert cache_admin.contents(cache) == []
    assert len(cache_admin.prune(cache, 0)) == 1


# --- full disks, and waiting


def test_a_share_without_room_is_an_error(cache, digits, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)  # everything is real up to the last step
    with pytest.raises(OutputError, match="the cache folder must have room for shard 0"):
        extract_share(encoder(), digits, "1/2", cache=cache)


WAIT = """
import sys, time
from transferability.features.locks import Locks
from pathlib import Path
locks = Locks(Path(sys.argv[1]))
lock = locks.acquire("x.lock")
locks.note_owner("x")
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_says_who_has_it(tmp_path):
    locks = Locks(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-c", WAIT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "held\n"
        assert locks.acquire("x.lock") is None
        assert locks.owner("x").startswith(f"process {process.pid} on ")
        process.kill()
    assert locks.acquire("x.lock") is not None
    (tmp_path / "x.owner").write_bytes(b"\x1b[31mprocess 1 on a")
    assert locks.owner("x") == "another process"


def test_whoever_waits_says_for_whom(cache, digits, monkeypatch, caplog):
    monkeypatch.setattr(local_module, "_PATIENCE", 0.05)
    extract_features(encoder(), digits, cache=cache, batch_size=16)
    cache_admin.clear(cache)
    held = []

    class Holding(FeatureCache):
        def acquire(self, name):  # the first time somebody else has it
            if not held:
                held.append(super().acquire(name))
                threading.Timer(0.4, lambda: self.release(held[0])).start()
            return super().acquire(name)

    extract_features(encoder(), digits, cache=Holding(cache.folder.parent, shard_rows=16), batch_size=16)
    waits = [record.message for record in caplog.records if "waiting for" in record.message]
    assert len(waits) == 1
    assert f"process {os.getpid()} on" in waits[0]
    assert "with encoder 'mean'" in waits[0]


def _emptied_while_made(monkeypatch, folder, times):
    """Let folders under `folder` be missing a parent so often, as where somebody removes it in between."""
    make, left = Path.mkdir, [times]

    def mkdir(self, *arguments, **options):
        if self.is_relative_to(folder) and left[0]:
            left[0] -= 1
            raise FileNotFoundError(2, "No such file or directory", str(self))
        make(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return left


def test_a_lock_outlives_any_number_of_removals(tmp_path, monkeypatch):
    left = _emptied_while_made(monkeypatch, tmp_path, 40)
    assert Locks(tmp_path / "features" / "locks").acquire("x.lock") is not None
    assert left == [0]


def test_a_shard_outlives_any_number_of_removals(cache, digits, monkeypatch):
    expected = extract_features(encoder(), digits, cache=False, batch_size=16).features
    left = _emptied_while_made(monkeypatch, cache.folder, 60)
    found = extract_features(encoder(), digits, cache=cache, batch_size=16).features
    assert left == [0]
    assert found.tobytes() == expected.tobytes()


def test_what_stays_missing_is_said_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(locks_module, "_PATIENCE", 0.05)
    _emptied_while_made(monkeypatch, tmp_path, -1)
    with pytest.raises(OptionError, match="the cache folder must be writable"):
        Locks(tmp_path / "features" / "locks").acquire("x.lock")
