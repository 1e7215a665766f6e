"""How commands show rankings: the table, what must be known to read it, what to do next, and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferability.cli.confirm import tell_answer
from transferability.cli.output import MEASURED_ON, notice, print_table, short_path
from transferability.display.columns import shown_columns, title_of
from transferability.display.formats import percent
from transferability.display.likeness import likeness
from transferability.display.next_steps import next_steps
from transferability.display.notes import grouped, result_notes
from transferability.display.race import how_many_left, race_cells, race_in_words

if TYPE_CHECKING:
    from transferability.ranking.result import Ranking

__all__ = ["CsvFile", "PlotsFolder", "caveats", "show_next", "show_ranking", "write_csv", "write_ranking"]

CsvFile = Annotated[Path | None, typer.Option("--csv", help="CSV file for the table, with all columns.")]
PlotsFolder = Annotated[Path | None, typer.Option("--plots", help="Folder for the plots, as PNG and SVG.")]
_NAMED_OF_RACE = 10


def show_ranking(ranking: Ranking, *, wide: bool = False) -> None:
    """Print the table, and the caveats."""
    record = ranking.to_dict()
    entries = record["ranking"]
    columns = shown_columns(entries, record["columns"], ranking.criterion, wide=wide)
    rows = [[column.show(entry) for column in columns] for entry in entries]
    to_left = [column.is_text for column in columns]
    print_table(_title(ranking, columns_shown={column.key for column in columns}), _titles(columns), rows, to_left)
    for text in caveats(ranking, wide=wide):
        notice(text)
    if ranking.confirmation is not None:
        tell_answer(ranking.confirmation, record)


def _titles(columns: Sequence[object]) -> list[str]:
    return [getattr(column, "title", "") for column in columns]


def _title(ranking: Ranking, *, columns_shown: set[str]) -> str:
    best = ranking.best.relatedness
    facts = [] if "reference" in columns_shown else [f"reference {best.reference}"]
    facts += [] if best.chance is None else [f"chance {percent(best.chance)}"]
    if columns_shown & {"bound", "transferred_loss"}:
        facts.append(f"losses and bounds in nats, guessing costs {best.log_n_classes:.3f}")
    facts += filter(None, [how_many_left(ranking.provenance.get("race"))])
    if (stopped := ranking.provenance.get("interrupted")) is not None:
        facts.append(f"interrupted after {stopped['done']:,} of {stopped['total']:,} encoders")
    by = title_of(ranking.criterion)
    return f"Encoders for {ranking.target}, best first by {by}" + (f" ({'; '.join(facts)})" if facts else "")


def caveats(ranking: Ranking, *, wide: bool = True) -> list[str]:
    """Return what must be known to read the table: every note once, with the encoders that it is about."""
    best = ranking.best.relatedness
    texts = []
    if "not_sorted_by" in ranking.provenance:
        asked, taken = (title_of(each) for each in (ranking.provenance["not_sorted_by"], ranking.criterion))
        texts.append(f"sorted by {taken}: no encoder has a value of {asked!r}, by which --sort asked to sort.")
    if best.transferred_accuracy is not None:
        texts.append(
            "transferred accuracy: of the reference's classifier, transferred to the target by the fitted map, "
            f"{MEASURED_ON[best.evaluated_on]}."
        )
    texts += [
        f"{data['name']}: {note}" for data in ranking.provenance.get("data", ()) for note in data.get("notes", ())
    ]
    if wide or best.transferred_accuracy is None:
        what = "an upper bound on the transferred loss on these rows" if best.certified else "an estimate"
        texts.append(f"bound: {what}. {best.certificate}")
    like = likeness(best)
    texts += [f"{ranking.best.encoder}, {like}"] if like else []
    named = [
        (f"below chance ({percent(entry.relatedness.chance)})", entry.encoder)
        for entry in ranking
        if entry.relatedness.below_chance
    ]
    texts += grouped(named, len(ranking)) + result_notes(ranking.records)
    named = []
    if wide and (ranking.known is not None or any(each is not None for each in ranking.expected)):
        why = "no expected fine-tuned accuracy, since it cannot be fine-tuned"
        named += [(why, entry.encoder) for entry in ranking if entry.fine_tunable is False]
    texts += grouped(named, len(ranking))
    texts += _race(ranking.provenance.get("race"))
    return texts + grouped([(f"skipped: {each.reason}", each.encoder) for each in ranking.skipped], 0)


def _race(race: dict[str, Any] | None) -> list[str]:
    """Return what became of the encoders of a race, and who left when, and why."""
    if race is None:
        return []
    texts = ["race: the default for more than 8 encoders; --no-race ranks all."] if race.get("by_default") else []
    texts.append(race_in_words(race))
    place = "it is the first" if race["first"] == 1 else f"it is among the first {race['first']}"
    for encoder, n_rows, value, rival, rival_value, p_value in race_cells(race)[:_NAMED_OF_RACE]:
        what = f"{title_of(race['quantity'])} {value} against {rival_value} of {rival}"
        equals = p_value if p_value.startswith("<") else f"= {p_value}"
        texts.append(f"left after {n_rows} rows: {encoder}, {what}; p {equals} that {place}.")
    more = len(race["dropped"]) - _NAMED_OF_RACE
    return texts + ([f"{more:,} more left; --json, --csv and --out name all."] if more > 0 else [])


def show_next(ranking: Ranking) -> None:
    """Print what to do now."""
    for step in next_steps(ranking.to_dict()):
        notice(f"Next: {step.title}:")
        for line in step.code.splitlines():
            notice(f"    {line}", whole=True)


def write_csv(rows: Sequence[dict[str, object]], path: Path) -> None:
    """Write the rows of a frame as CSV."""
    import csv
    import io

    from transferability._writing import write_through_temporary

    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_through_temporary(path, stream.getvalue().encode("utf-8", "backslashreplace"))
    notice(f"written: {short_path(path)}")


def write_ranking(ranking: Ranking, folder: Path) -> None:
    """Write all results, and the report, into a folder."""
    from transferability.relatedness.results.result import Relatedness
    from transferability.report.files import write_records

    files = write_records(ranking.to_dict(), ranking, folder)
    fitted = [entry.relatedness for entry in ranking if isinstance(entry.relatedness, Relatedness)]
    for place, result in enumerate(fitted, start=1):
        result.transform.save(folder / f"transform-{place}.safetensors")
    notice(f"written: {', '.join(map(short_path, files))} and {len(fitted)} transformations")
    if not any(path.suffix == ".html" for path in files):
        notice("no report.html: it needs jinja2. pip install 'transferability[report]'")
