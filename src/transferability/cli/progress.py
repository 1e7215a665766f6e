"""Progress of a whole ranking on a terminal: which encoder of how many, time left, and the table as it fills."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from transferability._printable import printable
from transferability.cli.output import progress_bars, state
from transferability.cli.table import lay_out
from transferability.display.formats import NOTHING, percent, rate

if TYPE_CHECKING:
    from transferability.pipeline import Progress as ProgressCallback
    from transferability.pipeline.rank_encoders import Tell
    from transferability.ranking.entry import Ranked, Skipped
    from transferability.ranking.store import StoredResult
    from transferability.study.run import Results

__all__ = ["StudyWatch", "Watch", "time_left", "watch_ranking", "watch_study"]

_MOST_ROWS = 15


class Watch(NamedTuple):
    """What a ranking is told to call; both None where nobody looks."""

    progress: ProgressCallback | None
    tell: Tell | None


@contextmanager
def watch_ranking() -> Iterator[Watch]:
    """Show on stderr, while it is a terminal, how far a ranking is; nothing of it stays."""
    console = Console(stderr=True)
    if state.quiet or not console.is_terminal:
        yield Watch(None, None)
        return
    screen = _Screen()
    with Live(screen, console=console, transient=True, refresh_per_second=4):
        yield Watch(screen.bars.report, screen.tell)


class StudyWatch(NamedTuple):
    """What a study is told to call; both None where nobody looks."""

    progress: ProgressCallback | None
    watch: Callable[[Results, int], None] | None


@contextmanager
def watch_study() -> Iterator[StudyWatch]:
    """Show on stderr, while it is a terminal, how far a study is: transferred accuracy by encoder and target."""
    console = Console(stderr=True)
    if state.quiet or not console.is_terminal:
        yield StudyWatch(None, None)
        return
    screen = _StudyScreen()
    with Live(screen, console=console, transient=True, refresh_per_second=4):
        yield StudyWatch(screen.bars.report, screen.watch)


class _Screen:
    def __init__(self) -> None:
        self.bars = progress_bars()
        self._total = self._done = 0
        self._entries: list[tuple[float, float, Any]] = []  # accuracy and bound, by which they are ordered
        self._started = self._last = time.monotonic()

    def tell(self, entry: Ranked | Skipped | None, done: int, total: int) -> None:
        """Take what is known of one more encoder; of none when it begins."""
        self._done, self._total, self._last = done, total, time.monotonic()
        if entry is None:
            self._started = self._last
        elif (result := getattr(entry, "relatedness", None)) is not None:
            self._entries.append((-(result.transferred_accuracy or 0.0), result.bound, entry))

    def __rich_console__(self, console: Console, _: object) -> Iterator[Group]:
        now = time.monotonic()
        left = time_left(self._last - self._started, now - self._last, self._done, self._total)
        number = min(self._done + 1, self._total)
        head = f"encoder {number} of {self._total}" if self._total else "reading the data"
        head += f", {left}" if left else ""
        lines = self._table(console.width) if self._entries else []
        yield Group(Text(head, style="bold"), self.bars.bars, *(Text(line, no_wrap=True) for line in lines))

    def _table(self, width: int) -> list[str]:
        ordered = sorted(self._entries, key=lambda each: each[:2])[:_MOST_ROWS]
        rows = []
        for _, _, entry in ordered:
            trained = None if entry.probe is None else entry.probe.accuracy
            row = [printable(entry.encoder), percent(entry.relatedness.transferred_accuracy), percent(trained)]
            rows.append([*row, rate(entry.cost.items_per_second)])
        columns = ["encoder", "transferred accuracy", "linear probe", "items/s"]
        return lay_out(columns, rows, [True, False, False, False], width)[0]


class _StudyScreen:
    def __init__(self) -> None:
        self.bars = progress_bars()
        self._results: Results = {}
        self._total = self._n_computed = 0
        self._started = self._last = time.monotonic()

    def watch(self, results: Results, total: int) -> None:
        """Take what is known so far; the first time before anything is computed."""
        self._last = time.monotonic()
        if self._total:
            self._n_computed += 1
        else:
            self._total, self._started = total, self._last
        self._results = dict(results)

    def __rich_console__(self, console: Console, _: object) -> Iterator[Group]:
        now, done = time.monotonic(), len(self._results)
        # What was found and not computed says nothing of the time that is left.
        n_computed = self._n_computed
        left = time_left(self._last - self._started, now - self._last, n_computed, n_computed + self._total - done)
        head = f"cell {min(done + 1, self._total)} of {self._total}" if self._total else "reading the data"
        head += f", {left}" if left else ""
        lines = self._table(console.width) if self._results else []
        yield Group(Text(head, style="bold"), self.bars.bars, *(Text(line, no_wrap=True) for line in lines))

    def _table(self, width: int) -> list[str]:
        cells = {cell: _first_of(stored) for cell, stored in self._results.items()}
        encoders = list(dict.fromkeys(encoder for encoder, _ in cells))[-_MOST_ROWS:]
        targets = list(dict.fromkeys(target for _, target in cells))
        rows = [[printable(each), *(cells.get((each, target), NOTHING) for target in targets)] for each in encoders]
        columns = ["encoder", *map(printable, targets)]
        return lay_out(columns, rows, [position == 0 for position in range(len(columns))], width)[0]


def _first_of(stored: StoredResult) -> str:
    """Return the best transferred accuracy of a cell, whose layers are encoders of their own; or that it failed."""
    if stored.failed:
        return "failed"
    accuracies = [entry["relatedness"]["transferred_accuracy"] for entry in stored.result["entries"]]
    return percent(max((each for each in accuracies if each is not None), default=None))


def time_left(spent: float, since: float, done: int, total: int) -> str:
    """Say how long the other encoders may take, if they take what the first ones took; "" where nobody knows.

    Parameters
    ----------
    spent : float
        Seconds for the encoders that are done.
    since : float
        Seconds that the present one has taken.
    done, total : int

    Examples
    --------
    >>> time_left(120.0, 0.0, 2, 6), time_left(30.0, 5.0, 1, 2), time_left(0.0, 3.0, 0, 2)
    ('about 4 minutes left', 'about 20 seconds left', '')
    """
    if not 0 < done < total:
        return ""
    each = spent / done
    seconds = each * (total - done - 1) + max(each - since, 0.0)
    if seconds >= 90:
        return f"about {seconds / 60:.0f} minutes left"
    return f"about {max(10, round(seconds / 10) * 10):.0f} seconds left"
