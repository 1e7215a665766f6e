"""What all commands print alike: data on stdout, progress and notices on stderr."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from transferability.pipeline import Progress as ProgressCallback

__all__ = [
    "EXIT_FAILED",
    "EXIT_PARTIAL",
    "command_line",
    "notice",
    "number",
    "percent",
    "print_json",
    "print_table",
    "show_progress",
    "state",
]

EXIT_FAILED = 1
EXIT_PARTIAL = 3  # finished, with some encoders skipped
_AS_WIDE_AS_IT_NEEDS = 10_000


@dataclass
class _State:
    debug: bool = False
    quiet: bool = False


state = _State()


def command_line() -> str:
    """Return the command that runs, fit to be pasted into a shell."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def notice(text: str) -> None:
    """Print a line for people on stderr."""
    if not state.quiet:
        Console(stderr=True, highlight=False).print(escape(text), style="dim")


def print_json(value: Any) -> None:
    """Print JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table on stdout, the first `left` columns to the left. Outside a terminal it is as wide as it needs."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_AS_WIDE_AS_IT_NEEDS)
    table = Table(title=escape(title), title_justify="left", header_style="bold", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number for a table; a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Format a share for a table."""
    return "–" if value is None else f"{100 * value:.1f} %"


class _Speed(ProgressColumn):
    """How many are done in a second, lately."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        digits = 1 if speed is not None and speed < 10 else 0
        return Text("" if speed is None else f"{speed:,.{digits}f}/s", style="progress.data.speed")


@contextmanager
def show_progress() -> Iterator[ProgressCallback | None]:
    """Give a callback that draws bars on stderr while it is a terminal, or None."""
    console = Console(stderr=True)
    if state.quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        current: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in current:
                for old in current.values():
                    bars.remove_task(old)
                current.clear()
                current[what] = bars.add_task(escape(what), total=total)
            bars.update(current[what], completed=done)

        yield report
