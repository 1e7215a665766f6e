"""What all commands print alike: data on stdout, progress and notices on stderr."""

from __future__ import annotations

import json
import os
import shlex
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from transferability._printable import UNSHOWABLE, printable
from transferability.cli.table import lay_out

if TYPE_CHECKING:
    from transferability.pipeline import Progress as ProgressCallback

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_PARTIAL",
    "EXIT_USAGE",
    "MEASURED_ON",
    "Bars",
    "command_line",
    "notice",
    "print_json",
    "print_table",
    "progress_bars",
    "results_alone",
    "say",
    "short_path",
    "show_progress",
    "state",
]

MEASURED_ON = {
    "test": "on the target's test part",
    "folds": "on all rows of the target, each by a classifier fitted without it",
    "fit": "on the rows that they were fitted on",
}
EXIT_FAILED = 1
EXIT_USAGE = 2  # an option or a name that is wrong
EXIT_INTERRUPTED = 130  # what shells return for an interrupt
EXIT_PARTIAL = 3  # finished, with some encoders skipped
_AS_WIDE_AS_IT_NEEDS = 10_000


@dataclass
class _State:
    debug: bool = False
    quiet: bool = False
    results: TextIO | None = None  # where stdout is kept for results
    lost: OSError | None = None  # why results could not be printed


state = _State()


def command_line() -> str:
    """Return the command that runs, fit to be pasted into a shell."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@contextmanager
def results_alone() -> Iterator[None]:
    """Keep stdout for what this module prints there: what libraries and encoders print goes to stderr.

    Raises
    ------
    OSError
        At the end, if results could not be printed.
    """
    before, state.results, state.lost = state.results, sys.stdout, None
    try:
        with redirect_stdout(sys.stderr):
            yield
        if state.lost is not None:
            raise state.lost
    finally:
        state.results = before


def _results() -> TextIO:
    return state.results or sys.stdout


class _Console(Console):
    """A console that leaves it to `_printed` what a closed pipe means; rich ends the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@contextmanager
def _printed(stream: TextIO) -> Iterator[None]:
    """Print, and let the command go on where nobody reads: it may have files to write.

    A closed pipe is no failure, as the reader (`head`) has what it wanted. Other errors, such as a full disk, are
    raised once the command is done.
    """
    try:
        yield
        stream.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            state.lost = state.lost or error
        with suppress(OSError, ValueError):  # a stream in memory has no number
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def notice(text: str, *, whole: bool = False) -> None:
    """Print a line for people on stderr; `whole` ones, such as code, are not wrapped."""
    if not state.quiet:
        with _printed(sys.stderr):
            _Console(stderr=True, highlight=False).print(Text(printable(text)), style="dim", soft_wrap=whole)


def say(text: str) -> None:
    """Print a line on stdout, such as the path of a file that was written."""
    with _printed(_results()):
        _results().write(printable(text) + "\n")


def short_path(path: Path) -> str:
    """Return a path as seen from the working folder, where it lies below it."""
    with suppress(ValueError, OSError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def print_json(value: Any) -> None:
    """Print JSON on stdout; what a terminal would obey is escaped as JSON knows it."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    with _printed(_results()):
        _results().write(UNSHOWABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: int | Sequence[bool] = 1,
    first: int | None = None,
) -> None:
    """Print a table on stdout, the first `left` columns, or those marked, to the left.

    Outside a terminal it is as wide as it needs.

    Of more than `first` rows, only these are shown, and a notice says how many there are.
    """
    console = _Console(file=_results(), highlight=False)
    width = console.width if console.is_terminal else None
    to_left = [position < left for position in range(len(columns))] if isinstance(left, int) else left
    texts = [[printable(cell) for cell in row] for row in rows[:first]]
    blocks = lay_out([printable(column) for column in columns], texts, to_left, width)
    titles = textwrap.wrap(printable(title), width or _AS_WIDE_AS_IT_NEEDS, break_on_hyphens=False)
    with _printed(_results()):
        _print_lines(console, titles, "italic")
        for number, lines in enumerate(blocks):
            n_heads = len(lines) - len(texts)
            _print_lines(console, [""] * bool(number) + lines[:n_heads], "bold")
            _print_lines(console, lines[n_heads:], "")
    if first is not None and len(rows) > first:
        notice(f"{first} of {len(rows):,} rows; all are in what --json prints and --out writes.")


def _print_lines(console: Console, lines: Sequence[str], style: str) -> None:
    for line in lines:  # as a Text and not a str, in which rich reads markup and the names of emoji
        console.print(Text(line), style=style, soft_wrap=True)


class _Speed(ProgressColumn):
    """How many are done in a second, lately."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        digits = 1 if speed is not None and speed < 10 else 0
        return Text("" if speed is None else f"{speed:,.{digits}f}/s", style="progress.data.speed")


class Bars:
    """Bars of what is being done: the last thing alone."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self._current: dict[str, Any] = {}

    def report(self, what: str, done: int, total: int) -> None:
        """Say how much of something is done."""
        if what not in self._current:
            for old in self._current.values():
                self.bars.remove_task(old)
            self._current.clear()
            self._current[what] = self.bars.add_task(printable(what), total=total)
        self.bars.update(self._current[what], completed=done)


def progress_bars(console: Console | None = None) -> Bars:
    """Return bars with speed and time left."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    return Bars(Progress(*columns, console=console, transient=True))


@contextmanager
def show_progress() -> Iterator[ProgressCallback | None]:
    """Give a callback that draws bars on stderr while it is a terminal, or None."""
    console = Console(stderr=True)
    if state.quiet or not console.is_terminal:
        yield None
        return
    shown = progress_bars(console)
    with shown.bars:
        yield shown.report
