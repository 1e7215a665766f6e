"""Pictures that look the same: resized, compressed or saved again, their bytes differ and their hashes hardly do."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from transferability._array import IntArray
from transferability.datasets.base import Dataset
from transferability.errors import OptionError, require_extra

__all__ = ["near_groups"]

_BITS = 64
_AT_MOST = 4  # bits that may differ; unrelated photographs differ in about 32
_PIECES = (
    _AT_MOST + 1
)  # one of so many pieces is the same in two hashes that differ in fewer bits than there are pieces


def near_groups(dataset: Dataset, groups: IntArray) -> IntArray:
    """Return groups in which pictures that look the same are together too.

    Perceptual hashes (the signs of the lowest 64 cosine coefficients; Zauner, 2010) of two pictures differ in at most 4
    bits. Pictures that are near a common one are together, also where they are not near each other. Every picture is
    decoded.

    Parameters
    ----------
    dataset : Dataset
        Of pictures.
    groups : array of int of shape (n,)
        Of the same content.

    Raises
    ------
    OptionError
        If the rows are no pictures.
    MissingExtraError
        Without imagehash.
    """
    if dataset.modality != "image":
        message = f"`near_duplicates` must be left out for rows that are no pictures; data {dataset.name!r} hold "
        message += f"{dataset.modality} rows."
        raise OptionError(message)
    imagehash = require_extra("imagehash", "near-duplicates", "`near_duplicates`")
    first = np.unique(groups, return_index=True)[1]  # copies need no second look
    hashes = np.stack([imagehash.phash(dataset.items([row])[0]).hash.ravel() for row in first.tolist()])  # (g, 64) bool
    pairs = _near(hashes)
    from scipy.sparse import coo_array  # a second of processor time, which worker processes do not have to take
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(first), len(first)))
    together = connected_components(links, directed=False)[1]
    return together[np.unique(groups, return_inverse=True)[1]].astype(np.int64)


def _near(hashes: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the pairs of hashes that differ in at most `_AT_MOST` bits, each at least once, (n_pairs, 2)."""
    distinct, row_of = np.unique(hashes, axis=0, return_inverse=True)
    first = np.unique(row_of, return_index=True)[1]
    same = np.stack([first[row_of], np.arange(len(hashes))], axis=1)
    found = [same]
    for piece in np.array_split(np.arange(_BITS), _PIECES):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for row, bits in enumerate(np.packbits(distinct[:, piece], axis=1)):
            buckets[bits.tobytes()].append(row)
        for members in buckets.values():
            rows = np.array(members)
            for place, row in enumerate(members[:-1]):
                others = rows[place + 1 :]
                near = others[(distinct[others] != distinct[row]).sum(axis=1) <= _AT_MOST]
                found.append(np.stack([np.full(len(near), first[row]), first[near]], axis=1))
    return np.concatenate(found)
