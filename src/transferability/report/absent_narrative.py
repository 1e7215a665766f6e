"""What a report says of encoders without an entry: they left a race, or an interrupt came before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transferability.display.formats import percent
from transferability.display.race import how_many_left

__all__ = ["race_fact", "say_interrupted"]


def say_interrupted(answer: Mapping[str, Any], interrupted: Mapping[str, int]) -> dict[str, Any]:
    """Return an answer that begins with how many encoders it is of."""
    counted = f"{interrupted['done']:,} of {interrupted['total']:,} encoders"
    note = "the others were not ranked, and may be better; the same command continues"
    fact = {"label": "Interrupted", "value": f"{counted} were ranked", "note": note}
    headline = f"Interrupted after {counted}. {answer['headline']}"
    return {**answer, "headline": headline, "facts": [fact, *answer["facts"]]}


def race_fact(race: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Return how many encoders left a race, and what it cost."""
    if race is None or not race["dropped"]:
        return []
    share = percent(race["items"] / max(1, race["items_of_all"]))
    return [
        {
            "label": "Race",
            "value": f"{len(race['dropped']):,} left",
            "note": f"{how_many_left(race)}; {_spent(race, share)}",
        }
    ]


def _spent(race: Mapping[str, Any], share: str) -> str:
    fitted = race.get("items_are") == "fitted"
    return f"classifiers were fitted to {share} of the rows" if fitted else f"{share} of all items were encoded"
