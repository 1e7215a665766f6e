"""Ways to damage what is stored, each drawn from a seeded source of chance."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

__all__ = ["HOSTILE", "TEXTS", "change_arrays", "change_header", "damaged", "flipped", "rewritten"]

HOSTILE: list[Any] = [
    None, True, False, "", "x", "\x1b[2J\u202e\udcff\x00", "a" * 100_000, 0, -1, 1, 3, 10**400, -(10**400), 2**63,
    0.5, -0.0, 1e-320, 1e300, -1e300, [], {}, [[]], [None], ["a"], {"a": 1}, [1, 2], [[1, 2]], [1e300] * 3,
]  # fmt: skip
TEXTS = ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400, "9" * 5000, "[" * 50_000, "0x1", "'", "\x00"]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with one to three accidents."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at, length = chance.randrange(len(data) + 1), chance.choice([1, 2, 8, 100, 1000])
        accident = chance.randrange(7)
        if accident <= 2 and data:  # as disks and memory do
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif accident == 3:
            del data[at:]
        elif accident == 4:
            del data[at : at + length]
        elif accident == 5:
            data[at:at] = data[at : at + length]
        else:
            data[at : at + length] = chance.choice([b"\x00", b"\xff", b"[", b"9", b"{"]) * length
    return bytes(data)


def flipped(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with one bit turned."""
    data = bytearray(content)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def rewritten(text: str, chance: random.Random) -> str:
    """Return JSON with one to three values replaced, removed or repeated, or with something that is no JSON."""
    value = json.loads(text)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        holder, key = chance.choice(places)
        if chance.random() < 0.2:
            del holder[key]
        elif chance.random() < 0.1 and isinstance(holder, list):
            holder.extend(holder)
        else:
            holder[key] = "\uffffHOLE" if chance.random() < 0.15 else chance.choice(HOSTILE)
        if not value:
            break
    return json.dumps(value).replace('"\\uffffHOLE"', chance.choice(TEXTS))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def change_header(path: Path, chance: random.Random) -> None:
    """Change what a safetensors file says of itself in JSON, and leave its checksum out, as a forger would."""
    arrays, metadata = _opened(path)
    metadata["transferability"] = rewritten(metadata["transferability"], chance)
    save_file(arrays, path, metadata=metadata)


def change_arrays(path: Path, chance: random.Random) -> None:
    """Change an array of a file: its values, dtype, shape, or whether it is there."""
    if path.suffix == ".npz":
        with np.load(path) as archive:
            arrays, metadata = dict(archive), {}
    else:
        arrays, metadata = _opened(path)
    name = chance.choice(sorted(arrays))
    changed = _changed(arrays[name], chance)
    if changed is None:
        del arrays[name]
    else:
        arrays[name] = changed
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        numbers = {key: np.ascontiguousarray(each) for key, each in arrays.items() if each.dtype.kind in "fiub"}
        save_file(numbers, path, metadata=metadata)


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with safe_open(path, framework="numpy") as file:
        metadata = {key: text for key, text in file.metadata().items() if key != "sha256"}
        return {key: file.get_tensor(key).copy() for key in file.keys()}, metadata  # noqa: SIM118 - not a mapping


def _changed(array: Any, chance: random.Random) -> Any:
    what = chance.randrange(9)
    if what == 0:
        return None
    if what == 1:
        return array[: chance.choice([0, 1, len(array) // 2]) if array.ndim else 0]
    if what == 2:
        return array[..., None]
    if what == 3:
        return np.concatenate([array, array]) if array.ndim else array
    if what == 4:
        return np.array(chance.choice([["a"] * len(array), [b"\xff"] * len(array), 3, "x", True]))
    if array.dtype.kind in "US":
        return np.full(array.shape, chance.choice(["", "\x1b[2J", "same", "x" * 1000]))
    if what == 5:
        return array.astype(chance.choice([np.float16, np.float32, np.float64, np.int8, np.uint64, bool]))
    values = array.copy()
    hostile = [0, 1, 127, 10**18] if array.dtype.kind in "iub" else [0, -1, 1e18, -1e18, 1e300, np.nan, np.inf]
    values.flat[chance.randrange(values.size)] = chance.choice(hostile)
    return values
