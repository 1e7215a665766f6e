"""A race in words, and who left it when and on what evidence as a table. Made of `Ranking.provenance["race"]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transferability.display.columns import title_of
from transferability.display.formats import amount, percent

__all__ = ["how_many_left", "race_cells", "race_headings", "race_in_words", "race_table"]

Race = Mapping[str, Any]
_SMALLEST = 1e-300  # p-values below it are zero in floating point


def how_many_left(race: Race | None) -> str:
    """Return "2 of 3 encoders left a race"; nothing where none did."""
    return f"{len(race['dropped']):,} of {_began(race)} left a race" if race is not None and race["dropped"] else ""


def race_in_words(race: Race) -> str:
    """Say how many encoders began and what became of them, what it cost, and what the test promises."""
    n_left, n_failed = len(race["dropped"]), _n_began(race) - len(race["dropped"]) - race.get("n_stayed", 0)
    became = [f"{n_left:,} left on samples of the target"]
    became += [f"{race['n_stayed']:,} stayed to the end"] if "n_stayed" in race else []
    became += [f"{n_failed:,} failed"] if "n_stayed" in race and n_failed else []
    said = f"A race began with {_began(race)}: {', '.join(became)}. "
    if not race["rounds"]:
        few = (
            "There are no more encoders than places"
            if _n_began(race) <= race["first"]
            else "The target has too few rows"
        )
        return f"{said}{few} for a race, so none was judged on a sample."
    share = percent(race["items"] / max(1, race["items_of_all"]))
    of_all = f"{race['items']:,} of {race['items_of_all']:,}"
    if race.get("items_are") == "fitted":
        said += f"It fitted classifiers to {share} of the rows of a full ranking ({of_all})."
    else:
        said += f"It encoded {share} of what a full ranking encodes ({of_all} items)."
    for each in race["rounds"]:
        if each.get("why_not") is not None:
            compared = f"{each['n_compared']:,} of {each['n_encoders']:,} encoders were compared"
            said += f" On a sample of {each['n_rows']:,} rows {compared}: {each['why_not'].rstrip('.')}."
    if not n_left:
        return said
    first = "the first" if race["first"] == 1 else f"the first {race['first']}"
    return (
        f"{said} An encoder left when a paired test put it behind {first}. Each of the first leaves with a chance "
        f"of at most {100 * race['error']:g} %, as far as classifiers that are fitted on samples can tell."
    )


def race_table(race: Race | None) -> list[dict[str, Any]]:
    """Return who left, the earliest first, as rows of a table of numbers."""
    return [
        {
            "encoder": each["encoder"],
            "left_after_rows": each["n_rows"],
            f"{race['quantity']}_when_left": each["value"],
            "left_behind": each["rival"],
            f"{race['quantity']}_of_left_behind": each["rival_value"],
            "left_p_value": each["p_value"],
        }
        for each in race["dropped"]
    ] if race is not None else []  # fmt: skip


def race_headings(race: Race) -> list[str]:
    """Return the headings of `race_cells`."""
    title = title_of(race["quantity"])
    return ["encoder that left", "after rows", title, "behind", f"its {title}", "p-value"]


def race_cells(race: Race) -> list[list[str]]:
    """Return who left, the earliest first, as rows of texts."""
    return [
        [
            *(each["encoder"], f"{each['n_rows']:,}", amount(race["quantity"], each["value"]), each["rival"]),
            *(amount(race["quantity"], each["rival_value"]), _p_value(each["p_value"])),
        ]
        for each in race["dropped"]
    ]


def _p_value(value: float) -> str:
    return f"{value:.1g}" if value >= _SMALLEST else f"< {_SMALLEST:g}"


def _n_began(race: Race) -> int:
    """Return with how many it began; records of early versions say so of the first sample only."""
    known = race.get("n_began")
    return int(race["rounds"][0]["n_encoders"] if known is None and race["rounds"] else known or 0)


def _began(race: Race) -> str:
    n = _n_began(race)
    return "1 encoder" if n == 1 else f"{n:,} encoders"
