"""`transferability validate`: how well transferred accuracy, bound and scores agree with trained accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferability.cli.asking import EncodersOption, Targets, Zoo, only, several
from transferability.cli.confirm import ExecutorOption, confirm_file, fewer_were_tuned, show_confirmation
from transferability.cli.options import JsonFlag, with_settings
from transferability.cli.output import (
    EXIT_PARTIAL,
    notice,
    print_json,
    print_table,
    show_progress,
)
from transferability.cli.show import CsvFile, write_csv
from transferability.display.formats import number, percent
from transferability.settings import Settings

if TYPE_CHECKING:
    from transferability.agreement import Estimate
    from transferability.validation.result import Validation

__all__ = ["validate"]

_OPTIONS = ("limit", "test_share", "seed", "batch_size", "device", "cache", "trust_remote_code")


@with_settings(only=_OPTIONS)
def validate(
    *,
    data: Targets = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Labelled data to train on, beside the arguments; repeat for several."),
    ] = None,
    encoder: EncodersOption = None,
    zoo: Zoo = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "--reference",
            "-r",
            help="Reference: labelled data; repeat. By default the other targets; of one target its own other half.",
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="Training: finetune (end to end: torch and most ONNX) or probe (frozen features).")
    ] = "finetune",
    seeds: Annotated[int, typer.Option(help="Training runs per encoder and target.", min=1)] = 3,
    score: Annotated[
        list[str] | None, typer.Option(help="Score to compare with accuracy; repeat. By default all.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Maximum passes over the training part.", min=1)] = 20,
    augment: Annotated[
        bool, typer.Option("--augment", help="Shift and zoom training pictures by up to a tenth.")
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            help="Fine-tune the first so many encoders of a ranking, briefly; the argument is then the folder of "
            "`rank --out` or its ranking.json.",
            min=1,
        ),
    ] = None,
    executor: ExecutorOption = "local",
    settings: Settings,
    results: Annotated[
        Path | None, typer.Option(help="SQLite file of results, added to; finished runs in it are not repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The name of --results before version 0.2.", hidden=True)] = None,
    csv: CsvFile = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for scatter plots, one per score.")] = None,
    json: JsonFlag = False,
) -> None:
    """Train encoders on targets, and measure how well transferred accuracy, bound and scores predict the accuracies.

    Learning rate, beginning of the head, mode of batch normalisation and number of epochs are chosen on a fifth of the
    training rows; accuracies are of the test share. With --results an interrupted run continues. With --top, the first
    encoders of a finished ranking are fine-tuned in rounds, and ranking.json and the report say what came out.

    Example: transferability validate photos sketches --method probe -e timm:resnet18.a1_in1k -e torchvision:resnet50
    -e timm:resnet18@random --results study.sqlite

    Example: transferability validate --top 3 results
    """
    from transferability._validate import check_choice
    from transferability._writing import check_output
    from transferability.errors import require_extra
    from transferability.pipeline import choose_encoders, load_part
    from transferability.ranking.store import ResultStore
    from transferability.validation.settings import FineTuning
    from transferability.validation.validate import validate as validate_encoders

    check_choice(method, ("finetune", "probe"), "method")
    if out is not None:
        notice("`--out` of validate is now `--results`; the old name goes in version 0.4.")
        results = results or out
    csv = None if csv is None else check_output(csv, argument="csv")
    folder = None
    if plots is not None:
        folder = check_output(plots, folder=True, argument="plots")
        require_extra("matplotlib", "plot", "`--plots`")
    if top is not None:
        ranking = Path(only(data, None, "ranking"))
        chosen = only(target, None) if target else None
        found_first, ranked = confirm_file(ranking, top, chosen, encoder or (), settings, executor)
        print_json({"schema": 1} | found_first.to_dict()) if json else show_confirmation(found_first, ranked)
        if csv is not None:
            write_csv(found_first.frame(), csv)
        if fewer_were_tuned(found_first, top):
            raise typer.Exit(EXIT_PARTIAL)
        return
    targets = several(data, target)
    choice = choose_encoders(encoder, zoo, load_part(targets[0], settings), trainable=method == "finetune")
    for text in choice.notes:
        notice(text)
    if not reference and len(targets) == 1:
        notice("reference: the target's own other half, of its training rows; choose another with --reference.")
    with show_progress() as progress:
        found = validate_encoders(
            choice.encoders,
            targets,
            reference or (),
            method=method,  # type: ignore[arg-type]
            seeds=range(settings.seed, settings.seed + seeds),
            scores=score or ("all",),
            settings=settings,
            tuning=FineTuning(epochs=epochs, augmentation=augment),
            store=None if results is None else ResultStore(results),
            progress=progress,
        )
    print_json(found.to_dict()) if json else _show(found)
    if csv is not None:
        write_csv(found.frame(), csv)
    if folder is not None:
        _write_plots(found, folder)
    if found.skipped:
        raise typer.Exit(EXIT_PARTIAL)


def _show(found: Validation) -> None:
    """Print accuracies, then agreement."""
    what = "fine-tuning" if found.method == "finetune" else "linear probing"
    shown = [column.name for column in found.columns if any(column.name in each.values for each in found.observations)]
    tuned = any(each.probe_accuracies for each in found.observations)
    rows = [
        [
            *(each.target, each.encoder, percent(each.accuracy), *([percent(each.probe_accuracy)] if tuned else ())),
            *(number(each.values.get(name), 4) for name in shown),
        ]
        for each in sorted(found.observations, key=lambda each: (found.targets.index(each.target), -each.accuracy))
    ]
    print_table(
        f"Accuracy after {what}, and the predictions made before",
        ["target", "encoder", "accuracy", *(["linear probe, test rows"] if tuned else ()), *shown],
        rows,
        2,
    )
    for observed in found.observations:
        for note in observed.notes:
            notice(f"{observed.encoder} on {observed.target}, {note}")
    if not found.means:
        notice("agreement needs three encoders or more that differ; there are fewer.")
    else:
        rows = [
            [each.criterion, _interval(each.pearson), _interval(each.kendall), _interval(each.regret, 100, ".1f")]
            for each in found.means
        ]
        unsure = [each.criterion for each in found.means if each.kendall.low is None]
        title = "Agreement, mean over targets; +1 is perfect whatever the direction"
        title += " [95 % of resampled encoders]" if len(unsure) < len(rows) else ""
        print_table(title, ["score", "Pearson", "Kendall", "top-1 regret, points"], rows)
        if unsure:
            of_these = "" if len(unsure) == len(rows) else f" of {', '.join(unsure)}"
            notice(f"no interval{of_these}: five encoders or more are needed on each target.")
        notice("size, the number of parameters, is the baseline that a score must beat.")
    for each in found.skipped:
        notice(f"skipped {each.encoder}: {each.reason}")


def _interval(each: Estimate, factor: int = 1, digits: str = "+.2f") -> str:
    value = format(factor * each.value, digits)
    if each.low is None or each.high is None:
        return value
    return f"{value} [{factor * each.low:{digits}}, {factor * each.high:{digits}}]"


def _write_plots(found: Validation, folder: Path) -> None:
    from transferability._writing import output_errors, temporary_sibling

    drawn = [column.name for column in found.columns if any(column.name in each.values for each in found.observations)]
    for name in drawn:
        figure = found.plot(name).get_figure(root=True)
        if figure is not None:
            path = folder / f"{name}.png"
            with temporary_sibling(path) as temporary, output_errors(path):
                figure.savefig(temporary, dpi=120)
    notice(f"{len(drawn)} scatter plots in {folder}")
