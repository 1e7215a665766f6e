"""`transferability report`: the report of existing results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferability.cli.options import JsonFlag
from transferability.cli.output import notice, print_json, say

__all__ = ["report"]


def report(
    folder: Annotated[
        Path, typer.Argument(help="Folder written by `rank --out` or `relate --out`, or a folder of such folders.")
    ],
    measured: Annotated[
        Path | None,
        typer.Option(help="Fine-tuned accuracies (0 to 1): a CSV of encoder, accuracy, or the JSON of `validate`."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write report.html and report.md from a folder of results, without recomputing them.

    report.html is one self-contained file.

    Example: transferability report results
    """
    from transferability._writing import check_output
    from transferability.report.files import read_study, write_report
    from transferability.report.records import read_measured, without_match
    from transferability.report.summarize import summarize_records

    check_output(folder, folder=True, argument="folder")
    records = read_study(folder)
    accuracies = None if measured is None else read_measured(measured)
    if measured is not None and accuracies is not None:
        rankings = [record for record, _ in records if "ranking" in record]
        for text in without_match(accuracies, rankings, measured):
            notice(f"{measured}: {text}")
    summary = summarize_records(records, accuracies)
    if json:
        print_json(summary)
    for path in write_report(summary, folder):
        if not json:
            say(str(path))
