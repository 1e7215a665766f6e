"""Checksums of safetensors files: a flipped bit is noticed wherever it is, and files without one still load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from transferability import ReferencePack, Task, TaskRelatedness, TransferabilityError
from transferability._tensors import read_tensors, write_tensors
from transferability.errors import FileDamagedError
from transferability.features import read_features, write_features
from transferability.relatedness.results.transform import Transform

Read = Callable[[Path], Any]


def task(seed: int) -> Task:
    labels = np.arange(60) % 3
    return Task(np.random.default_rng(seed).normal(size=(60, 4)) + 3 * np.eye(3, 4)[labels], labels)


def flat(value: Any) -> bytes:
    """Return everything that decides a number, in bytes."""
    if isinstance(value, np.ndarray):
        return str(value.dtype).encode() + value.tobytes()
    fields = getattr(value, "__dict__", None) or getattr(value, "_asdict", dict)() or None
    if fields is not None:
        return b"".join(name.encode() + flat(each) for name, each in sorted(fields.items()))
    if isinstance(value, tuple | list):
        return b"".join(map(flat, value))
    return repr(value).encode()


def make(kind: str, path: Path) -> Read:
    if kind == "features":
        ids = [f"{i}.png" for i in range(60)]
        write_features(path, task(0).features.astype(np.float32), task(0).labels, ["a", "b", "c"], ids)
        return read_features
    if kind == "pack":
        ReferencePack.from_task(task(0), tau=1.0, rank=1).save(path)
        return ReferencePack.load
    TaskRelatedness().fit(task(0), task(1)).transform.save(path)
    return Transform.load


@pytest.mark.parametrize("kind", ["features", "pack", "transformation"])
def test_a_flipped_bit_never_changes_what_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    read = make(kind, path)
    whole = path.read_bytes()
    expected = flat(read(path))
    rng = np.random.default_rng(0)
    noticed = 0
    bits = rng.choice(8 * len(whole), 400, replace=False)
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            found = read(path)
        except TransferabilityError:
            noticed += 1
        else:
            assert flat(found) == expected, f"bit {bit}"
    assert noticed > 350  # what is left are spaces, and the name of the checksum


@pytest.mark.parametrize("kind", ["features", "pack", "transformation"])
def test_a_file_without_a_checksum_still_loads(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    read = make(kind, path)
    expected = flat(read(path))
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert len(metadata.pop("sha256")) == 64
    save_file(load_file(path), path, metadata=metadata)
    assert flat(read(path)) == expected


def test_what_other_programs_copy_still_fits(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6).reshape(2, 3), "a": np.float16([1.5]), "c": np.array([True]), "none": np.empty((0, 2))}
    write_tensors(tmp_path / "f.safetensors", arrays, {"y": "é", "x": ""})
    with safe_open(tmp_path / "f.safetensors", framework="numpy") as file:
        save_file(load_file(tmp_path / "f.safetensors"), tmp_path / "g.safetensors", metadata=file.metadata())
    found, metadata = read_tensors(tmp_path / "g.safetensors", "a file")
    assert metadata == {"y": "é", "x": ""}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype  # type: ignore[attr-defined]
        np.testing.assert_array_equal(found[name], array)
    save_file(
        {"a": np.float16([1.25])} | {name: found[name] for name in "bc"},
        tmp_path / "h.safetensors",
        metadata=metadata | {"sha256": "0" * 64},
    )
    with pytest.raises(FileDamagedError, match="does not fit its checksum"):
        read_tensors(tmp_path / "h.safetensors", "a file")


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        write_features(tmp_path / f"{name}.safetensors", np.eye(3), [0, 1, 0], ["x", "y"], ["1", "2", "3"])
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
