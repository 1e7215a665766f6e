"""Which rows go into which file: decided by their number alone, never by who computes them.

A shard is computed from its first row on, and a batch crosses shards only if it is larger than they are. So one
process, several shells and a cluster make the same files, and a run that was killed goes on where the last finished
file ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from transferability.errors import OptionError

__all__ = ["SHARD_ROWS", "Shard", "parse_share", "pick", "plan"]

SHARD_ROWS = 1024  # 5 MB of 1,280 float32 each; what a kill can cost at most


class Shard(NamedTuple):
    """Rows `start` to `stop` − 1 of a data set."""

    number: int
    start: int
    stop: int

    @property
    def rows(self) -> range:
        """The rows, as positions in the data set."""
        return range(self.start, self.stop)


def plan(n_rows: int, shard_rows: int = SHARD_ROWS) -> list[Shard]:
    """Return the shards of a data set of `n_rows` rows.

    Examples
    --------
    >>> plan(2500)[-1]
    Shard(number=2, start=2048, stop=2500)
    """
    starts = range(0, n_rows, shard_rows)
    return [Shard(number, start, min(start + shard_rows, n_rows)) for number, start in enumerate(starts)]


def parse_share(text: str) -> tuple[int, int]:
    """Read ``i/n``, the i-th of n shares, counted from 1.

    Raises
    ------
    OptionError
        For anything else.

    Examples
    --------
    >>> parse_share("2/8")
    (2, 8)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found and 1 <= int(found[1]) <= int(found[2]):
        return int(found[1]), int(found[2])
    message = f"`shard` must be i/n with i from 1 to n, such as 1/8 for the first of eight shares; got {text!r}."
    raise OptionError(message)


def pick(shards: Sequence[Shard], number: int, n_shares: int) -> list[Shard]:
    """Return the shards of the `number`-th of `n_shares` shares: every `n_shares`-th, so that all are of a length.

    Examples
    --------
    >>> [each.number for each in pick(plan(5000), 2, 3)]
    [1, 4]
    """
    return list(shards[number - 1 :: n_shares])
