"""How many items a GPU gets at once: as many as make it faster, found while it computes."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BatchSize"]

_BATCHES = 3  # at one size, before the next is tried; the first of them may compile kernels
_GAIN = 1.05  # rows per second, for a size to be worth its memory
_MOST = 4096


@dataclass
class BatchSize:
    """Doubles while rows per second rise and memory suffices, and then stays.

    Parameters
    ----------
    current : int
        Rows of the next batch.
    grows : bool
        Whether it may change at all: on a GPU, where nobody has said a size.
    """

    current: int
    grows: bool
    _seconds: list[float] = field(default_factory=list)  # of a row, of each batch at this size
    _before: float = 0.0  # rows per second at half the size

    def saw(self, n_rows: int, seconds: float, fits: int | None) -> None:
        """Learn from a batch: how long it took, and how many rows fit into memory if it was halved."""
        if not self.grows:
            return
        if fits is not None and fits < self.current:
            self.current, self.grows = fits, False
            return
        if n_rows != self.current or seconds <= 0:  # the last rows of a shard, or one that was asked for before
            return
        self._seconds.append(seconds / n_rows)
        if len(self._seconds) < _BATCHES:
            return
        rate = 1 / min(self._seconds)
        if self._before and rate < _GAIN * self._before:
            self.current, self.grows = self.current // 2, False
        elif self.current >= _MOST:
            self.grows = False
        else:
            self.current, self._before, self._seconds = 2 * self.current, rate, []
