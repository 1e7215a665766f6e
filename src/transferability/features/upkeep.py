"""What is in a cache, and how it is checked, thinned out and emptied: behind `transferability cache`."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferability.errors import FileDamagedError, OptionError
from transferability.features.shards import plan
from transferability.features.store import MANIFEST, SCHEMA, FeatureCache, is_whole, read_shard, shard_number

__all__ = ["SIZE_VARIABLE", "Kept", "clear", "contents", "find", "parse_size", "prune", "remove", "size", "verify"]

SIZE_VARIABLE = "TRANSFERABILITY_CACHE_SIZE"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_STALE = 3600.0  # seconds after which a half-written file belongs to nobody


@dataclass(frozen=True)
class Kept:
    """One entry of a cache: an output of an encoder for a data set."""

    folder: Path
    key: str
    encoder: str
    output: str
    dtype: str
    data: str
    rows: int
    shards: int  # that are there
    all_shards: int
    n_features: int | None
    bytes: int
    used: float  # seconds since 1970

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.__dict__, "folder": str(self.folder)}


def contents(cache: FeatureCache) -> list[Kept]:
    """Return the entries of a cache, the least recently used first; those that cannot be read are passed over."""
    return sorted(_entries(cache), key=lambda kept: (kept.used, kept.key))


def find(cache: FeatureCache, beginnings: Collection[str]) -> list[Kept]:
    """Return the entries whose keys begin so.

    Raises
    ------
    OptionError
        If a beginning fits no entry or several.
    """
    entries = contents(cache)
    found = []
    for beginning in beginnings:
        fits = [kept for kept in entries if kept.key.startswith(beginning.lower())]
        if len(fits) != 1:
            message = f"`key` must be the beginning of one key; {len(fits) or 'none'} of {len(entries)} begin with "
            message += f"{beginning!r}. List them: transferability cache ls."
            raise OptionError(message)
        found += fits
    return found


def size(cache: FeatureCache) -> int:
    """Return the bytes of all files of a cache."""
    return sum(_bytes(path) for path in cache.folder.rglob("*"))


def verify(entries: Collection[Kept]) -> list[Path]:
    """Read every shard; return those that were damaged, which are removed and will be computed again."""
    damaged = [path for kept in entries for path in _shards(kept.folder) if not is_whole(path)]
    for path in damaged:
        path.unlink(missing_ok=True)
    return damaged


def remove(entries: Collection[Kept]) -> int:
    """Remove entries; return their bytes. The manifest goes last: what is left of a removal is an entry still."""
    for kept in entries:
        for path in sorted(kept.folder.iterdir(), key=lambda path: path.name == MANIFEST):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody has just written into it
            kept.folder.rmdir()
    return sum(kept.bytes for kept in entries)


def clear(cache: FeatureCache) -> tuple[int, int]:
    """Remove all that a cache has, also what no longer counts as an entry; return the number of entries, and bytes."""
    n_entries, n_bytes = len(contents(cache)), size(cache)
    shutil.rmtree(cache.folder, ignore_errors=True)
    return n_entries, n_bytes


def prune(cache: FeatureCache, most: int, spare: Collection[str] = ()) -> list[Kept]:
    """Remove the least recently used entries until the cache has at most so many bytes.

    Parameters
    ----------
    cache : FeatureCache
    most : int
        Bytes.
    spare : collection of str
        Keys of entries that stay whatever they take.

    Returns
    -------
    list of Kept
        What was removed. Half-written files and locks of processes that were killed go too, after an hour.
    """
    for path in (*cache.folder.glob("??/*/.*"), *cache.folder.glob("locks/*")):
        if time.time() - _modified(path) > _STALE:
            path.unlink(missing_ok=True)
    surplus = size(cache) - most
    removed: list[Kept] = []
    for kept in contents(cache):
        if surplus <= 0:
            break
        if kept.key not in spare:
            surplus -= remove([kept])
            removed.append(kept)
    return removed


def parse_size(text: str, argument: str = "max-size") -> int:
    """Read a number of bytes with a unit, as people write them.

    Raises
    ------
    OptionError
        For anything else.

    Examples
    --------
    >>> parse_size("1.5 GB")
    1500000000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.strip().lower())
    if found:
        return int(float(found[1]) * _UNITS[found[2]])
    message = f"`{argument}` must be a size such as 500MB, 20GB or 1.5TB; got {text!r}."
    raise OptionError(message)


def _entries(cache: FeatureCache) -> Iterator[Kept]:
    for folder in cache.entries():
        try:
            about = json.loads((folder / MANIFEST).read_text("ascii"))
            if about["schema"] != SCHEMA:
                continue
            shards = _shards(folder)
            with_width = (width for width in map(_width, shards) if width is not None)
            yield Kept(
                folder=folder,
                key=about["key"],
                encoder=about["encoder_name"],
                output=about["output"],
                dtype=about["dtype"],
                data=about["data_name"],
                rows=about["data"]["rows"],
                shards=len({shard_number(path.name) for path in shards}),
                all_shards=len(plan(about["data"]["rows"], about["shard_rows"])),
                n_features=next(with_width, None),
                bytes=sum(_bytes(path) for path in folder.iterdir()),
                used=_modified(folder / MANIFEST),
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # removed meanwhile, or no manifest of ours


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if shard_number(path.name) is not None)


def _width(shard: Path) -> int | None:
    try:
        return int(read_shard(shard).shape[1])
    except FileDamagedError:
        return None


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
