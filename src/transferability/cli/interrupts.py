"""What an interrupt (Ctrl-C) leaves, and what is said of it: partial results never replace finished ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferability.cli.output import notice, short_path
from transferability.cli.show import write_ranking

if TYPE_CHECKING:
    from transferability.ranking.result import Ranking

__all__ = ["Kept", "keep_what_is_done", "keep_without_confirmation", "say_what_is_kept", "write_what_is_done"]


_EXTRACTING = ("demo", "extract", "pack", "rank", "relate", "validate")
"""Commands whose work is kept in the cache of features."""


def say_what_is_kept(command: str, options: Mapping[str, Any]) -> None:
    """Say what an interrupted command has kept, where it has not said so itself."""
    if command == "study" and not options.get("dry_run"):
        notice("interrupted: finished pairs are in the file of results, and the same command continues.")
    elif command == "validate" and (options.get("results") or options.get("top")):
        notice("interrupted: finished runs are kept, and the same command continues.")
    elif command in _EXTRACTING and not options.get("no_cache"):
        notice("interrupted: extracted features are in the cache, and the same command continues from there.")
    else:
        notice("interrupted")


@dataclass
class Kept:
    """A ranking, whole or of the encoders that were done when the user interrupted it."""

    ranking: Any = None
    interrupted: bool = False


@contextmanager
def keep_what_is_done() -> Iterator[Kept]:
    """Take the ranking of the encoders that are done out of an interrupt, and say so."""
    from transferability.pipeline.rank_encoders import RankingInterrupted

    kept = Kept()
    try:
        yield kept
    except RankingInterrupted as stopped:
        kept.ranking, kept.interrupted = stopped.ranking, True
        notice(f"interrupted: this is the ranking of the first {stopped.done} of {stopped.total} encoders.")


@contextmanager
def keep_without_confirmation(kept: Kept) -> Iterator[None]:
    """Keep a ranking, which may have taken hours, where the user interrupts the fine-tuning of its first encoders."""
    try:
        yield
    except KeyboardInterrupt:
        kept.interrupted = True
        notice(
            "interrupted while fine-tuning: this is the whole ranking, without accuracies after fine-tuning. The same "
            "command continues."
        )


def write_what_is_done(ranking: Ranking, folder: Path | None, *, others: bool, cached: bool) -> None:
    """Write an interrupted ranking, unless the folder has results that are whole.

    Tables and plots cannot say that they are not whole, and are not written.
    """
    from transferability.report.folder import holds_finished_results

    if folder is not None and holds_finished_results(folder):
        where = "is in the cache, and the same command continues" if cached else "is not kept"
        notice(f"{short_path(folder)} stays as it was: it holds results of a finished run. What was done now {where}.")
    elif folder is not None:
        write_ranking(ranking, folder)
    if others:
        notice("--csv and --plots are not written after an interrupt.")
