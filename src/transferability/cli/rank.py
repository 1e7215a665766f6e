"""`transferability rank`: which encoder suits a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from transferability._criteria import TRANSFERRED_ACCURACY
from transferability.cli.asking import EncodersOption, ReferencesOption, Targets, Zoo, only
from transferability.cli.options import (
    GroundCost,
    JsonFlag,
    Matching,
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
from transferability.cli.output import (
    EXIT_PARTIAL,
    MEASURED_ON,
    command_line,
    notice,
    print_json,
    print_table,
    short_path,
    show_progress,
)
from transferability.display.columns import shown_columns, title_of
from transferability.display.formats import number, percent
from transferability.relatedness.tau import DEFAULT_TAU

if TYPE_CHECKING:
    from transferability.pipeline import Settings
    from transferability.ranking.result import Ranking

__all__ = ["caveats", "rank", "show_ranking", "write_ranking"]


@with_settings
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
    unlabelled: Unlabelled = False,
    settings: Settings,
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="Judge encoders on growing samples of the target, and drop those that are surely not the first.",
        ),
    ] = False,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to compute: this process, or the actors of a Ray cluster.")
    ] = "local",
    wide: Wide = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for all results: report.html, ranking.json and one transformation per encoder."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Rank encoders for a target by transferred accuracy: the accuracy of a reference's classifier on the target.

    The table also shows the transferred loss, a bound on it, and an interval for new data. Nothing is fine-tuned.

    Example: transferability rank photos

    Example: transferability rank reviews.csv#text=review,label=stars -e st:all-MiniLM-L6-v2 -e hf:roberta-base
    """
    from transferability._writing import check_output
    from transferability.pipeline import choose_encoders, load_part
    from transferability.pipeline import rank as rank_encoders
    from transferability.relatedness.estimator import TaskRelatedness

    wanted = only(data, target)
    folder = None if out is None else check_output(out, folder=True)
    estimator = TaskRelatedness(
        parse_tau(tau),  # type: ignore[arg-type]
        ground_cost=ground_cost,  # type: ignore[arg-type]
        matching=parse_matching(matching),  # type: ignore[arg-type]
        solver=solver_for(ground_cost),  # type: ignore[arg-type]
        scale=not no_scale,
        union=union,
        seed=settings.seed,
    )
    settings = replace(settings, use_labels=not unlabelled)
    part = load_part(wanted, settings)
    choice = choose_encoders(encoder, zoo, part)
    for text in choice.notes:
        notice(text)
    with show_progress() as progress:
        ranking = rank_encoders(
            part,
            reference,
            choice,
            relatedness=estimator,
            scores=score or (),
            criterion=sort,
            settings=settings,
            race=1 if race else None,
            executor=executor,
            progress=progress,
        )
    ranking = replace(ranking, made=ranking.made | {"command": command_line()})
    print_json(ranking.to_dict()) if json else show_ranking(ranking, wide=wide)
    if folder is not None:
        write_ranking(ranking, folder)
    if ranking.skipped:
        raise typer.Exit(EXIT_PARTIAL)


def show_ranking(ranking: Ranking, *, wide: bool = False) -> None:
    """Print the table, and the caveats."""
    record = ranking.to_dict()
    columns = shown_columns(record["ranking"], record["columns"], ranking.criterion, wide=wide)
    rows = [[column.show(entry) for column in columns] for entry in record["ranking"]]
    best = ranking.best.relatedness
    by = title_of(ranking.criterion)
    title = (
        f"Encoders for {ranking.target}, best first by {by} (largest class {percent(best.chance)}; losses and bounds "
        f"in nats, guessing costs {best.log_n_classes:.3f})"
    )
    print_table(title, [column.title for column in columns], rows, [column.is_text for column in columns])
    for text in caveats(ranking):
        notice(text)


_SHOWN = 10  # encoders of a race that are named


def caveats(ranking: Ranking) -> list[str]:
    """Return what must be known to read the table."""
    best = ranking.best.relatedness
    texts = []
    if best.transferred_loss is not None:
        texts.append(
            "accuracy, transferred loss: of the reference's classifier, transferred to the target by the fitted map, "
            f"{MEASURED_ON[best.evaluated_on]}; bound: an upper bound on that loss on these rows, where certified."
        )
    texts += [f"{data['name']}: {note}" for data in ranking.made.get("data", ()) for note in data.get("notes", ())]
    texts.append(best.certificate)
    for entry in ranking.entries:
        result = entry.relatedness
        accuracy = result.transferred_accuracy
        if accuracy is not None and accuracy < result.chance:
            texts.append(f"{entry.encoder}: below chance, {percent(accuracy)} against {percent(result.chance)}.")
        texts += [f"{entry.encoder}, {name}: {note}" for name, note in entry.notes.items()]
    texts += _race(ranking.made.get("race"))
    return texts + [f"skipped {each.encoder}: {each.reason}" for each in ranking.skipped]


def _race(race: dict[str, Any] | None) -> list[str]:
    """Return who left a race when, and why."""
    if race is None:
        return []
    share = percent(race["items"] / race["items_of_all"])
    texts = [f"race: {len(race['dropped'])} left before all rows were encoded; {share} of all items were encoded."]
    shown = number if race["quantity"] != TRANSFERRED_ACCURACY else percent
    texts += [
        f"left after {each['n_rows']:,} rows: {each['encoder']}, {title_of(race['quantity'])} "
        f"{shown(each['value'])} against {shown(each['rival_value'])} of {each['rival']}; "
        f"p = {each['p_value']:.1g} that it is the first."
        for each in race["dropped"][:_SHOWN]
    ]
    more = len(race["dropped"]) - _SHOWN
    return texts + ([f"{more} more left; --json names all."] if more > 0 else [])


def write_ranking(ranking: Ranking, folder: Path) -> None:
    """Write all results, and the report, into a folder."""
    from transferability.relatedness.result import Relatedness
    from transferability.report.files import write_records

    files = write_records(ranking.to_dict(), ranking, folder)
    for place, entry in enumerate(ranking.entries, start=1):
        if isinstance(entry.relatedness, Relatedness):
            entry.relatedness.transform.save(folder / f"transform-{place}.safetensors")
    notice(f"written: {', '.join(map(short_path, files))} and {len(ranking.entries)} transformations")
    if not any(path.suffix == ".html" for path in files):
        notice("no report.html: it needs jinja2. pip install 'transferability[report]'")
