"""Blocks of features know of their rows what the data set knows; a fingerprint tells where a content ends."""

from __future__ import annotations

import numpy as np

from transferability.datasets import Dataset
from transferability.encoders.function import FunctionEncoder
from transferability.features import extract_blocks, extract_features


def contents_of(parts: tuple[bytes, ...]) -> Dataset:
    ids = np.array(["x"] * len(parts))
    return Dataset("d", "array", ids, read=lambda row: parts[row], content=lambda row: parts[row])


def test_contents_that_run_together_are_told_apart() -> None:
    hashes = {contents_of(parts).fingerprint() for parts in [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"", b"abc")]}
    assert len(hashes) == 4


def test_targets_go_with_their_rows() -> None:
    values = np.arange(24.0).reshape(12, 2)
    data = Dataset(
        "numbers",
        "array",
        np.array([str(k) for k in range(12)]),
        read=lambda row: values[row],
        content=lambda row: values[row].tobytes(),
        all_targets=values.sum(axis=1),
    )

    def same(items: list) -> np.ndarray:
        return np.stack(items)

    same.modality = "array"  # type: ignore[attr-defined]
    encoder = FunctionEncoder("same", same)
    blocks = list(extract_blocks(encoder, data.subset([5, 3, 8]), cache=False))
    np.testing.assert_array_equal(np.concatenate([each.targets for each in blocks]), [21, 13, 33])
    np.testing.assert_array_equal(extract_features(encoder, data, cache=False).targets, values.sum(axis=1))
