"""What a row of a table is called in messages: its line in a text file, as editors count, else its number from 0.

A line is looked for when it is to be told: the file is then read once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transferability._array import IntArray

__all__ = ["Places"]


@dataclass(frozen=True)
class Places:
    """Position of a row to what it is called in messages.

    Attributes
    ----------
    numbers : array of int of shape (n,)
        Of each row, its number in the file or table, from 0.
    line : callable, or None
        Number of a row to its line in a text file, from 1; None where there are no lines. It can be pickled.
    """

    numbers: IntArray
    line: Callable[[int], int | None] | None = None

    def __call__(self, row: int) -> str:
        """Return "line 5", or "row 3 (from 0)"."""
        number = int(self.numbers[row])
        line = None if self.line is None else self.line(number)
        return f"row {number} (from 0)" if line is None else f"line {line}"
