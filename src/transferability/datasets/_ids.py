"""Ids of many rows in little memory: NumPy keeps each str as long as the longest, at four bytes a character."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from transferability._array import IntArray

__all__ = ["NumberedRows", "PackedIds", "WordIds"]


@dataclass(frozen=True, eq=False)
class NumberedRows:
    """Ids that are row numbers: eight bytes each, as many as `numbers` has."""

    numbers: IntArray

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, rows: int) -> str: ...
    @overload
    def __getitem__(self, rows: IntArray) -> npt.NDArray[np.str_]: ...
    def __getitem__(self, rows: int | IntArray) -> str | npt.NDArray[np.str_]:
        """Return one id, or an array of them."""
        chosen = self.numbers[rows]
        return chosen.astype(np.str_) if isinstance(chosen, np.ndarray) else str(chosen)


@dataclass(frozen=True, eq=False)
class PackedIds:
    """Any strings, one behind the other in UTF-8: eight bytes each beside their own."""

    text: bytes
    ends: npt.NDArray[np.int64]

    @classmethod
    def pack(cls, ids: Iterable[str]) -> PackedIds:
        """Return the packed form of these ids, which are read once and need not be in memory together."""
        text, ends = bytearray(), array("q")
        for each in ids:
            text += each.encode("utf-8", "surrogateescape")  # file names need not be UTF-8
            ends.append(len(text))
        return cls(bytes(text), np.array(ends, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, rows: int) -> str: ...
    @overload
    def __getitem__(self, rows: IntArray) -> npt.NDArray[np.str_]: ...
    def __getitem__(self, rows: int | IntArray) -> str | npt.NDArray[np.str_]:
        """Return one id, or an array of them."""
        if isinstance(rows, np.ndarray):
            return np.array([self._one(row) for row in rows.tolist()], dtype=np.str_)
        return self._one(int(rows))

    def _one(self, row: int) -> str:
        if row < 0:
            row += len(self)
        start = int(self.ends[row - 1]) if row else 0
        return self.text[start : int(self.ends[row])].decode("utf-8", "surrogateescape")


@dataclass(frozen=True, eq=False)
class WordIds:
    """Ids SENTENCE:POSITION of the words of sentences."""

    sentences: IntArray
    positions: IntArray

    def __len__(self) -> int:
        return len(self.sentences)

    @overload
    def __getitem__(self, rows: int) -> str: ...
    @overload
    def __getitem__(self, rows: IntArray) -> npt.NDArray[np.str_]: ...
    def __getitem__(self, rows: int | IntArray) -> str | npt.NDArray[np.str_]:
        """Return one id, or an array of them."""
        if isinstance(rows, np.ndarray):
            pairs = zip(self.sentences[rows].tolist(), self.positions[rows].tolist(), strict=True)
            return np.array([f"{sentence}:{position}" for sentence, position in pairs], dtype=np.str_)
        return f"{self.sentences[rows]}:{self.positions[rows]}"
