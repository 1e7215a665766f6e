"""What is in a cache, and how it is checked, thinned out and emptied: behind `transferability cache`."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferability.errors import FileDamagedError, OptionError, OutputError
from transferability.features.locks import listing
from transferability.features.sizes import SIZE_VARIABLE as SIZE_VARIABLE
from transferability.features.sizes import parse_size as parse_size
from transferability.features.sizes import size_limit as size_limit
from transferability.features.store import MANIFEST, SCHEMA, FeatureCache, is_whole, read_shard, shard_number

__all__ = [
    "SIZE_VARIABLE",
    "Kept",
    "clear",
    "contents",
    "find",
    "parse_size",
    "prune",
    "remove",
    "size",
    "size_limit",
    "unreadable",
    "verify",
]

_KEY = re.compile(r"[0-9a-f]{64}")
_LONGEST_MANIFEST = 1 << 20
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
    readable: bool = True  # by this version

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        said = {name: value for name, value in self.__dict__.items() if name != "readable"}
        return {**said, "folder": str(self.folder)}


def contents(cache: FeatureCache) -> list[Kept]:
    """Return the entries of a cache, the least recently used first; those that cannot be read are passed over."""
    return sorted((kept for kept in _all(cache) if kept.readable), key=lambda kept: (kept.used, kept.key))


def unreadable(cache: FeatureCache) -> list[Kept]:
    """Return the other entries: of another version, or with a manifest that is damaged."""
    return [kept for kept in _all(cache) if not kept.readable]


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
    folders = (Path(folder) / name for folder, _, names in os.walk(cache.folder) for name in names)
    return sum(_bytes(path) for path in folders)


def verify(entries: Collection[Kept]) -> list[Path]:
    """Read every shard; return those that were damaged, which are removed and will be computed again.

    Raises
    ------
    OutputError
        If one cannot be removed.
    """
    damaged = [path for kept in entries for path in _shards(kept.folder) if not is_whole(path) and path.exists()]
    _unlink(damaged)
    return damaged


def remove(entries: Collection[Kept]) -> int:
    """Remove entries; return their bytes. The manifest goes last: what is left of a removal is an entry still.

    Only what the cache itself has written is removed.

    Raises
    ------
    OutputError
        If a file cannot be removed; the others are.
    """
    failed: list[OSError] = []
    for kept in entries:
        try:
            _unlink(sorted(_own_files(kept.folder), key=lambda path: path.name == MANIFEST))
        except OutputError as error:
            failed.append(error)
        for folder in (kept.folder, kept.folder.parent):
            with suppress(OSError):  # somebody has just written into it, or something else is in it
                folder.rmdir()
    if failed:
        raise failed[0]
    return sum(kept.bytes for kept in entries)


def clear(cache: FeatureCache) -> tuple[int, int]:
    """Remove all that a cache has, also what no longer counts as an entry; return the number of entries, and bytes.

    Entries that a run is using stay, and so do files that are not the cache's.

    Raises
    ------
    OutputError
        If a file cannot be removed; the others are.
    """
    in_use = cache.locks.leased()
    entries = [kept for kept in _all(cache) if kept.key not in in_use]
    n_bytes = remove(entries)
    for path in _lock_files(cache):
        cache.locks.remove_unused(path)
    for folder in (cache.locks.folder, cache.folder):
        with suppress(OSError):
            folder.rmdir()
    return len(entries), n_bytes


def prune(cache: FeatureCache, most: int, spare: Collection[str] = ()) -> list[Kept]:
    """Remove the least recently used entries until the cache has at most so many bytes.

    Entries that no version of today reads go first. Those that a run is using stay whatever they take.

    Parameters
    ----------
    cache : FeatureCache
    most : int
        Bytes.
    spare : collection of str
        Keys of entries that stay too.

    Returns
    -------
    list of Kept
        What was removed. Half-written files and locks of processes that were killed go too, after an hour.

    Raises
    ------
    OutputError
        If a file cannot be removed.
    """
    halves = [path for kept in _all(cache) for path in _own_files(kept.folder) if _half(path.name)]
    _unlink(path for path in halves if time.time() - _modified(path) > _STALE)
    for path in _lock_files(cache):
        if time.time() - _modified(path) > _STALE:
            cache.locks.remove_unused(path)
    surplus = size(cache) - most
    removed: list[Kept] = []
    if surplus <= 0:
        return removed
    kept_back = {*spare, *cache.locks.leased()}
    for kept in sorted(_all(cache), key=lambda kept: (kept.readable, kept.used, kept.key)):
        if surplus <= 0:
            break
        if kept.key not in kept_back:
            surplus -= remove([kept])
            removed.append(kept)
    return removed


def _all(cache: FeatureCache) -> Iterator[Kept]:
    """Yield what has the place and the name of an entry, whatever its manifest says."""
    for folder in (folder for group in listing(cache.folder) if len(group.name) == 2 for folder in listing(group)):
        if _KEY.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            yield _kept(folder)


def _kept(folder: Path) -> Kept:
    about = _manifest(folder)
    shards = _shards(folder)
    with_width = (width for width in map(_width, shards) if width is not None)
    rows = 0 if about is None else about["data"]["rows"]
    return Kept(
        folder=folder,
        key=folder.name,
        encoder="?" if about is None else about["encoder_name"],
        output="?" if about is None else about["output"],
        dtype="?" if about is None else about["dtype"],
        data="?" if about is None else about["data_name"],
        rows=rows,
        shards=len({shard_number(path.name) for path in shards}),
        all_shards=0 if about is None else -(-rows // about["shard_rows"]),
        n_features=None if about is None else next(with_width, None),
        bytes=sum(map(_bytes, _own_files(folder))),
        used=_modified(folder / MANIFEST),
        readable=about is not None,
    )


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Return what a manifest says, checked; None if there is none that this version could have written."""
    try:
        path = folder / MANIFEST
        about = json.loads(path.read_text("ascii")) if _bytes(path) < _LONGEST_MANIFEST else None
    except (OSError, ValueError, RecursionError):  # removed meanwhile, damaged, or somebody else's
        return None
    texts = ("key", "encoder_name", "output", "dtype", "data_name")
    if not isinstance(about, dict) or about.get("schema") != SCHEMA or not isinstance(about.get("data"), dict):
        return None
    numbers = (about["data"].get("rows"), about.get("shard_rows"))
    fits = all(isinstance(about.get(name), str) for name in texts) and about["key"] == folder.name
    fits = fits and all(type(number) is int and 0 < number < 2**53 for number in numbers)
    return about if fits else None


def _own_files(folder: Path) -> list[Path]:
    """Return the files of an entry that the cache has written, half-written ones too."""
    names = (path for path in listing(folder) if path.is_file() or path.is_symlink())
    return [path for path in names if path.name == MANIFEST or shard_number(path.name) is not None or _half(path.name)]


def _half(name: str) -> bool:
    return name.startswith((f".{MANIFEST[:8]}", *(f".{digit}" for digit in "0123456789")))


def _lock_files(cache: FeatureCache) -> list[Path]:
    """Return the files of locks; who has a lock goes with it."""
    files = [path for path in listing(cache.locks.folder) if path.suffix in (".lock", ".lease", ".owner")]
    return [path for path in files if path.suffix != ".owner" or path.with_suffix(".lock") not in files]


def _unlink(paths: Iterable[Path]) -> None:
    """Remove files, as many of them as can be removed."""
    failed: OSError | None = None
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            failed = failed or error
    if failed is not None:
        message = f"{failed.filename} cannot be removed: {failed.strerror}. Remove it with the permission to do so."
        raise OutputError(message) from failed


def _shards(folder: Path) -> list[Path]:
    return [path for path in listing(folder) if shard_number(path.name) is not None]


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
