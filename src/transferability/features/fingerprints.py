"""What a data set is made of, shard by shard: bytes are read once per data set, however many encoders come."""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from transferability.datasets import Dataset
from transferability.features.shards import Shard, plan

__all__ = ["describe", "fingerprint", "row_keys"]

_ids: WeakKeyDictionary[Dataset, str] = WeakKeyDictionary()
_keys: WeakKeyDictionary[Dataset, dict[Shard, npt.NDArray[np.uint8]]] = WeakKeyDictionary()


def row_keys(dataset: Dataset, shard: Shard) -> npt.NDArray[np.uint8]:
    """Return the hash of the content of each row of a shard, shape (n, 16)."""
    known = _keys.setdefault(dataset, {})
    if shard not in known:
        known[shard] = dataset.row_keys(shard.rows)
    return known[shard]


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
