"""`transferability rank`: which encoder suits a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferability._criteria import in_words
from transferability.cli.options import (
    GroundCost,
    JsonFlag,
    Matching,
    Sort,
    Tau,
    Unlabelled,
    parse_matching,
    parse_tau,
    solver_for,
    with_settings,
)
from transferability.cli.output import (
    EXIT_PARTIAL,
    command_line,
    notice,
    number,
    percent,
    print_json,
    print_table,
    show_progress,
)
from transferability.pipeline import Settings
from transferability.relatedness.tau import RANKING_TAU

if TYPE_CHECKING:
    from transferability.ranking.result import Ranking

__all__ = ["rank", "show_ranking", "write_ranking"]


@with_settings
def rank(
    *,
    target: Annotated[str, typer.Option(help="Data the encoder is wanted for: folder:DIR, csv:FILE, npz:FILE, …")],
    reference: Annotated[
        list[str], typer.Option(help="Labelled data, or pack:FILE, to compare with; repeat for a panel.")
    ],
    encoder: Annotated[
        list[str], typer.Option(help="timm:NAME, hf:ORG/NAME, st:NAME, torchvision:NAME, onnx:FILE, …; repeat.")
    ],
    score: Annotated[list[str] | None, typer.Option(help="Another score to show; repeat, or 'all'.")] = None,
    sort: Sort = None,
    tau: Tau = RANKING_TAU,
    ground_cost: GroundCost = None,
    matching: Matching = "assignment",
    unlabelled: Unlabelled = False,
    settings: Settings,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for all results: report.html, ranking.json, one transformation per encoder."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Rank encoders for a target by how often a classifier moved over from a reference task is right there.

    Beside it stand its loss and a certified bound on that loss, whose terms say why. Nothing is fine-tuned.

    Example: transferability rank --target folder:photos --reference packaged:mnist
    --encoder timm:resnet18.a1_in1k --encoder torchvision:resnet50
    """
    from transferability._writing import check_output
    from transferability.pipeline import rank as rank_encoders
    from transferability.relatedness.estimator import TaskRelatedness

    folder = None if out is None else check_output(out, folder=True)
    estimator = TaskRelatedness(
        parse_tau(tau),  # type: ignore[arg-type]
        ground_cost=ground_cost,  # type: ignore[arg-type]
        matching=parse_matching(matching),  # type: ignore[arg-type]
        solver=solver_for(ground_cost),  # type: ignore[arg-type]
        seed=settings.seed,
    )
    settings = replace(settings, use_labels=not unlabelled)
    with show_progress() as progress:
        ranking = rank_encoders(
            target,
            reference,
            encoder,
            relatedness=estimator,
            scores=score or (),
            criterion=sort,
            settings=settings,
            progress=progress,
        )
    ranking = replace(ranking, made=ranking.made | {"command": command_line()})
    print_json(ranking.to_dict()) if json else show_ranking(ranking)
    if folder is not None:
        write_ranking(ranking, folder)
    if ranking.skipped:
        raise typer.Exit(EXIT_PARTIAL)


def show_ranking(ranking: Ranking) -> None:
    """Print the table and what must be said with it."""
    columns = ["", "encoder", "reference", "accuracy", "transferred loss", "bound", "reference loss", "label mismatch"]
    columns += ["distribution mismatch", "τ", "parameters"]
    columns += [*(column.name for column in ranking.columns), "seconds"]
    rows = []
    for place, entry in enumerate(ranking.entries, start=1):
        result = entry.relatedness
        row = [str(place), entry.encoder, result.reference, percent(result.transferred_accuracy)]
        row += [number(result.transferred_loss), number(result.bound)]
        row += [number(result.reference_loss), number(result.label_mismatch), number(result.distribution_mismatch)]
        row += [f"{result.tau:.3g}", _millions(entry.n_parameters)]
        row += [number(entry.scores.get(column.name), 4) for column in ranking.columns]
        rows.append([*row, f"{entry.seconds:.1f}"])
    by = in_words(ranking.criterion)
    title = f"Encoders for {ranking.target}, best first by {by} (losses and bounds in nats; lower is better)"
    print_table(title, columns, rows, left=3)
    if ranking.best.relatedness.transferred_loss is not None:
        notice(
            "accuracy, transferred loss: of the reference's classifier, moved to the target by the fitted map, on the "
            "target's test part; bound: what that loss cannot exceed where it is certified."
        )
    notice(ranking.best.relatedness.certificate)
    for entry in ranking.entries:
        for name, note in entry.notes.items():
            notice(f"{entry.encoder}, {name}: {note}")
    for each in ranking.skipped:
        notice(f"skipped {each.encoder}: {each.reason}")


def write_ranking(ranking: Ranking, folder: Path) -> None:
    """Write all results, and the report, into a folder."""
    from transferability.report.files import write_records

    files = write_records(ranking.to_dict(), ranking, folder)
    for place, entry in enumerate(ranking.entries, start=1):
        entry.relatedness.transform.save(folder / f"transform-{place}.safetensors")
    notice(f"written: {', '.join(map(str, files))} and {len(ranking.entries)} transformations")
    if not any(path.suffix == ".html" for path in files):
        notice("no report.html: it needs jinja2. pip install 'transferability[report]'")


def _millions(n_parameters: int | None) -> str:
    return "–" if n_parameters is None else f"{n_parameters / 1e6:.1f} M"
