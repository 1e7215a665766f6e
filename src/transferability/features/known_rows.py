"""Rows that are kept already, under another data set of the same encoder: found by the hash of their content.

A smaller or larger `--limit`, a subset, another order or a data set that has grown is another entry of the cache. Its
shards are put together from rows of the entries beside it, and only rows that none of them has are encoded. Rows are
copied, so that every entry stays whole when another is removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability.errors import FileDamagedError
from transferability.features.locks import listing
from transferability.features.store import Entry, FeatureCache, is_whole, read_keys, read_shard, shard_number

__all__ = ["KnownRows"]

Rows = npt.NDArray[np.floating[Any]]


class KnownRows:
    """Rows of one output of an encoder that any data set has in a cache.

    Parameters
    ----------
    cache : FeatureCache
    entry : Entry
        Whose rows are wanted. Its own shards are not looked through, but for the one that is made anew because contents
        have changed: which row a killed run has found must not decide what the next one computes.

    Notes
    -----
    Memory: 24 bytes for each row that the cache has under the encoder, output and dtype. The index is read at the
    first question, from shards that are there then; what is damaged or removed since counts as not there.
    """

    def __init__(self, cache: FeatureCache, entry: Entry) -> None:
        self._cache = cache
        self._entry = entry
        self._index: _Index | None = None
        self._whole: dict[Path, bool] = {}

    def find(self, number: int, keys: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.bool_], Rows | None]:
        """Return which rows of a shard are known, shape (n,), and their features, (number of these, d).

        Parameters
        ----------
        number : int
            Of the shard.
        keys : array of uint8 of shape (n, 16)
            Hashes of the contents of its rows.
        """
        if self._index is None:
            files = [path for folder in self._cache.siblings(self._entry) for path in _shards(folder)]
            self._index = _Index.of(files)
        wanted = np.ascontiguousarray(keys).view("S16")[:, 0]
        stale = _Index.of([path for path in _shards(self._entry.folder) if shard_number(path.name) == number])
        found: Rows | None = None
        there = np.zeros(len(wanted), dtype=np.bool_)
        for index in (stale, self._index):
            for path, places, rows in index.look_up(wanted, ~there):
                part = self._read(path)
                if part is None or (found is not None and found.shape[1] != part.shape[1]):
                    continue
                if found is None:
                    found = np.empty((len(wanted), part.shape[1]), dtype=part.dtype)
                found[places] = part[rows]
                there[places] = True
        return there, None if found is None else found[there]

    def forget(self) -> None:
        """Look at the cache again at the next question: another process has written to it."""
        self._index = None

    def _read(self, path: Path) -> Rows | None:
        if path not in self._whole:
            self._whole[path] = is_whole(path)
        try:
            return read_shard(path) if self._whole[path] else None
        except FileDamagedError:  # removed meanwhile
            return None


@dataclass(frozen=True)
class _Index:
    """Where rows are, by the hashes of their contents, sorted."""

    paths: list[Path]
    keys: npt.NDArray[np.bytes_]  # (m,)
    file_of: npt.NDArray[np.int32]  # (m,)
    row_of: npt.NDArray[np.int32]  # (m,)

    @classmethod
    def of(cls, paths: list[Path]) -> _Index:
        read = [(path, keys) for path in paths if (keys := read_keys(path)) is not None and len(keys)]
        keys = np.concatenate([each for _, each in read]) if read else np.empty(0, dtype="S16")
        order = np.argsort(keys, kind="stable")
        file_of = np.repeat(np.arange(len(read), dtype=np.int32), [len(each) for _, each in read])
        rows = [np.arange(len(each), dtype=np.int32) for _, each in read]
        row_of = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
        return cls([path for path, _ in read], keys[order], file_of[order], row_of[order])

    def look_up(
        self, wanted: npt.NDArray[np.bytes_], among: npt.NDArray[np.bool_]
    ) -> list[tuple[Path, npt.NDArray[np.intp], npt.NDArray[np.int32]]]:
        """Return files, the places in `wanted` whose rows they have, and which rows of theirs these are."""
        if not len(self.keys):
            return []
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        places = np.flatnonzero((self.keys[at] == wanted) & among)
        files = self.file_of[at[places]]
        return [
            (self.paths[file], places[files == file], self.row_of[at[places[files == file]]])
            for file in np.unique(files)
        ]


def _shards(folder: Path) -> list[Path]:
    return [path for path in listing(folder) if shard_number(path.name) is not None]
