"""Results of a study in one SQLite file: written as they come, found again by their key.

A row is one piece of work that took time: the relatedness of an encoder and a target, a fine-tuning run. Its key is
made of everything that decides its result, so that whoever finds the key need not compute again. Each row is committed
on its own: a process that is killed loses the piece it was at, and nothing else. Several processes may write at once.

A row has a checksum (those of earlier versions have none). One that does not fit it, or cannot be read, counts as not
there: what it held is computed again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transferability._schema import Shape, ShapeError, check_shape
from transferability.errors import FileDamagedError, OutputError

__all__ = ["ResultStore", "StoredResult", "result_key"]

_SCHEMA = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS results (
    key      TEXT PRIMARY KEY,
    kind     TEXT NOT NULL,   -- what was done: 'relatedness', 'finetune', 'probe', …
    encoder  TEXT NOT NULL,
    target   TEXT NOT NULL,
    failed   INTEGER NOT NULL,
    result   TEXT NOT NULL,   -- JSON; of a failure {"reason": …}
    seconds  REAL NOT NULL,
    finished TEXT NOT NULL,   -- UTC, ISO 8601
    sha256   TEXT             -- of all others, as JSON; NULL in rows of earlier versions
)
"""
_NAMES = ("key", "kind", "encoder", "target", "failed", "result", "seconds", "finished", "sha256")
_COLUMNS = ", ".join(_NAMES)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredResult:
    """One row of a study."""

    key: str
    kind: str
    encoder: str
    target: str
    failed: bool
    result: dict[str, Any]
    seconds: float
    finished: str


def result_key(kind: str, **parts: Any) -> str:
    """Return the key of a piece of work: a hash of its kind and of the JSON values that decide its result.

    Examples
    --------
    >>> result_key("probe", encoder="timm:a", seed=0) == result_key("probe", seed=0, encoder="timm:a")
    True
    """
    canonical = json.dumps([kind, parts], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class ResultStore:
    """A file of results.

    Parameters
    ----------
    path : path
        Made if it is not there, with its folder.

    Raises
    ------
    FileDamagedError
        If the file is not a database, or one of another program or layout.
    OutputError
        If it cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        with self._opened() as connection:
            if _is_current(connection):  # also on a disk that cannot be written
                return
            connection.execute("BEGIN IMMEDIATE")  # another process may be making the same file
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version != _SCHEMA and (version or tables):
                message = (
                    f"results file {self.path} has layout {version}, and this version reads {_SCHEMA}. "
                    "Name another file; it will be made."
                )
                raise FileDamagedError(message)
            connection.execute(_TABLE)
            if "sha256" not in _columns_of(connection):  # made by an earlier version, which reads what this one writes
                connection.execute("ALTER TABLE results ADD COLUMN sha256 TEXT")
            missing = set(_NAMES) - _columns_of(connection)
            if missing:
                message = f"results file {self.path} has a table without {', '.join(sorted(missing))}. "
                message += "Name another file; it will be made."
                raise FileDamagedError(message)
            connection.execute(f"PRAGMA user_version={_SCHEMA}")
            connection.commit()

    def get(self, key: str, shape: Shape = object) -> StoredResult | None:
        """Return the result under a key; None where there is none, or one that has not the shape of what was kept."""
        found = self._select("WHERE key = ?", (key,))
        if not found:
            return None
        try:
            check_shape(found[0].result, object if found[0].failed else shape)
        except ShapeError as error:
            _log.warning("a row of %s counts as not there: %.100r, %s", self.path, found[0].encoder, error)
            return None
        return found[0]

    def put(
        self, key: str, kind: str, encoder: str, target: str, result: dict[str, Any], seconds: float, *, failed: bool
    ) -> StoredResult:
        """Keep a result, in place of an older one under the same key; return the row.

        Parameters
        ----------
        result : dict
            JSON values, without nan or infinity.
        """
        text = json.dumps(result, allow_nan=False, ensure_ascii=True)  # names of files may be no valid texts
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = (key, kind, _storable(encoder), _storable(target), int(failed), text, float(seconds), now)
        with self._opened() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO results ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})",
                (*row, _checksum(row)),
            )
            connection.commit()
        return StoredResult(key, kind, encoder, target, failed, result, seconds, now)

    def results(self, kind: str | None = None) -> list[StoredResult]:
        """Return all results, or those of one kind, in the order in which they were finished."""
        if kind is None:
            return self._select("ORDER BY finished, rowid", ())
        return self._select("WHERE kind = ? ORDER BY finished, rowid", (kind,))

    def _select(self, rest: str, values: Sequence[str]) -> list[StoredResult]:
        with self._opened() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM results {rest}", values).fetchall()
        return [found for found in map(self._read, rows) if found is not None]

    def _read(self, row: Sequence[Any]) -> StoredResult | None:
        """Return a row, or None with a line in the log if it is damaged."""
        *content, checksum = row
        try:
            if checksum is not None and checksum != _checksum(content):
                raise ValueError
            key, kind, encoder, target, failed, text, seconds, finished = content
            for each in (key, kind, encoder, target, text, finished):
                if not isinstance(each, str):
                    raise TypeError
            result = json.loads(text, parse_constant=_refuse)
            if not isinstance(result, dict) or not math.isfinite(seconds) or failed not in (0, 1):
                raise TypeError
        except (ValueError, TypeError, RecursionError, OverflowError):
            _log.warning("a row of %s is damaged and counts as not there: %.100r on %.100r", self.path, *row[2:4])
            return None
        return StoredResult(key, kind, encoder, target, bool(failed), result, float(seconds), finished)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # A connection for each call: it costs a tenth of a millisecond, and store objects can go to other processes.
        connection: sqlite3.Connection | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=60)
            yield connection
        except sqlite3.OperationalError as error:
            message = f"results file {self.path} cannot be read or written: {error}. Check its place and permissions."
            raise OutputError(message) from error
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            message = f"{self.path} is damaged or not a results file ({error}). Name another file; it will be made."
            raise FileDamagedError(message) from error
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            message = f"results file {self.path} cannot be made: {error.strerror}. Name another place."
            raise OutputError(message) from error
        finally:
            if connection is not None:
                connection.close()


def _is_current(connection: sqlite3.Connection) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version == _SCHEMA and _columns_of(connection).issuperset(_NAMES)


def _columns_of(connection: sqlite3.Connection) -> set[str]:
    return {row[1] for row in connection.execute("PRAGMA table_info(results)")}


def _checksum(row: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(list(row), separators=(",", ":")).encode()).hexdigest()


def _storable(text: str) -> str:
    """Return a name without lone surrogates, which stand for bytes of a file's name and which SQLite refuses."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _refuse(constant: str) -> None:
    raise ValueError(constant)
