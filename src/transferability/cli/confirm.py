"""What `rank --confirm` and `validate --top` share: the first encoders of a ranking, fine-tuned, and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_type_hints

import typer

from transferability.cli.output import notice, print_table, show_progress
from transferability.display.formats import percent
from transferability.display.frozen import better_frozen
from transferability.errors import DatasetNameError, OptionError
from transferability.settings import Settings

if TYPE_CHECKING:
    from transferability.pipeline import Split
    from transferability.pipeline.data import Part
    from transferability.ranking.confirmation import Confirmation

__all__ = [
    "ExecutorOption",
    "RankedEncoders",
    "check_confirmable",
    "confirm_file",
    "confirm_first",
    "fewer_were_tuned",
    "in_order",
    "show_confirmation",
    "tell_answer",
]

ExecutorOption = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Where encoders are fine-tuned: this process, or tasks of a Ray cluster."),
]
FILE = "finetuned.sqlite"
"""In the folder of results, or of the cache: what was trained, so that it is not trained again."""


class RankedEncoders(NamedTuple):
    """The encoders of a ranking, best first, each once: of one that is ranked by several layers, the best row counts.

    Two names of one model are both there: only loading tells which of them can be had.

    Attributes
    ----------
    by_name : dict of str to str or Encoder
        What was given to the ranking, or an identifier.
    ranked_as : dict of str to str
        Name of the row, of those that are ranked by a hidden layer.
    n_ranked : int
        How many encoders there were, with those that left a race.
    """

    by_name: dict[str, Any]
    ranked_as: dict[str, str]
    n_ranked: int


def in_order(record: Mapping[str, Any], given: Sequence[Any] = ()) -> RankedEncoders:
    """Return the encoders of a ranking.

    Parameters
    ----------
    record : mapping
        `Ranking.to_dict()`.
    given : sequence of str or Encoder
        What the ranking was made of, where that is known: identifiers may have short names.
    """
    from transferability.encoders.naming import split_alias
    from transferability.pipeline.whole_encoder import base_of
    from transferability.ranking.base_encoder import base_encoder_of, identifier_of

    loads = {}
    for each in given:
        alias, identifier = split_alias(each) if isinstance(each, str) else (None, base_of(each).name)
        loads[alias or identifier] = each
    by_name: dict[str, Any] = {}
    ranked_as: dict[str, str] = {}
    names: set[str] = set()
    for entry in record["ranking"]:
        name = base_encoder_of(entry)
        if name not in names:
            by_name[name] = loads.get(name, identifier_of(entry))
            if name != entry["encoder"]:
                ranked_as[name] = entry["encoder"]
        names.add(name)
    race = (record.get("made") or {}).get("race") or {}
    names.update(base_encoder_of(each) for each in race.get("dropped", ()))
    return RankedEncoders(by_name, ranked_as, len(names))


def confirm_first(
    record: Mapping[str, Any],
    given: Sequence[Any],
    top: int,
    part: Part,
    settings: Settings,
    executor: str,
    folder: Path | None,
) -> Confirmation:
    """Fine-tune the first encoders of a ranking that can be; those passed over are told last, with the reason.

    What is done is kept in the folder of results, else in the cache.
    """
    from transferability.features import default_cache_folder
    from transferability.ranking.confirmation import Confirmed
    from transferability.ranking.expectations import with_surprises
    from transferability.ranking.store import ResultStore
    from transferability.validation.confirm import confirm, first_trainable, run_here

    split = check_confirmable(part, settings)
    ranked = in_order(record, given)
    place = folder if folder is not None else (default_cache_folder() if settings.cache else None)
    run: Callable[..., Any] = run_here
    if executor == "ray":
        from transferability.validation.ray import run_on_ray as run
    with show_progress() as progress:
        chosen, reasons = first_trainable(ranked.by_name, top, settings)
        found = confirm(
            chosen,
            split,
            settings=settings,
            store=None if place is None else ResultStore(place / FILE),
            executor=run,
            ranked_as=ranked.ranked_as,
            n_ranked=ranked.n_ranked,
            progress=progress,
        )
    passed_over = [
        Confirmed(name, None, note=f"passed over: {reason}", ranked_as=ranked.ranked_as.get(name))
        for name, reason in reasons.items()
    ]
    return with_surprises(record, replace(found, entries=(*found.entries, *passed_over)))


def check_confirmable(part: Part, settings: Settings) -> Split:
    """Refuse a target that nothing can be fine-tuned on, before anything is computed."""
    from transferability.pipeline import Split

    if not isinstance(part, Split):
        message = f"`confirm` must be left out for target {part.name!r}, which holds statistics: rows are needed."
        raise OptionError(message)
    if part.dataset.labels is None or not settings.use_labels:
        message = f"`confirm` must be left out for target {part.name!r} without labels: fine-tuning needs them."
        raise OptionError(message)
    return part


def confirm_file(
    path: Path, top: int, target: str | None, given: Sequence[str], settings: Settings, executor: str
) -> tuple[Confirmation, Mapping[str, Any]]:
    """Fine-tune the first encoders of a ranking that was written; add what comes out to it, and to its report.

    Parameters
    ----------
    path : Path
        The folder of `rank --out`, or its `ranking.json`.
    top : int
    target : str or None
        The data, where the record does not say what they are or they have moved.
    given : sequence of str
        Identifiers of encoders that the ranking calls by short names.
    settings : Settings
        Of which device, batch size, workers and cache are taken; all else is the ranking's.
    executor : str

    Returns
    -------
    confirmation : Confirmation
    record : mapping
        The ranking, with what came out.
    """
    from transferability.pipeline import load_part
    from transferability.ranking.records import with_confirmation
    from transferability.report.files import read_study, write_ranking_record

    folder = path.parent if path.suffix == ".json" else path
    rankings = [(record, details) for record, details in read_study(folder) if "ranking" in record]
    if len(rankings) != 1 or not (folder / "ranking.json").is_file():
        message = f"`--top` must name one ranking, the folder of `rank --out`; {folder} holds {len(rankings)}."
        raise OptionError(message)
    record, details = rankings[0]
    made = record.get("made") or {}
    settings = _settings_of(made, settings)
    data = target or made.get("target")
    if data is None:
        message = f"`--target` must name the data of the ranking in {folder}, which does not say what they were."
        raise OptionError(message)
    try:
        part = load_part(data, settings)
    except DatasetNameError as error:
        if target is not None:
            raise
        message = (
            f"`--target` must name the data of the ranking, {data!r}, which were looked for in {Path.cwd()}: {error} "
        )
        raise OptionError(message + "Or run the command in the folder where the ranking was made.") from error
    _check_data(part, made)
    before = _n_tuned_before(record, in_order(record, given))
    if before > top:
        text = f"{before:,} encoders were fine-tuned before, and {top:,} count now; "
        notice(text + f"`--top {before}` brings the others back.")
    found = confirm_first(record, given, top, part, settings, executor, folder)
    if found.best is None:
        notice(f"{folder / 'ranking.json'} is left as it was. Paths of encoders are looked for in {Path.cwd()}.")
    else:
        record = with_confirmation(record, found)
        write_ranking_record(record, details, folder)
    return found, record


def _n_tuned_before(record: Mapping[str, Any], ranked: RankedEncoders) -> int:
    """Return how many of the first encoders a ranking has fine-tuned already."""
    entries = (record.get("confirmation") or {}).get("entries", ())
    tuned = {each["encoder"] for each in entries if each["accuracy"] is not None}
    return len(tuned & set(ranked.by_name))


def _settings_of(made: Mapping[str, Any], settings: Settings) -> Settings:
    """Return the settings of a ranking, on this machine."""
    from transferability.study.config import check_types

    known = {name: value for name, value in (made.get("settings") or {}).items() if name in _OF_RANKING}
    try:
        check_types(known, get_type_hints(Settings), "made.settings")
        return replace(settings, **known)
    except (TypeError, ValueError) as error:
        message = f"the settings of the ranking cannot be used ({error}). Rank again."
        raise OptionError(message) from error


# Whole encoders are trained, with labels, on this machine.
_OF_RANKING = {each.name for each in fields(Settings) if not each.metadata.get("of_machine")} - {"layer", "use_labels"}


def _check_data(part: Part, made: Mapping[str, Any]) -> None:
    """Refuse data that are not those of the ranking; of rankings of earlier versions only the number of rows tells."""
    from transferability.pipeline.describe import fingerprint_of_data

    before = next((each for each in made.get("data", ()) if each["role"] == "target"), None)
    dataset = getattr(part, "dataset", None)
    if before is None or dataset is None:
        return
    rows = before["fit_rows"] if "folds" in before else before["fit_rows"] + before["test_rows"]
    if rows != len(dataset):
        message = f"data {part.name!r} have {len(dataset):,} rows, and {rows:,} when they were ranked. Rank again."
        raise OptionError(message)
    if before.get("fingerprint") not in (None, fingerprint_of_data(dataset)):
        message = (
            f"data {part.name!r} are not those of the ranking, though there are as many rows: contents, ids, labels "
        )
        raise OptionError(
            message + "or class names differ. Rank them, or name the data of the ranking with `--target`."
        )


def fewer_were_tuned(confirmation: Confirmation | None, top: int | None) -> bool:
    """Tell whether fewer encoders were fine-tuned than was asked for, though there were more: exit code 3."""
    if confirmation is None or top is None:
        return False
    n_tuned = sum(each.accuracy is not None for each in confirmation.entries)
    return n_tuned < min(top, len(confirmation.entries))


def show_confirmation(confirmation: Confirmation, record: Mapping[str, Any]) -> None:
    """Print transferred and fine-tuned accuracy of a ranking's first side by side, what follows, and the notes."""
    predicted = {each["encoder"]: each["relatedness"]["transferred_accuracy"] for each in record["ranking"]}
    rows = []
    for each, interval in zip(confirmation.entries, confirmation.intervals, strict=True):
        ends = "–" if interval is None else f"{100 * interval.low:.1f} – {percent(interval.high)}"
        accuracies = [percent(value) for value in (predicted.get(each.row), each.probe_accuracy, each.accuracy)]
        rows.append([each.encoder, *accuracies, ends, str(each.epochs or "–"), f"{each.seconds:.0f}"])
    order = "those of the last round first, by accuracy"
    title = f"Fine-tuned on {confirmation.target}, {order} ({confirmation.n_test:,} rows to measure on)"
    titles = ["encoder", "transferred accuracy", "linear probe", "fine-tuned", "95 % interval", "epochs", "seconds"]
    print_table(title, titles, rows, 1)
    tell_answer(confirmation, record)


def tell_answer(confirmation: Confirmation, record: Mapping[str, Any]) -> None:
    """Say which encoder to take after fine-tuning, and what must be said of each."""
    notice(confirmation.in_words)
    frozen = None if confirmation.best is None else better_frozen(record)
    if frozen is not None:
        notice(frozen.in_words)
    for each in confirmation.entries:
        if each.note:
            notice(f"{each.encoder}: {each.note}")
