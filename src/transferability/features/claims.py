"""Shards that are there, and the right to compute those that are not: one process at a time has it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability.encoders import Encoder
from transferability.encoders.base import TextReader
from transferability.encoders.identity import hash_json
from transferability.errors import EncoderError
from transferability.features.fingerprints import fingerprint, have_changed, row_keys
from transferability.features.inference import Rows, where
from transferability.features.job import Counts, Done, Job
from transferability.features.known_rows import KnownRows
from transferability.features.shards import Shard
from transferability.features.store import Entry, FeatureCache, read_counts

__all__ = ["Claim", "Claims"]

_log = logging.getLogger(__name__)


class Claims:
    """The shards of a job: found in its cache, or to be computed. Without a cache all are to be computed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._entries = job.entries()
        self._known = {} if job.cache is None else {
            output: KnownRows(job.cache, entry) for output, entry in self._entries.items()
        }  # fmt: skip
        self._name = hash_json(job.decides()) if self._entries else ""

    def mark(self, shard: Shard) -> str:
        """Return the fingerprint of the rows of a shard, whose bytes are read for it; nothing without a cache."""
        return fingerprint(self._job.dataset, shard) if self._entries else ""

    def take(self, shard: Shard, mark: str) -> Done | Claim | None:
        """Return a shard that is there, or the right to compute it, or None if another process has that."""
        job, entries = self._job, self._entries
        if job.cache is None:
            return Claim(job, shard)
        found = self._find(shard, mark)
        if len(found) == len(entries):
            return _done(shard, found)
        lock = job.cache.acquire(self.lock_name(mark))
        if lock is None:
            return None
        found = self._find(shard, mark)  # finished just now, perhaps
        claim = Claim(job, shard, mark, {each: entries[each] for each in entries if each not in found}, found, lock)
        if not claim.missing:
            claim.release()
            return _done(shard, found)
        try:
            self._reuse(claim)
        except BaseException:
            claim.release()
            raise
        return claim

    def lock_name(self, mark: str) -> str:
        """Return the name of the lock of the shard with this fingerprint."""
        return f"{self._name[:32]}-{mark[:32]}"

    def forget(self) -> None:
        """Look at the cache again for rows: another process has written some."""
        for each in self._known.values():
            each.forget()

    def _reuse(self, claim: Claim) -> None:
        """Give a claim the rows that other data sets have under all outputs that it misses."""
        keys = row_keys(self._job.dataset, claim.shard)
        found = {output: self._known[output].find(claim.shard.number, keys) for output in claim.missing or ()}
        there = np.logical_and.reduce([each for each, _ in found.values()])
        if there.any():
            rows = {output: part[there[own]] for output, (own, part) in found.items() if part is not None}
            claim.reuse(np.flatnonzero(there) + claim.shard.start, rows)

    def _find(self, shard: Shard, mark: str) -> dict[str, Path]:
        paths = {output: entry.find(shard.number, mark) for output, entry in self._entries.items()}
        return {output: path for output, path in paths.items() if path is not None}


def _done(shard: Shard, paths: dict[str, Path]) -> Done:
    counts = next(filter(None, map(read_counts, paths.values())), None)
    return Done(shard, dict(paths), None if counts is None else Counts(**counts))


@dataclass(eq=False)
class Claim:
    """A shard that this process computes, and nobody else while it is not released."""

    job: Job
    shard: Shard
    mark: str = ""
    missing: dict[str, Entry] | None = None  # None without a cache
    found: dict[str, Path] | None = None
    lock: Any = None

    def __post_init__(self) -> None:
        self.reused: npt.NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._n_left = len(self.shard.rows)
        self._rows: dict[str, npt.NDArray[np.floating[Any]]] = {}
        self._counts: Counts | None = None

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return self._n_left == 0

    @property
    def rows_left(self) -> Sequence[int]:
        """The rows that are to be encoded, as positions in the data set; before any was."""
        if not len(self.reused):
            return self.shard.rows
        there = set(self.reused.tolist())
        return [row for row in self.shard.rows if row not in there]

    def reuse(self, rows: npt.NDArray[np.intp], values: Rows) -> None:
        """Take rows that were encoded for another data set."""
        self.reused = rows
        self._take(rows, values)

    def add(self, rows: npt.NDArray[np.intp], values: Rows, batch: Sequence[Any]) -> None:
        """Take encoded rows; `batch` is what the encoder got."""
        self._take(rows, values)
        self._count(self.job.encoder, batch)

    def count_reused(self) -> None:
        """Count what the encoder did not read of the texts that were not encoded now."""
        if len(self.reused) and isinstance(self.job.encoder, TextReader):
            self._count(self.job.encoder, self.job.dataset.items(self.reused.tolist()))

    def finish(self) -> Done:
        """Write what was computed; a disk that is full costs a line in the log, not the features."""
        parts: dict[str, Path | npt.NDArray[np.floating[Any]]] = {**(self.found or {}), **self._rows}
        try:
            missing = {} if self._has_changed() else self.missing or {}
            for output, entry in missing.items():
                try:
                    counts = None if self._counts is None else self._counts._asdict()
                    keys = row_keys(self.job.dataset, self.shard)
                    parts[output] = entry.write(self.shard.number, self.mark, self._rows[output], keys, counts)
                except OSError as error:
                    _log.warning("features could not be kept in %s: %s", entry.folder, error)
        finally:
            self._rows = {}
            self.release()
        return Done(self.shard, parts, self._counts)

    def _has_changed(self) -> bool:
        """Tell whether rows were perhaps others when they were encoded than when they were hashed, and say so."""
        rows = self.rows_left if self.missing else ()
        changed = len(rows) > 0 and have_changed(self.job.dataset, self.shard, rows)
        if changed:
            _log.warning(
                "features of %s are not kept: what is there has changed since it was first read. Are files being "
                "replaced, or pictures transformed at random?",
                where(self.job.dataset, rows),
            )
        return changed

    def release(self) -> None:
        """Let other processes have the shard."""
        cache: FeatureCache | None = self.job.cache
        if self.lock is not None and cache is not None:
            cache.release(self.lock)
            self.lock = None

    def _take(self, rows: npt.NDArray[np.intp], values: Rows) -> None:
        for output in self.job.outputs if self.missing is None else self.missing:
            part = values[output]
            if output not in self._rows:
                self._rows[output] = np.empty((len(self.shard.rows), part.shape[1]), dtype=part.dtype)
            kept = self._rows[output]
            if kept.shape[1] != part.shape[1]:
                message = f"encoder {self.job.encoder.name!r} must return rows of one length; it returned "
                message += f"{kept.shape[1]} numbers for some rows and {part.shape[1]} for "
                message += f"{where(self.job.dataset, rows.tolist())}. "
                raise EncoderError(message + "An input size that follows the picture's is the usual cause.")
            kept[rows - self.shard.start] = part
        self._n_left -= len(rows)

    def _count(self, encoder: Encoder, batch: Sequence[Any]) -> None:
        if isinstance(encoder, TextReader):
            reading = encoder.reading(batch)
            if reading is not None:
                counts = Counts(len(batch), reading.longer, reading.limit)
                self._counts = counts if self._counts is None else self._counts + counts
