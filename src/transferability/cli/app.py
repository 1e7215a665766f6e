"""The command `transferability`: what its commands share, and where they are put together."""

from __future__ import annotations

import io
import os
import sqlite3
import sys
from typing import Annotated

import typer

from transferability._printable import one_line
from transferability.cli.cache import cache
from transferability.cli.command import Command, Commands
from transferability.cli.demo import demo
from transferability.cli.doctor import doctor
from transferability.cli.encoders import encoders
from transferability.cli.extract import extract
from transferability.cli.output import EXIT_FAILED, EXIT_USAGE, state
from transferability.cli.pack import pack
from transferability.cli.rank import rank
from transferability.cli.relate import relate
from transferability.cli.report import report
from transferability.cli.score import score
from transferability.cli.study import study
from transferability.cli.validate import validate
from transferability.errors import TransferabilityError, is_wrong_call

__all__ = ["app", "main"]

_OF_THE_SYSTEM = (OSError, sqlite3.Error, MemoryError, UnicodeError, RecursionError)

app = typer.Typer(
    name="transferability",
    cls=Commands,
    help="Which pre-trained encoder should I fine-tune, how well will it do, and why? Answered before fine-tuning.",
    epilog="Begin with: transferability demo, or: transferability rank FOLDER",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from transferability import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress and notices.")] = False,
) -> None:
    """Options that every command understands."""
    state.debug, state.quiet = debug, quiet


for _command in (demo, rank, relate, study, score, extract, pack, report, validate, encoders, doctor):
    app.command(cls=Command)(_command)
app.add_typer(cache)


def main() -> None:
    """Run the command; a known error becomes one message on stderr and exit status 1, or 2 for a wrong option."""
    # Threads of torch and ONNX Runtime spin while they wait for each other. With two other busy processes on two cores
    # that made an encoder ten times slower; letting them sleep costs a tenth or two where the machine is idle.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no τ shows its escape
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (TransferabilityError, *_OF_THE_SYSTEM) as error:
        if state.debug:
            raise
        print(f"error: {one_line(_sentence(error))}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_USAGE if isinstance(error, TransferabilityError) and is_wrong_call(error) else EXIT_FAILED)


def _sentence(error: BaseException) -> str:
    """Return what went wrong; errors of the system have no words for users of their own."""
    if isinstance(error, TransferabilityError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"memory does not suffice ({error or 'no more could be had'}). Use fewer rows: --limit."
    if isinstance(error, RecursionError):
        return "a file that was read is nested too deeply. `--debug` shows which."
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"the system refused: {place}{error.strerror or error}. Check the place, its space and its permissions."
    if isinstance(error, UnicodeError):
        return f"a text is not in the encoding that it should be in: {error}. `--debug` shows where."
    return f"a database cannot be read or written: {error}. Check the place, its space and its permissions."
