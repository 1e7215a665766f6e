"""What a data set is made of, shard by shard: bytes are read once per data set, however many encoders come."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from transferability.datasets import Dataset
from transferability.errors import RowError
from transferability.features.preprocessing import n_processors
from transferability.features.shards import Shard, plan

__all__ = ["describe", "fingerprint", "forget_changed", "have_changed", "row_keys"]

_PROBE = 16  # rows that tell how long the others take
_PAYS = 0.05  # seconds of a shard, for threads to be started
_MOST_THREADS = 6

_ids: WeakKeyDictionary[Dataset, str] = WeakKeyDictionary()
_keys: WeakKeyDictionary[Dataset, dict[Shard, npt.NDArray[np.uint8]]] = WeakKeyDictionary()
_changed: WeakKeyDictionary[Dataset, set[Shard]] = WeakKeyDictionary()


def row_keys(dataset: Dataset, shard: Shard) -> npt.NDArray[np.uint8]:
    """Return the hash of the content of each row of a shard, shape (n, 16)."""
    known = _keys.setdefault(dataset, {})
    if shard not in known:
        known[shard] = _hashed(dataset, shard.rows)
    return known[shard]


def have_changed(dataset: Dataset, shard: Shard, rows: Sequence[int]) -> bool:
    """Tell whether any of these rows of a shard has another content now than when the shard was hashed.

    Files are replaced while encoders run, and data that are drawn anew whenever they are read (random transforms) have
    no content of their own. A job sees the data as they were when it began; the next one hashes such a shard again.
    """
    known = row_keys(dataset, shard)[np.asarray(rows) - shard.start]
    try:
        changed = not np.array_equal(_hashed(dataset, rows), known)
    except RowError:  # gone
        changed = True
    if changed:
        _changed.setdefault(dataset, set()).add(shard)
    return changed


def forget_changed(dataset: Dataset) -> None:
    """Hash the shards again that were seen to have changed: a new job begins."""
    for shard in _changed.pop(dataset, ()):
        _keys[dataset].pop(shard, None)


def _hashed(dataset: Dataset, rows: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Hash rows, by several threads where they are large: one hashes less than a GPU encodes."""
    started = time.perf_counter()
    first = dataset.row_keys(rows[:_PROBE])
    seconds = (time.perf_counter() - started) / _PROBE * len(rows)
    n_threads = min(_MOST_THREADS, n_processors() // 2)
    if seconds < _PAYS or n_threads < 2:
        return np.concatenate([first, dataset.row_keys(rows[_PROBE:])])
    ends = np.linspace(_PROBE, len(rows), n_threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="hash") as threads:
        rest = list(threads.map(dataset.row_keys, (rows[start:end] for start, end in itertools.pairwise(ends))))
    return np.concatenate([first, *rest])


def fingerprint(dataset: Dataset, shard: Shard) -> str:
    """Return the fingerprint of the rows of a shard: of their contents, in order."""
    return hashlib.sha256(row_keys(dataset, shard).tobytes()).hexdigest()


def describe(dataset: Dataset, first: Shard) -> dict[str, Any]:
    """Return what tells a data set from others, without reading all of it: ids, and contents of the first shard.

    Each further shard answers for itself: its own fingerprint is in its name.
    """
    if dataset not in _ids:
        total = hashlib.sha256()
        for part in plan(len(dataset)):  # ids of millions of rows are kept compact, and stay so
            for each in dataset.all_ids[dataset.rows[part.start : part.stop]].tolist():
                text = each.encode("utf-8", "surrogatepass")
                total.update(len(text).to_bytes(8, "little"))  # lengths first, so that ids cannot run together
                total.update(text)
        _ids[dataset] = total.hexdigest()
    return {
        "modality": dataset.modality,
        "rows": len(dataset),
        "ids": _ids[dataset],
        "first": fingerprint(dataset, first),
    }
