"""`transferability relate`: how related targets are to references under one encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferability._criteria import TRANSFERRED_ACCURACY, TRANSFERRED_LOSS
from transferability.cli.asking import EncoderOption, ReferencesOption, Targets, several
from transferability.cli.options import (
    GroundCost,
    JsonFlag,
    Matching,
    NoPacks,
    NoScale,
    Solver,
    Tau,
    Union,
    Unlabelled,
    parse_matching,
    parse_tau,
    solver_for,
    with_settings,
)
from transferability.cli.output import (
    MEASURED_ON,
    command_line,
    notice,
    print_json,
    print_table,
    short_path,
    show_progress,
)
from transferability.cli.plots import check_plots, write_relation_plots
from transferability.cli.show import CsvFile, PlotsFolder, write_csv
from transferability.display.formats import NOTHING, confidence, interval, number, percent
from transferability.display.likeness import likeness
from transferability.relatedness.classifier.tau import DEFAULT_TAU
from transferability.settings import Settings

if TYPE_CHECKING:
    from transferability.relatedness.results.result import Relatedness

__all__ = ["relate"]

_FIRST = 60  # rows of a table that are printed
_TERMS = ("reference loss", "label mismatch", "distribution mismatch")


@with_settings()
def relate(
    *,
    data: Targets = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Target: data or pack:FILE, beside the arguments; repeat for a matrix."),
    ] = None,
    reference: ReferencesOption = None,
    encoder: EncoderOption = None,
    tau: Tau = str(DEFAULT_TAU),
    ground_cost: GroundCost = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Space of the Euclidean cost: reference (certified, default) or target (the paper's, default of sgd)."
        ),
    ] = None,
    matching: Matching = "assignment",
    solver: Solver = "alternating",
    fixed_map: Annotated[
        bool, typer.Option("--fixed-map", help="Do not fit a feature map (the paper's FixedAll).")
    ] = False,
    no_scale: NoScale = False,
    union: Union = False,
    no_packs: NoPacks = False,
    unlabelled: Unlabelled = False,
    settings: Settings,
    out: Annotated[Path | None, typer.Option(help="Folder for all results: report.html and relate.json.")] = None,
    csv: CsvFile = None,
    plots: PlotsFolder = None,
    json: JsonFlag = False,
) -> None:
    """Relate targets to references: the bound, its three terms, and the reference class of each target class.

    Without --encoder, feature files and packs are compared as they are, and other data under the smallest encoder of
    the zoo that is here.

    Example: transferability relate packaged:digits --reference packaged:mnist --encoder timm:resnet18.a1_in1k
    """
    from transferability._writing import check_output
    from transferability.display.tables import relation_table
    from transferability.pipeline import default_encoder, describe_run, load_part
    from transferability.pipeline import relate as relate_tasks
    from transferability.pipeline.refusals import check_target_names, check_without_reference
    from transferability.relatedness.estimator import TaskRelatedness
    from transferability.report.stored import relation_record

    targets = several(data, target)
    folder = None if out is None else check_output(out, folder=True)
    csv = None if csv is None else check_output(csv, argument="csv")
    drawings = check_plots(plots)
    estimator = TaskRelatedness(
        parse_tau(tau),  # type: ignore[arg-type]
        ground_cost=ground_cost,  # type: ignore[arg-type]
        space=space,  # type: ignore[arg-type]
        matching=parse_matching(matching),  # type: ignore[arg-type]
        solver=solver_for(ground_cost, reference, solver),  # type: ignore[arg-type]
        learn_map=not fixed_map,
        scale=not no_scale,
        union=union,
        seed=settings.seed,
    )
    settings = replace(settings, use_labels=not unlabelled)
    parts = [load_part(each, settings) for each in targets]
    check_target_names(parts)
    references = [load_part(each, settings) for each in reference or ()]
    if not references and estimator.solver != "statistics":  # which says itself that it needs one
        check_without_reference(estimator, settings, parts)
    if encoder is None:
        encoder = default_encoder(parts)
        notice(f"encoder: {encoder}, the smallest here; choose another with --encoder.") if encoder else None
    with show_progress() as progress:
        results = relate_tasks(
            references,
            parts,
            encoder,
            relatedness=estimator,
            packs=not no_packs,
            settings=settings,
            progress=progress,
        )
    record = relation_record(results, encoder, describe_run(estimator, settings) | {"command": command_line()})
    print_json(record) if json else _show(results)
    if folder is not None:
        from transferability.report.files import write_records

        notice(f"written: {', '.join(map(short_path, write_records(record, results, folder)))}")
    if csv is not None:
        write_csv(relation_table([each.to_dict() for each in results]), csv)
    if drawings is not None:
        write_relation_plots(results, drawings)


def _show(results: list[Relatedness]) -> None:
    if len(results) > 1 or len(results[0].references) > 1:
        _show_matrix(results)
    if len(results) == 1:
        _show_pair(results[0])
        like = likeness(results[0])
        notice(f"{results[0].target}, {like}") if like else None
    notice(results[0].certificate)
    for note in dict.fromkeys(note for result in results for note in result.notes):
        notice(note)


def _show_matrix(results: list[Relatedness]) -> None:
    from transferability.display.tables import grid

    names, bounds = grid([(each.target, [(one.reference, one.bound) for one in each.references]) for each in results])
    rows = [
        [result.target, *map(number, row), result.closest().reference]
        for result, row in zip(results, bounds, strict=True)
    ]
    title = "Bound on the transferred loss in nats, by reference (lower is more related)"
    print_table(title, ["target", *names, "closest"], rows, first=_FIRST)


def _show_pair(result: Relatedness) -> None:
    rows = [*_accuracy_rows(result), *_loss_rows(result)]
    if result.transferability is not None:
        rows += [
            ["transferability", number(result.transferability), "loss of a Lipschitz classifier trained on the target"],
            ["gap", number(result.gap), "bound − transferability"],
        ]
    rows += [
        ["bound on fitting part", number(result.fit_bound), "says nothing of other rows"],
        ["τ asked / certified", f"{result.tau:.4g} / {result.certified_tau:.4g}", "Lipschitz constants"],
        ["scale", f"{result.scale:.4g}", "factor of the reference classifier's logits"],
    ]
    print_table(f"{result.reference} → {result.target} (nats)", ["", "value", "what it is"], rows, [True, False, True])
    _show_classes(result)


def _show_classes(result: Relatedness) -> None:
    from transferability.report.result_narrative import match_in_words, points_in_words

    classes = [
        [row["target_class"], row["reference_class"] or "–", match_in_words(row), percent(row["prior"])]
        + [number(row[term]) for term in ("reference_loss", "label_mismatch", "distribution_mismatch")]
        + [points_in_words(row)]
        for row in result.per_class()
    ]
    header = ["target class", "reference class", "how sure", "prior", *_TERMS, "points lost"]
    print_table("Reference class of each target class", header, classes, left=3, first=_FIRST)


def _accuracy_rows(result: Relatedness) -> list[list[str]]:
    """Return the transferred accuracy, where it lies on new data, and what it loses on the way."""
    from transferability.report.relation_narrative import WITHOUT_MAP

    lost = result.accuracy_lost
    below = ", and this is below" if result.below_chance else ""
    chance = "labels are guessed" if result.chance is None else f"chance {percent(result.chance)}{below}"
    measured = f"{MEASURED_ON[result.evaluated_on]}; {chance}"
    rows = [["transferred accuracy", percent(result.transferred_accuracy), measured]]
    standing = result.interval()
    if standing is not None:
        if percent(standing.value) != percent(result.transferred_accuracy):
            different = f"copies counted once, as in the intervals: {standing.n_rows:,} rows"
            rows.append(["  of different rows", percent(standing.value), different])
        rows.append(["  on new data", interval(TRANSFERRED_ACCURACY, standing.low, standing.high), _how_sure(result)])
    if result.accuracy_without_map is not None:
        rows.append(["  without the map", percent(result.accuracy_without_map), WITHOUT_MAP])
    for name, what in (
        ("on_reference", "the reference classifier is wrong on the reference already"),
        ("to_labels", "target classes share a reference class"),
        ("on_target", "the target is harder than the reference; negative: easier"),
    ):
        points = NOTHING if lost is None else f"{round(100 * lost[name], 1) + 0.0:.1f}"  # never −0.0
        rows.append([f"  points lost {name.replace('_', ' ')}", points, what])
    return rows


def _loss_rows(result: Relatedness) -> list[list[str]]:
    """Return the transferred loss, where it lies on new data, and the bound with its summands."""
    from transferability.statistics.bounded_means import SMOOTHING

    of_what = "on that loss, on these rows" if result.certified else "an estimate, not certified"
    guessing = f"of the same classifier; guessing costs {result.log_n_classes:.3f}"
    rows = [["transferred loss", number(result.transferred_loss), guessing]]
    of_loss = result.interval("transferred_loss")
    if of_loss is not None:
        ends = interval(TRANSFERRED_LOSS, of_loss.low, of_loss.high)
        rows.append(["  on new data", ends, f"mixed with {100 * SMOOTHING:.0f} % of a guess, {_how_sure(result)}"])
    mismatch = "cost of the transport from reference to target"
    return [
        *rows,
        ["bound", number(result.bound), f"{of_what}: sum of the next three"],
        ["  reference loss", number(result.reference_loss), "loss of the reference classifier, re-weighted"],
        ["  label mismatch", number(result.label_mismatch), "entropy of sharing reference classes"],
        ["  distribution mismatch", number(result.distribution_mismatch), mismatch],
    ]


def _how_sure(result: Relatedness) -> str:
    """Return with which confidence, for one reference or for all of them at once."""
    standing = result.interval()
    n_shared = 1 if standing is None else standing.n_shared
    shared = f", for {n_shared} references at once" if n_shared > 1 else ""
    return f"with {confidence(result.evaluated_on)}{shared}"
