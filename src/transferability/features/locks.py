"""Locks of the processes that share a cache: who computes a shard, and which entries are in use."""

from __future__ import annotations

import os
import platform
import random
import re
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferability.errors import OptionError

__all__ = ["Locks", "listing", "names", "tries"]

_PATIENCE = 20.0  # seconds of somebody else emptying the cache again and again
_OWNER = re.compile(r"process \d{1,10} on [\w.-]{1,100}")


def listing(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted; nothing if it is not there, or is removed meanwhile: `glob` would raise."""
    return [folder / name for name in names(folder)]


def names(folder: Path) -> list[str]:
    """Return the names of `listing`."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - a thousand shards are listed a thousand times
    except OSError:
        return []


def tries() -> Iterator[bool]:
    """Yield whether another try may follow this one, with short random waits between tries.

    A folder that was just made may be gone before a file is in it: others empty the cache. How often is up to them and
    to the load of the machine, so tries are limited by time and not by number.
    """
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        yield True
        time.sleep(random.uniform(0.0, 0.01))  # so that two processes do not stay in step
    yield False


@dataclass(frozen=True)
class Locks:
    """A folder of locks, which the system lets go of when their processes end, however they end."""

    folder: Path

    def acquire(self, name: str) -> Any | None:
        """Return a lock that one process at a time can hold, or None if another has it.

        Raises
        ------
        OptionError
            If the folder cannot be written.
        """
        import filelock

        path = self.folder / name
        for more in tries():
            lock = filelock.FileLock(path, thread_local=False)  # acquired in one thread, released in another
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=False)
            except filelock.Timeout:
                return None
            except OSError as error:
                if isinstance(error, FileNotFoundError) and more:
                    continue  # somebody has emptied the cache in between
                message = f"the cache folder must be writable; {self.folder.parent} is not ({error.strerror}). "
                message += "Set TRANSFERABILITY_CACHE to one that is, or turn the cache off: --no-cache (in Python "
                message += "cache=False)."
                raise OptionError(message) from error
            return lock
        return None

    def release(self, lock: Any) -> None:
        """Let go of a lock and take its file away."""
        with suppress(OSError):  # Windows removes no open file
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()

    def note_owner(self, name: str) -> None:
        """Write beside a lock who has it, for those who wait. Not into it: whoever tries to get it empties it."""
        with suppress(OSError):
            (self.folder / f"{name}.owner").write_text(
                f"process {os.getpid()} on {platform.node()}", "ascii", "replace"
            )

    def forget_owner(self, name: str) -> None:
        """Take away what `note_owner` wrote."""
        with suppress(OSError):
            (self.folder / f"{name}.owner").unlink(missing_ok=True)

    def owner(self, name: str) -> str:
        """Return who has a lock, in words."""
        with suppress(OSError, ValueError):
            found = _OWNER.fullmatch((self.folder / f"{name}.owner").read_text("ascii"))
            if found:
                return found[0]
        return "another process"

    @contextmanager
    def lease(self, keys: Collection[str]) -> Iterator[None]:
        """Keep entries from being removed while a run uses them; leases that killed runs left of them are removed."""
        with ExitStack() as stack:
            try:
                for key in keys:
                    lock = None
                    while lock is None:  # unless somebody takes it for abandoned in the moment before
                        lock = self.acquire(f"{key}.{uuid.uuid4().hex}.lease")
                    stack.callback(self.release, lock)
                for path in self._leases():
                    if path.name.partition(".")[0] in keys:
                        self.remove_unused(path)
            except OptionError:  # a cache that can only be read: nobody removes anything
                pass
            yield

    def leased(self) -> set[str]:
        """Return the keys of entries that are in use; leases of processes that were killed are removed."""
        return {path.name.partition(".")[0] for path in self._leases() if not self.remove_unused(path)}

    def _leases(self) -> list[Path]:
        return [path for path in listing(self.folder) if path.suffix == ".lease"]

    def remove_unused(self, path: Path) -> bool:
        """Remove the file of a lock that nobody holds; return whether it is gone."""
        try:
            lock = self.acquire(path.name)
        except OptionError:
            return False
        if lock is None:
            return False
        self.release(lock)
        return True
