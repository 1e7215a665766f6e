"""Features kept on disk, under a key made of everything that changes them.

One safetensors file per encoder and selection of rows, and beside it a JSON file that says what it is and holds the
checksum. Both appear under their names only when complete, the JSON file last; whoever finds anything else computes
again. Two processes that want the same features do not both compute them: the second waits for the first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transferability._array import FloatArray
from transferability._files import read_features, write_features, write_through_temporary
from transferability.errors import FeatureError, FileDamagedError, OptionError

__all__ = ["FeatureCache", "default_cache_folder"]

_SCHEMA = 1  # raise it whenever the same key would mean other features

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
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = (default_cache_folder() if folder is None else Path(folder)) / "features"

    @staticmethod
    def key(identity: dict[str, Any], fingerprint: str) -> str:
        """Return the key of what an encoder of this identity makes of data of this fingerprint.

        The fingerprint covers the row ids and their order. Features are always float32, which is why no dtype enters.
        """
        parts = {"schema": _SCHEMA, "encoder": identity, "data": fingerprint, "dtype": "float32"}
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Hold the key against other processes; waits for one that holds it. A killed process lets go of it.

        Raises
        ------
        OptionError
            If the folder cannot be written.
        """
        import filelock

        lock = self._path(key).with_suffix(".lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = filelock.FileLock(lock)
            handle.acquire()
        except OSError as error:
            message = f"the cache folder must be writable; {self.folder} is not ({error.strerror}). "
            message += "Set TRANSFERABILITY_CACHE to one that is, or turn the cache off."
            raise OptionError(message) from error
        try:
            yield
        finally:
            handle.release()

    def read(self, key: str) -> FloatArray | None:
        """Return the features under a key, or None if they are not there or damaged."""
        path = self._path(key)
        try:
            record = json.loads(path.with_suffix(".json").read_text("utf-8"))
            if record["checksum"] != _checksum(path):
                _log.warning("features in %s are damaged and will be computed again", path)
                return None
            return read_features(path).features
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, FileDamagedError, FeatureError) as error:
            _log.warning("features in %s are damaged and will be computed again (%s)", path, error)
            return None

    def write(self, key: str, features: FloatArray, about: dict[str, Any]) -> None:
        """Keep features under a key that is `locked`; `about`, JSON values, tells a reader what they are.

        A disk that is full costs a line in the log, not the features that were just computed.
        """
        path = self._path(key)
        try:
            self._write(path, features, {**about, "key": key})
        except OSError as error:
            _log.warning("features could not be kept in %s: %s", path, error)

    def _write(self, path: Path, features: FloatArray, record: dict[str, Any]) -> None:
        path.with_suffix(".json").unlink(missing_ok=True)  # an old record must never vouch for a new file
        for leftover in path.parent.glob(f".{path.stem}.*"):  # of a process that was killed; the key is ours now
            leftover.unlink(missing_ok=True)
        write_features(path, features)
        record = {**record, "shape": list(features.shape), "checksum": _checksum(path)}
        text = json.dumps(record, indent=1, sort_keys=True)
        write_through_temporary(path.with_suffix(".json"), text.encode("ascii"))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
