"""`transferability study`: many encoders, several targets, from one file and into one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from transferability.cli.options import JsonFlag, Sort, with_settings
from transferability.cli.output import (
    EXIT_FAILED,
    EXIT_PARTIAL,
    notice,
    print_json,
    print_table,
    short_path,
)
from transferability.cli.plots import check_plots, write_ranking_plots
from transferability.cli.progress import watch_study
from transferability.cli.show import CsvFile, PlotsFolder, show_ranking, write_csv
from transferability.display.columns import title_of
from transferability.display.formats import NOTHING, amount
from transferability.settings import Settings

if TYPE_CHECKING:
    from transferability.ranking.result import Ranking
    from transferability.study import Cell

__all__ = ["study"]


@with_settings(only=["trust_remote_code"])
def study(
    *,
    file: Annotated[
        Path, typer.Argument(help="Study file (TOML): encoders or zoo, targets; references, scores and settings.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List finished and pending pairs with estimated seconds; compute nothing.")
    ] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Recompute finished pairs too.")] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Compute share i of n (i/n) of the encoders into a file of results of its own, for several machines. "
            "The same command without --shard then shows all."
        ),
    ] = None,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to compute: this process, or the actors of a Ray cluster.")
    ] = "local",
    sort: Sort = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report, with one subfolder per target.")] = None,
    settings: Settings,
    csv: CsvFile = None,
    plots: PlotsFolder = None,
    json: JsonFlag = False,
) -> None:
    """Rank many encoders for several targets, and compute each pair once.

    Results are written to one SQLite file as they finish. After an interruption the same command continues; after a
    change of the study file it computes only what is new.

    Example: transferability study study.toml --out report, where study.toml holds
    encoders = ["timm:resnet18.a1_in1k", "timm:vit_small_patch16_224.augreg_in21k"];
    targets = ["photos", "sketches"]; references = ["packaged:mnist"] (by default each target's own other half);
    scores = ["logme"]
    """
    from transferability._writing import check_output
    from transferability.study import load_study, plan_study, rankings_of, run_study

    wanted = load_study(file)
    wanted = replace(wanted, settings=replace(wanted.settings, trust_remote_code=settings.trust_remote_code))
    for text in wanted.notes:
        notice(text)
    folder = None if out is None else check_output(out, folder=True)
    csv = None if csv is None else check_output(csv, argument="csv")
    drawings = check_plots(plots)
    if dry_run:
        _show_plan(plan_study(wanted, shard), json=json)
        return
    with watch_study() as watch:
        results = run_study(
            wanted, refresh=refresh, progress=watch.progress, watch=watch.watch, share=shard, executor=executor
        )
    rankings = rankings_of(wanted, results, sort)
    failures = {cell: each.result["reason"] for cell, each in results.items() if each.failed}
    if json:
        print_json({"schema": 1, "results": str(wanted.results), "rankings": [each.to_dict() for each in rankings]})
    else:
        if len(rankings) > 1:
            _show_overview(rankings)
        for ranking in rankings:
            show_ranking(ranking)
    if folder is not None and rankings:
        _write(rankings, folder)
    if shard:
        notice("the same command without --shard shows the whole study")
    if csv is not None:
        write_csv([{"target": each.target} | row for each in rankings for row in each.frame()], csv)
    if drawings is not None:
        write_ranking_plots(rankings, drawings)
    if failures:
        notice(f"{len(failures)} of {len(results)} failed; they are tried again next time.")
    if not rankings and (failures or not shard):
        for (encoder, target), reason in failures.items():
            notice(f"{encoder} on {target}: {reason}")
        raise typer.Exit(EXIT_FAILED)
    if failures:
        raise typer.Exit(EXIT_PARTIAL)


def _show_overview(rankings: list[Ranking]) -> None:
    """Print the best encoder of each target, and every encoder on every target."""
    from transferability.report.summarize import summarize

    overview = summarize(rankings)["overview"]
    rows = [[each.target, each.best.encoder, _amount(each.quantity, each.best.encoder, each)] for each in rankings]
    print_table("The best encoder of each target", ["target", "encoder", "value"], rows, left=2)
    rows = [
        [row["name"], *(_amount(each.quantity, row["name"], each) for each in rankings)] for row in overview["rows"]
    ]
    by = ", ".join(dict.fromkeys(title_of(each) for each in overview["quantities"]))
    print_table(f"Every encoder on every target: {by}", ["encoder", *overview["columns"]], rows)


def _amount(quantity: str, encoder: str, ranking: Ranking) -> str:
    found = [entry.relatedness for entry in ranking if entry.encoder == encoder]
    return amount(quantity, getattr(found[0], quantity), unit=False) if found else NOTHING


def _show_plan(cells: list[Cell], *, json: bool) -> None:
    to_do = [cell for cell in cells if not cell.done]
    known = [cell.seconds for cell in to_do if cell.seconds is not None]
    if json:
        listed = [
            {"encoder": each.encoder, "target": each.target, "done": each.done, "seconds": each.seconds}
            for each in cells
        ]
        print_json({"schema": 1, "cells": listed, "to_do": len(to_do), "estimated_seconds": sum(known)})
        return
    rows = [
        [
            cell.encoder,
            cell.target,
            "done" if cell.done else "to do",
            "?" if cell.seconds is None else f"{cell.seconds:.1f}",
        ]
        for cell in cells
    ]
    print_table("What the study holds", ["encoder", "target", "", "seconds"], rows, left=3)
    unknown = len(to_do) - len(known)
    more = f", and {unknown} of unknown length" if unknown else ""
    notice(f"{len(to_do)} of {len(cells)} to do: about {sum(known):,.0f} s{more}")
    notice(
        "seconds: by the items per second that were measured here before, else what it took, else as tried on a few "
        "items; what the cache holds is not subtracted."
    )


def _write(rankings: list[Ranking], folder: Path) -> None:
    from transferability._identifiers import file_name
    from transferability.errors import MissingExtraError
    from transferability.report.files import read_study, write_records, write_report
    from transferability.report.folder import remove_old_parts, remove_stale, write_readme
    from transferability.report.summarize import summarize_records

    names = [f"{number:02d}-{file_name(ranking.target)}" for number, ranking in enumerate(rankings, start=1)]
    for name, ranking in zip(names, rankings, strict=True):
        write_records(ranking.to_dict(), ranking, folder / name)
    remove_old_parts(folder, names)
    remove_stale(folder)
    try:
        for path in write_report(summarize_records(read_study(folder)), folder):
            notice(f"written: {short_path(path)}")
    except MissingExtraError:
        notice("no report.html: it needs jinja2. pip install 'transferability[report]'")
    write_readme(folder)
