"""`transferability rank`: which encoder suits a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from transferability.cli.asking import EncodersOption, ReferencesOption, Targets, Zoo, only
from transferability.cli.confirm import check_confirmable, confirm_first, fewer_were_tuned
from transferability.cli.interrupts import keep_what_is_done, keep_without_confirmation, write_what_is_done
from transferability.cli.options import (
    GroundCost,
    JsonFlag,
    Matching,
    NoPacks,
    NoScale,
    Sort,
    Tau,
    Union,
    Unlabelled,
    Wide,
    parse_matching,
    parse_tau,
    solver_for,
    with_settings,
)
from transferability.cli.output import EXIT_INTERRUPTED, EXIT_PARTIAL, command_line, notice, print_json
from transferability.cli.plots import check_plots, write_ranking_plots
from transferability.cli.progress import watch_ranking
from transferability.cli.show import CsvFile, PlotsFolder, show_next, show_ranking, write_csv, write_ranking
from transferability.display.race import race_table
from transferability.relatedness.classifier.tau import DEFAULT_TAU
from transferability.settings import Settings

if TYPE_CHECKING:
    from transferability.ranking.expected import KnownAccuracy
    from transferability.ranking.result import Ranking

__all__ = ["rank"]


@with_settings()
def rank(
    *,
    data: Targets = None,
    target: Annotated[str | None, typer.Option("--target", "-t", help="Target data, in place of the argument.")] = None,
    reference: ReferencesOption = None,
    encoder: EncodersOption = None,
    zoo: Zoo = None,
    score: Annotated[list[str] | None, typer.Option(help="Further score to show; repeat, or all.")] = None,
    sort: Sort = None,
    tau: Tau = str(DEFAULT_TAU),
    ground_cost: GroundCost = None,
    matching: Matching = "assignment",
    no_scale: NoScale = False,
    union: Union = False,
    no_packs: NoPacks = False,
    unlabelled: Unlabelled = False,
    settings: Settings,
    race: Annotated[
        bool | None,
        typer.Option(
            "--race/--no-race",
            help="Judge encoders on growing samples of the target, and drop those that are surely not the first (not "
            "among the first K with --confirm K). By default with more than 8 encoders; --no-race ranks all.",
            show_default=False,
        ),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            help="Fine-tune the first so many that can be, briefly, and rest the answer on their accuracy; 3 is usual.",
            min=1,
        ),
    ] = None,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to compute: this process, or the actors of a Ray cluster.")
    ] = "local",
    known: Annotated[
        Path | None,
        typer.Option(
            help="What `validate --json` printed: fine-tuned accuracies that expected ones (--wide) rest on. By "
            "default those published with this package, of pictures."
        ),
    ] = None,
    wide: Wide = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for all results: report.html, ranking.json and one transformation per encoder."),
    ] = None,
    csv: CsvFile = None,
    plots: PlotsFolder = None,
    json: JsonFlag = False,
) -> None:
    """Rank encoders for a target by transferred accuracy: the accuracy of a reference's classifier on the target.

    The table also shows the transferred loss, a bound on it, and an interval for new data. Nothing is fine-tuned
    without --confirm.

    Example: transferability rank photos

    Example: transferability rank reviews.csv#text=review,label=stars -e st:all-MiniLM-L6-v2 -e hf:roberta-base
    """
    from transferability._writing import check_output
    from transferability.pipeline import choose_encoders, load_part, unlabelled_notes
    from transferability.pipeline import rank as rank_encoders
    from transferability.pipeline.race import race_by_default
    from transferability.pipeline.refusals import check_without_reference
    from transferability.ranking.expectations import too_few_notes
    from transferability.relatedness.estimator import TaskRelatedness

    wanted = only(data, target)
    folder = None if out is None else check_output(out, folder=True)
    csv = None if csv is None else check_output(csv, argument="csv")
    drawings = check_plots(plots)
    estimator = TaskRelatedness(
        parse_tau(tau),  # type: ignore[arg-type]
        ground_cost=ground_cost,  # type: ignore[arg-type]
        matching=parse_matching(matching),  # type: ignore[arg-type]
        solver=solver_for(ground_cost, reference),  # type: ignore[arg-type]
        scale=not no_scale,
        union=union,
        seed=settings.seed,
    )
    settings = replace(settings, use_labels=not unlabelled)
    pairs = None if known is None else _known_pairs(known)
    part = load_part(wanted, settings)
    if not reference:
        check_without_reference(estimator, settings, [] if confirm is not None else [part])  # it tunes on one split
    if confirm is not None:
        check_confirmable(part, settings)
    choice = choose_encoders(encoder, zoo, part)
    unlabelled_target = unlabelled_notes(part, settings) if reference else ()
    for text in (*choice.notes, *unlabelled_target, *too_few_notes(pairs, part.name)):
        notice(text)
    by_default = race is None and race_by_default(part, choice.encoders, sort, settings)
    with watch_ranking() as watch, keep_what_is_done() as kept:
        kept.ranking = rank_encoders(
            part,
            reference,
            choice,
            relatedness=estimator,
            scores=score or (),
            criterion=sort,
            packs=not no_packs,
            settings=settings,
            race=(confirm or 1) if race or by_default else None,
            executor=executor,
            progress=watch.progress,
            tell=watch.tell,
        )
    ranking = replace(kept.ranking, known=pairs, provenance=_made(kept.ranking, wanted, raced_by_default=by_default))
    if confirm is not None and not kept.interrupted:
        with keep_without_confirmation(kept):
            confirmed = confirm_first(ranking.to_dict(), choice.encoders, confirm, part, settings, executor, folder)
            ranking = replace(ranking, confirmation=confirmed)
    print_json(ranking.to_dict()) if json else show_ranking(ranking, wide=wide)
    _write(ranking, folder, csv, drawings, interrupted=kept.interrupted, cached=settings.cache)
    if not json:
        show_next(ranking)
    if code := _exit_code(ranking, confirm, interrupted=kept.interrupted):
        raise typer.Exit(code)


def _exit_code(ranking: Ranking, confirm: int | None, *, interrupted: bool) -> int:
    """Return the code that says whether all was done."""
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_PARTIAL if ranking.skipped or fewer_were_tuned(ranking.confirmation, confirm) else 0


def _known_pairs(path: Path) -> tuple[KnownAccuracy, ...]:
    """Return the pairs of a file; what nothing can be expected from is refused now, and not when all is computed."""
    from transferability.ranking.expected import KnownAccuracy, expected_accuracies
    from transferability.report.records import read_known

    pairs = tuple(KnownAccuracy(*each) for each in read_known(path))
    expected_accuracies([], pairs)
    return pairs


def _made(ranking: Ranking, target: str, *, raced_by_default: bool) -> dict[str, Any]:
    """Return how a ranking was made, with the command."""
    made = ranking.provenance | {"command": command_line(), "target": target}
    return made | ({"race": made["race"] | {"by_default": True}} if raced_by_default else {})


def _write(
    ranking: Ranking, folder: Path | None, csv: Path | None, drawings: Path | None, *, interrupted: bool, cached: bool
) -> None:
    """Write the files that were asked for."""
    if interrupted:
        write_what_is_done(ranking, folder, others=csv is not None or drawings is not None, cached=cached)
        return
    if folder is not None:
        write_ranking(ranking, folder)
    if csv is not None:
        write_csv([*ranking.frame(), *race_table(ranking.provenance.get("race"))], csv)
    if drawings is not None:
        write_ranking_plots([ranking], drawings)
