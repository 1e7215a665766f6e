"""Data sets of bright bands, and functions as encoders that see them or do not."""

from __future__ import annotations

import numpy as np

from transferability.datasets import Dataset
from transferability.datasets.arrays import picture_arrays
from transferability.encoders.function import FunctionEncoder
from transferability.pipeline import Settings

SETTINGS = Settings(cache=False)


def stripes(name: str, seed: int, n: int = 60, *, labelled: bool = True, inverted: bool = False) -> Dataset:
    """Return pictures of 12 × 12 with a bright band in one of three places."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    pixels = rng.integers(0, 90, size=(n, 12, 12), dtype=np.uint8)
    for row, label in enumerate(labels):
        pixels[row, 4 * label : 4 * label + 4] += np.uint8(150)
    if inverted:
        pixels = 255 - pixels
    return picture_arrays(
        name, pixels, labels if labelled else None, ["top", "middle", "bottom"] if labelled else None, name
    )


def rows(items: list) -> np.ndarray:
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=1) for each in items])


def noise(items: list) -> np.ndarray:
    return np.stack([np.random.default_rng(int(np.asarray(each)[0, 0, 0])).normal(size=6) for each in items])


def broken(items: list) -> np.ndarray:
    return np.full((len(items), 3), np.nan)


def words(items: list) -> np.ndarray:
    return np.zeros((len(items), 2))


words.modality = "text"  # type: ignore[attr-defined]

GOOD, NOISE, BROKEN, WORDS = (FunctionEncoder(each.__name__, each) for each in (rows, noise, broken, words))
TARGET, REFERENCE, FAR = stripes("bands", 0), stripes("lines", 1), stripes("negatives", 2, inverted=True)
