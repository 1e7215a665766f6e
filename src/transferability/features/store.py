"""Features kept on disk, under a key made of everything that changes them.

A folder per encoder, output, dtype and data set; in it a manifest that says what they are, and one safetensors file per
shard. The name of a shard says which shard it is, the fingerprint of the rows it was made from, and the checksum of the
file: `00012-FINGERPRINT-CHECKSUM.safetensors`. It appears under that name only when it is complete and on the disk. So
the listing of a folder tells what is finished, whoever finished it, and a file that is damaged, or was made from rows
that have changed since, is found out before it is read.

A shard also holds the hash of each row's content, and the end of a folder's name is the same for all data sets under
one encoder, output and dtype: that is how rows are found that were computed for another data set (`known_rows`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._writing import temporary_sibling, to_disk, write_through_temporary
from transferability.encoders.identity import hash_json
from transferability.errors import FileDamagedError
from transferability.features.locks import Locks, names, tries
from transferability.features.shards import SHARD_ROWS
from transferability.settings import DType

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "DType",
    "Entry",
    "FeatureCache",
    "default_cache_folder",
    "is_whole",
    "read_counts",
    "read_keys",
    "read_shard",
    "shard_number",
]

SCHEMA = 4  # raise it whenever the same key would mean other features

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_GROUP = 16  # hexadecimal digits at the end of a key that say what its features are, of whatever data
_HEX = 32  # 128 bits of a SHA-256: enough against accident, and names stay short enough for any file system
_NAME = re.compile(rf"(\d+)-([0-9a-f]{{{_HEX}}})-([0-9a-f]{{{_HEX}}})\.safetensors")
MANIFEST = "manifest.json"
_COUNTS = "counts"

_log = logging.getLogger(__name__)


def default_cache_folder() -> Path:
    """Return `TRANSFERABILITY_CACHE` if that is set, else the platform's place for caches."""
    import platformdirs

    chosen = os.environ.get("TRANSFERABILITY_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("transferability")


class FeatureCache:
    """A folder of features.

    Parameters
    ----------
    folder : path, optional
        Where; by default see `default_cache_folder`.
    shard_rows : int, default=1024
        Rows per file. It is part of the key: another number means other files.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, shard_rows: int = SHARD_ROWS) -> None:
        self.folder = (default_cache_folder() if folder is None else Path(folder)) / "features"
        self.shard_rows = shard_rows

    def entry(self, about: dict[str, Any], names: dict[str, str]) -> Entry:
        """Return the place of what `about` describes; `names`, for people, are not part of the key."""
        about = {"schema": SCHEMA, "shard_rows": self.shard_rows, **about}
        group = hash_json({name: value for name, value in about.items() if name not in ("shard_rows", "data")})
        key = hash_json(about)[:-_GROUP] + group[:_GROUP]
        return Entry(self.folder / key[:2] / key, key, {**about, **names, "key": key})

    def siblings(self, entry: Entry) -> list[Path]:
        """Return the folders of other data sets under the same encoder, output and dtype."""
        end = entry.key[-_GROUP:]
        groups = [self.folder / name for name in names(self.folder) if len(name) == 2]
        return [group / key for group in groups for key in names(group) if key.endswith(end) and key != entry.key]

    def acquire(self, name: str) -> Any | None:
        """Return a lock that one process at a time can hold, or None if another has it; a killed one lets go of it.

        Raises
        ------
        OptionError
            If the folder cannot be written.
        """
        lock = self.locks.acquire(f"{name}.lock")
        if lock is not None:
            self.locks.note_owner(name)
        return lock

    def release(self, lock: Any) -> None:
        """Let go of a lock and take its file away.

        Without its file, two processes may once in a while hold what was one lock. Both then compute the same bytes and
        rename them to the same name: the price of a folder that does not fill with empty files.
        """
        self.locks.forget_owner(Path(lock.lock_file).stem)
        self.locks.release(lock)

    @property
    def locks(self) -> Locks:
        """The locks of processes that use this cache."""
        return Locks(self.folder / "locks")


@dataclass(frozen=True)
class Entry:
    """The shards of one output of one encoder for one data set."""

    folder: Path
    key: str
    about: dict[str, Any]

    def find(self, number: int, fingerprint: str) -> Path | None:
        """Return the file of a shard made from rows of this fingerprint; a damaged one is removed first."""
        beginning = f"{number:05d}-{fingerprint[:_HEX]}-"
        found = [name for name in names(self.folder) if name.startswith(beginning) and shard_number(name) is not None]
        for path in (self.folder / name for name in found):
            if is_whole(path):
                return path
            if path.exists():  # and was not removed meanwhile
                _log.warning("features in %s are damaged and will be computed again", path)
            with suppress(OSError):
                path.unlink(missing_ok=True)
        return None

    def write(
        self,
        number: int,
        fingerprint: str,
        rows: npt.NDArray[Any],
        keys: npt.NDArray[np.uint8],
        counts: dict[str, int] | None = None,
    ) -> Path:
        """Write a shard that is locked, then remove what older contents and killed processes have left of these rows.

        `keys` are the hashes of the rows' contents (`Dataset.row_keys`); `counts` say what of the items did not go into
        the rows.
        """
        from safetensors.numpy import save

        # One entry of metadata at most: safetensors writes several in any order, and the same bytes are wanted.
        content = save({"features": rows, "keys": keys}, None if counts is None else {_COUNTS: json.dumps(counts)})
        name = f"{number:05d}-{fingerprint[:_HEX]}-{hashlib.sha256(content).hexdigest()[:_HEX]}.safetensors"
        path = self.folder / name
        for more in tries():
            try:
                self.sign()
                with temporary_sibling(path) as temporary:
                    to_disk(temporary, content)
                break
            except OSError as error:
                removed = isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError)
                if not (removed and more):
                    raise  # else somebody has emptied the cache in between
        for other in names(self.folder):
            if other != name and other.startswith((f"{number:05d}-", f".{number:05d}-")):
                with suppress(OSError):
                    (self.folder / other).unlink(missing_ok=True)
        return path

    def sign(self) -> None:
        """Write the manifest, unless it is there as it should be."""
        path, text = self.folder / MANIFEST, json.dumps(self.about, indent=1, sort_keys=True)
        try:
            there = path.read_text("ascii") == text
        except (OSError, ValueError):
            there = False
        if not there:
            write_through_temporary(path, text.encode("ascii"))

    def touch(self) -> None:
        """Note that the entry was used just now, which is what decides what a limit of size removes first."""
        with suppress(OSError):  # there may be none: a disk that was full
            if self.folder.is_dir():
                self.sign()
                os.utime(self.folder / MANIFEST)

    def numbers(self) -> set[int]:
        """Return which shards are there, by their names."""
        return {number for number in map(shard_number, names(self.folder)) if number is not None}


def shard_number(name: str) -> int | None:
    """Return the number that a file's name gives, or None if it is no shard."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def is_whole(path: Path) -> bool:
    """Tell whether a shard has the checksum in its name."""
    found = _NAME.fullmatch(path.name)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return found is not None and hashlib.file_digest(stream, "sha256").hexdigest()[:_HEX] == found[3]
    except OSError:
        return False


def read_shard(path: Path) -> npt.NDArray[Any]:
    """Return the rows of a shard as a read-only view of the file: pages come when they are touched, and may go again.

    safetensors' own reader copies; its format is a length, a JSON header and the bytes of the arrays.

    Raises
    ------
    FileDamagedError
        If it is no file of features.
    """
    try:
        length, header = _header(path)
        header = header["features"]
        rows: npt.NDArray[Any] = np.memmap(
            path,
            dtype=_DTYPES[header["dtype"]],
            mode="r",
            offset=8 + length + int(header["data_offsets"][0]),
            shape=tuple(header["shape"]),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        message = f"file {path} is damaged or was removed meanwhile: {error}. Run the command again."
        raise FileDamagedError(message) from error
    return np.asarray(rows) if sys.byteorder == "little" else rows.astype(rows.dtype.newbyteorder("="))


def read_keys(path: Path) -> npt.NDArray[np.bytes_] | None:
    """Return the hashes of the contents of a shard's rows, shape (n,); None if it cannot be read."""
    try:
        length, header = _header(path)
        start, stop = map(int, header["keys"]["data_offsets"])
        with path.open("rb") as stream:
            stream.seek(8 + length + start)
            return np.frombuffer(stream.read(stop - start), dtype="S16")
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def read_counts(path: Path) -> dict[str, int] | None:
    """Return what `Entry.write` was told of the items of a shard, if anything."""
    try:
        found = json.loads(_header(path)[1]["__metadata__"][_COUNTS])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {str(key): int(value) for key, value in found.items()}


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the length of a file's header, and what it says."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(min(length, 1 << 20)))
    return length, header
