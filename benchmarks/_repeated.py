"""Rows of benchmarks that worker processes can import: few pictures, over and over."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["Photographs", "Repeated"]


@dataclass(frozen=True)
class Repeated:
    """Pictures in memory, over and over."""

    pictures: np.ndarray  # (n, height, width, 3) uint8

    def __call__(self, row: int) -> Image.Image:
        """Return a picture."""
        return Image.fromarray(self.pictures[row % len(self.pictures)])

    def content(self, row: int) -> bytes:
        """Return what is hashed: all its pixels, and a number that makes each row another picture for the cache."""
        return b"".join(self.pieces(row))

    def pieces(self, row: int) -> tuple[bytes, np.ndarray]:
        """Return the same in pieces, as data sets in memory have it."""
        return row.to_bytes(8, "little"), self.pictures[row % len(self.pictures)].reshape(-1)


@dataclass(frozen=True)
class Photographs:
    """JPEGs over and over."""

    contents: tuple[bytes, ...]

    def __call__(self, row: int) -> Image.Image:
        """Return a picture, decoded."""
        return Image.open(io.BytesIO(self.contents[row % len(self.contents)])).convert("RGB")

    def content(self, row: int) -> bytes:
        """Return what is hashed: the file, and a number that makes each row another picture for the cache."""
        return b"".join((row.to_bytes(8, "little"), self.contents[row % len(self.contents)]))
