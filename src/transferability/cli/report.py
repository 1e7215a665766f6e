"""`transferability report`: the report of results that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferability.cli.options import JsonFlag
from transferability.cli.output import print_json, say

__all__ = ["report"]


def report(
    folder: Annotated[
        Path, typer.Argument(help="Written by `rank --out` or `relate --out`; or a folder of such, one per target.")
    ],
    measured: Annotated[
        Path | None,
        typer.Option(
            help="Accuracies (0 to 1) after fine-tuning: a CSV of encoder, accuracy, or the JSON of `validate`."
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write report.html and report.md of a folder of results, without computing them again.

    The page is one file that needs nothing beside itself: open it, send it, print it.

    Example: transferability report results
    """
    from transferability._writing import check_output
    from transferability.report.files import read_measured, read_study, write_report
    from transferability.report.summarize import summarize_records

    check_output(folder, folder=True, argument="folder")
    summary = summarize_records(read_study(folder), None if measured is None else read_measured(measured))
    if json:
        print_json(summary)
    for path in write_report(summary, folder):
        if not json:
            say(str(path))
