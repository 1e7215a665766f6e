"""Files that appear whole or not at all, and outputs that are checked before the work for them begins."""

from __future__ import annotations

import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO

from transferability.errors import OptionError, OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_output", "output_errors", "temporary_sibling", "to_disk", "write_through_temporary"]

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")  # without the suffix
_NAME = 40  # characters of a file's name in that of its temporary file: names have an end
_A_DAY = 86_400.0


def check_output(
    path: str | os.PathLike[str], *, folder: bool = False, suffixes: Sequence[str] = (), argument: str = "out"
) -> Path:
    """Return the absolute path of an output, or say at once what would be said after hours of work.

    Parameters
    ----------
    path : path
    folder : bool, default=False
        Whether it is to be a folder. It is not made yet.
    suffixes : sequence of str
        What the name of a file may end in; anything if left out.
    argument : str, default="out"
        For messages.

    Raises
    ------
    OptionError
        For another suffix, or if there is something else of that name.
    OutputError
        If nothing can be written there.
    """
    given = Path(path)
    _check_text(given, argument)
    if suffixes and given.suffix not in suffixes:
        message = f"`{argument}` must end in {' or '.join(suffixes)}; got {given.name!r}. "
        raise OptionError(message + f"Write {given.stem}{suffixes[0]}.")
    with output_errors(given):
        place = given.expanduser().absolute()  # wherever the working folder is when it is written
        if place.exists() and not (place.is_dir() if folder else place.is_file()):
            wanted, is_there = ("a folder", "something else") if folder else ("a file", "a folder or a device")
            message = f"`{argument}` must be {wanted}; {given} is {is_there}. Name another place."
            raise OptionError(message)
        with suppress(FileNotFoundError, NotADirectoryError):
            place.lstat()  # what the system has against a name that is not there yet, such as its length
        there = place if folder else place.parent
        while not there.is_dir() and not os.path.lexists(there) and there != there.parent:
            there = there.parent
        with tempfile.TemporaryFile(dir=there) as stream:
            stream.write(bytes(4096))
    return place


def _check_text(path: Path, argument: str) -> None:
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        message = f"`{argument}` must be a path that the system can write; got {str(path)!r}. Name another place."
        raise OptionError(message)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what the system says while `path` is written into one sentence."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{path} cannot be written: {reason}. Name another place, or make room and permission for this one."
        raise OutputError(message) from error


@contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """Give a fresh name beside `path`; on success the file there is renamed to `path`, on failure it is removed.

    Folders that are missing are made. What processes that were killed left of the same file is removed first: they hold
    a lock on it no longer.

    Raises
    ------
    OutputError
        If the folder or the file cannot be made.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary, lock = _claim(path)
    try:
        yield temporary
        if fcntl is None:
            lock.close()
        with output_errors(path):
            temporary.replace(path)
    finally:
        lock.close()
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def to_disk(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it: a rename that outlives a power cut must not lead to less."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_through_temporary(path: Path, content: bytes) -> None:
    """Write a small file, whole or not at all; folders that are missing are made."""
    with temporary_sibling(path) as temporary, output_errors(path):
        to_disk(temporary, content)


def _claim(path: Path) -> tuple[Path, IO[bytes]]:
    """Make a temporary file and lock it, for others to see that its writer lives."""
    while True:
        temporary = path.with_name(f".{path.name[:_NAME]}.{uuid.uuid4().hex}{path.suffix}")
        stream = temporary.open("xb")
        if fcntl is None:
            stream.close()
            return temporary, stream
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # taken for abandoned in the moment before
            stream.close()
            continue
        except OSError:  # a file system without locks: nobody will take the file for abandoned either
            return temporary, stream
        if temporary.exists():
            return temporary, stream
        stream.close()


def _remove_abandoned(path: Path) -> None:
    for other in path.parent.glob(f".{escape(path.name[:_NAME])}*{escape(path.suffix)}"):
        if _TEMPORARY.fullmatch(other.name.removesuffix(path.suffix)):
            with suppress(OSError):
                _remove_if_abandoned(other)


def _remove_if_abandoned(temporary: Path) -> None:
    if fcntl is None:
        if time.time() - temporary.stat().st_mtime > _A_DAY:
            temporary.unlink()
        return
    with temporary.open("rb+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error while somebody writes it
        temporary.unlink()
