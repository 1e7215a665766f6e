"""What a report says of relations in words: which reference a target is like, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transferability._criteria import OWN_HALF, TRANSFERRED_ACCURACY
from transferability.display.formats import confidence, interval, number, percent

__all__ = ["MEASURED_ON", "WITHOUT_MAP", "relation_answer", "relation_on_new_data"]

MEASURED_ON = {
    "test": "on the test part",
    "folds": "on all rows, each by a classifier fitted without it",
    "fit": "on the fitting part: it says nothing of other rows",
}
WITHOUT_MAP = "what the reference alone gives; the map is fitted to the target's labels"


def relation_answer(results: Sequence[Mapping[str, Any]], encoder: str | None) -> dict[str, Any]:
    """Say which reference each target is like."""
    found = [(each["target"], min(each.get("panel") or [each], key=lambda one: one["bound"])) for each in results]
    parts = [f"{target} is most like {_its(one['reference'])} ({number(one['bound'])} nats)" for target, one in found]
    shown = "; ".join(parts[:5]) + (f"; and {len(parts) - 5} more" if len(parts) > 5 else "")
    seen_by = f" under {encoder}" if encoder else ""
    target, closest = found[0]
    headline = f"{target} is most like {_its(closest['reference'])}{seen_by}."
    if len(results) > 1:
        headline = f"{len(results)} targets, and what they are like{seen_by}."
    sentence = f"By the smallest bound on the transferred loss: {shown}."
    return {
        "headline": headline,
        "sentence": sentence,
        "facts": [] if len(results) > 1 else _relation_facts(results[0]),
    }


def _relation_facts(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the transferred accuracy of the reference reported, and what it rests on; nothing without labels."""
    accuracy, standing, alone = (
        result.get(name) for name in ("transferred_accuracy", "standing", "accuracy_without_map")
    )
    if accuracy is None:
        return []
    chance = f"chance {percent(result['chance'])}" if "chance" in result else ""
    part = result["evaluated_on"]
    notes = [relation_on_new_data(standing, part, accuracy) if standing else "", MEASURED_ON[part], chance]
    facts = [{"label": "Transferred accuracy", "value": percent(accuracy), "note": "; ".join(filter(None, notes))}]
    if alone is not None:
        facts.append({"label": "Without the map", "value": percent(alone), "note": WITHOUT_MAP})
    return facts


def _its(reference: str) -> str:
    return f"its {reference}" if reference == OWN_HALF else reference


def relation_on_new_data(standing: Mapping[str, Any], evaluated_on: str, accuracy: float | None = None) -> str:
    """Say where the transferred accuracy of the closest reference lies on new data."""
    n_shared = standing.get("n_shared", 1)
    shared = f" for {n_shared} references at once" if n_shared > 1 else ""
    ends = interval(TRANSFERRED_ACCURACY, standing["low"], standing["high"])
    # Intervals count copies of a row once: beside one stands the accuracy of the same rows.
    same = accuracy is None or percent(standing.get("value", accuracy)) == percent(accuracy)
    different = "" if same else f"{percent(standing['value'])} of the different rows, "
    return f"{different}on new data {ends}, with {confidence(evaluated_on)}{shared}"
