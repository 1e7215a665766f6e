"""Results of a study in one SQLite file: written as they come, found again by their key.

A row is one piece of work that took time: the relatedness of an encoder and a target, a fine-tuning run. Its key is
made of everything that decides its result, so that whoever finds the key need not compute again. Each row is committed
on its own: a process that is killed loses the piece it was at, and nothing else. Several processes may write at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transferability.errors import FileDamagedError, OptionError

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
    finished TEXT NOT NULL    -- UTC, ISO 8601
)
"""
_COLUMNS = "key, kind, encoder, target, failed, result, seconds, finished"


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
    OptionError
        If it cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        with self._opened() as connection:
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
            connection.execute(f"PRAGMA user_version={_SCHEMA}")
            connection.commit()

    def get(self, key: str) -> StoredResult | None:
        """Return the result under a key, or None."""
        found = self._select("WHERE key = ?", (key,))
        return found[0] if found else None

    def put(
        self, key: str, kind: str, encoder: str, target: str, result: dict[str, Any], seconds: float, *, failed: bool
    ) -> StoredResult:
        """Keep a result, in place of an older one under the same key; return the row.

        Parameters
        ----------
        result : dict
            JSON values, without nan or infinity.
        """
        text = json.dumps(result, allow_nan=False, ensure_ascii=False)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._opened() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO results ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (key, kind, encoder, target, int(failed), text, seconds, now),
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
        return [
            StoredResult(key, kind, encoder, target, bool(failed), json.loads(result), seconds, finished)
            for key, kind, encoder, target, failed, result, seconds, finished in rows
        ]

    def _opened(self) -> closing[sqlite3.Connection]:
        # A connection for each call: it costs a tenth of a millisecond, and store objects can go to other processes.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=60)
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                message = f"results file {self.path} cannot be opened: {error}. Check the folder and its permissions."
                raise OptionError(message) from error
            message = f"{self.path} is not a results file ({error}). Name another file; it will be made."
            raise FileDamagedError(message) from error
        except OSError as error:
            message = f"results file {self.path} cannot be made: {error.strerror}. Name another place."
            raise OptionError(message) from error
        return closing(connection)
