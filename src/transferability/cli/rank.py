"""`transferability rank`: which encoder suits a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferability._criteria import TRANSFERRED_ACCURACY, in_words
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
    number,
    percent,
    print_json,
    print_table,
    short_path,
    show_progress,
)
from transferability.pipeline import Settings
from transferability.relatedness.tau import DEFAULT_TAU

if TYPE_CHECKING:
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
    from transferability.pipeline import choose_encoders, load_part, unlabelled_notes
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
    for text in (*choice.notes, *unlabelled_notes(part, settings)):
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
    columns = ["", "encoder", "reference", "accuracy", "95 % interval", "linear probe", "transferred loss", "bound"]
    columns += [*_TERMS, *_POINTS, "τ", "scale"] if wide else []
    columns += ["parameters", *(column.name for column in ranking.columns), "seconds"]
    rows = []
    for place, (entry, interval) in enumerate(zip(ranking.entries, ranking.standings, strict=True), start=1):
        result = entry.relatedness
        row = [str(place), entry.encoder, result.reference, percent(result.transferred_accuracy)]
        trained = None if entry.probe is None else entry.probe.accuracy
        row += [
            _interval(ranking.criterion, interval),
            percent(trained),
            number(result.transferred_loss),
            number(result.bound),
        ]
        row += _explanation(result) if wide else []
        row += [_millions(entry.n_parameters)]
        row += [number(entry.scores.get(column.name), 4) for column in ranking.columns]
        rows.append([*row, f"{entry.seconds:.1f}"])
    best = ranking.best.relatedness
    by = in_words(ranking.criterion)
    title = (
        f"Encoders for {ranking.target}, best first by {by} (largest class {percent(best.chance)}; losses and bounds "
        f"in nats, guessing costs {best.log_n_classes:.3f})"
    )
    print_table(title, columns, rows, left=3)
    for text in caveats(ranking):
        notice(text)


_TERMS = ("reference loss", "label mismatch", "distribution mismatch")
_POINTS = ("points lost on reference", "points lost to labels", "points lost on target")


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
    return texts + [f"skipped {each.encoder}: {each.reason}" for each in ranking.skipped]


def _interval(criterion: str, interval: Any) -> str:
    if interval is None:
        return "–"
    if criterion == TRANSFERRED_ACCURACY:
        return f"{100 * interval.low:.1f} – {percent(interval.high)}"
    return f"{number(interval.low)} – {number(interval.high)}"


def _explanation(result: Any) -> list[str]:
    lost = result.accuracy_lost or {}
    points = [lost.get(name) for name in ("on_reference", "to_labels", "on_target")]
    cells = [number(result.reference_loss), number(result.label_mismatch), number(result.distribution_mismatch)]
    cells += ["–" if each is None else f"{100 * each:+.1f}" for each in points]
    return [*cells, f"{result.tau:.3g}", f"{result.scale:.3g}"]


def write_ranking(ranking: Ranking, folder: Path) -> None:
    """Write all results, and the report, into a folder."""
    from transferability.report.files import write_records

    files = write_records(ranking.to_dict(), ranking, folder)
    for place, entry in enumerate(ranking.entries, start=1):
        entry.relatedness.transform.save(folder / f"transform-{place}.safetensors")
    notice(f"written: {', '.join(map(short_path, files))} and {len(ranking.entries)} transformations")
    if not any(path.suffix == ".html" for path in files):
        notice("no report.html: it needs jinja2. pip install 'transferability[report]'")


def _millions(n_parameters: int | None) -> str:
    return "–" if n_parameters is None else f"{n_parameters / 1e6:.1f} M"
