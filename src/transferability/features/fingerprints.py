"""What a data set is made of, shard by shard: bytes are read once per data set, however many encoders come."""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

from transferability.datasets import Dataset
from transferability.features.shards import Shard, plan

__all__ = ["describe", "fingerprint"]

_known: WeakKeyDictionary[Dataset, dict[Any, str]] = WeakKeyDictionary()


def fingerprint(dataset: Dataset, shard: Shard) -> str:
    """Return the fingerprint of the rows of a shard: of their ids and contents."""
    known = _known.setdefault(dataset, {})
    if shard not in known:
        known[shard] = dataset.fingerprint(shard.rows)
    return known[shard]


def describe(dataset: Dataset, first: Shard) -> dict[str, Any]:
    """Return what tells a data set from others, without reading all of it: ids, and contents of the first shard.

    Each further shard answers for itself: its own fingerprint is in its name.
    """
    known = _known.setdefault(dataset, {})
    if "ids" not in known:
        total = hashlib.sha256()
        for part in plan(len(dataset)):  # ids of millions of rows are kept compact, and stay so
            for each in dataset.all_ids[dataset.rows[part.start : part.stop]].tolist():
                text = each.encode("utf-8", "surrogatepass")
                total.update(len(text).to_bytes(8, "little"))  # lengths first, so that ids cannot run together
                total.update(text)
        known["ids"] = total.hexdigest()
    return {
        "modality": dataset.modality,
        "rows": len(dataset),
        "ids": known["ids"],
        "first": fingerprint(dataset, first),
    }
