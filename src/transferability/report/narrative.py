"""What the numbers say, in sentences: transferred accuracy ranks, the bound explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transferability._criteria import (
    BOUND,
    QUANTITIES,
    TRANSFERRED_ACCURACY,
    TRANSFERRED_LOSS,
    Quantity,
    quantity_of,
)
from transferability.display.columns import title_of
from transferability.display.formats import amount, confidence, interval, number, percent
from transferability.display.frozen import FrozenEncoder
from transferability.display.notes import copies_matter
from transferability.display.race import how_many_left
from transferability.report.absent_narrative import race_fact, say_interrupted
from transferability.report.relation_narrative import MEASURED_ON

__all__ = ["OF_FINE_TUNING", "answer"]

Entry = Mapping[str, Any]
OF_FINE_TUNING = "Of the fine-tuning"
"""Label of the fact that tells what must be said of it, and of whom it passed over."""
_CONFIDENCE = 0.95  # of what a ranking says of new data
_NAMED = 3  # encoders, before they are only counted
_BEST: dict[Quantity, str] = {
    TRANSFERRED_ACCURACY: "be the most accurate on new data",
    TRANSFERRED_LOSS: "lose least on new data",
    BOUND: "have the smallest bound on other rows",
}


def answer(
    target: str,
    criterion: str,
    entries: Sequence[Entry],
    truth: str | None,
    confirmation: Mapping[str, Any] | None = None,
    race: Mapping[str, Any] | None = None,
    frozen: FrozenEncoder | None = None,
    interrupted: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Say which encoder to take, how sure that is and what being wrong would cost.

    Parameters
    ----------
    target, criterion : str
        Of the ranking.
    entries : sequence of mapping
        Its entries, best first, as in the summary.
    truth : str or None
        What the entries' `accuracy` is: the ground truth. None where it is unknown.
    confirmation : mapping or None
        `Confirmation.to_dict()`: where some encoders were fine-tuned, the answer rests on that.
    race : mapping or None
        ``Ranking.provenance["race"]``: encoders that left have no entry.
    frozen : FrozenEncoder or None
        One that could not be fine-tuned, and is more accurate as it is than those that were.
    interrupted : mapping or None
        ``Ranking.provenance["interrupted"]``: encoders that were not ranked have no entry.
    """
    if confirmation is not None and confirmation["best"] is not None:
        found = _confirmed_answer(target, entries, confirmation, race, frozen)
    else:
        found = _ranked_answer(target, criterion, entries, truth, race, interrupted)
    return found if interrupted is None else say_interrupted(found, interrupted)


def _ranked_answer(
    target: str,
    criterion: str,
    entries: Sequence[Entry],
    truth: str | None,
    race: Mapping[str, Any] | None,
    interrupted: Mapping[str, int] | None,
) -> dict[str, Any]:
    """Say which encoder to take where none was fine-tuned."""
    best = entries[0]
    known = any(entry["result"]["transferred_accuracy"] is not None for entry in entries)
    quantity = quantity_of(criterion, accuracy_known=known)
    runner_up = entries[1] if len(entries) > 1 else None
    sentence = _how_sure(best, entries[1:], criterion, quantity, race)
    sentence += _cost(best, entries, truth, raced=bool(how_many_left(race)) or interrupted is not None)
    facts = _facts(best, quantity)
    if runner_up is not None:
        facts.append({"label": "Runner-up", "value": runner_up["name"], "note": _behind(best, runner_up, quantity)})
    facts += race_fact(race)
    headline = f"Take {best['name']} for {target}."
    if all(_not_above_chance(entry["result"]) for entry in entries):
        headline = f"No encoder of these does better than chance on {target}."
    return {"headline": headline, "sentence": sentence, "facts": facts}


def _not_above_chance(result: Mapping[str, Any]) -> bool:
    accuracy = result["transferred_accuracy"]
    return accuracy is not None and bool(accuracy <= result["chance"])


def _headline(target: str, tuned: Mapping[str, Any], confirmation: Mapping[str, Any], chance: float | None) -> str:
    """Say which encoder to take, unless fine-tuning left it no better than chance."""
    if chance is None or tuned["accuracy"] > chance:
        frozen = " as it is" if tuned.get("best_epoch") == 0 else ""
        return f"Take {tuned['encoder']}{frozen} for {target}."
    if all(each["accuracy"] is None or each["accuracy"] <= chance for each in confirmation["entries"]):
        return f"No encoder that was fine-tuned does better than chance on {target}."
    return f"Fine-tuned, {tuned['encoder']} does no better than chance on {target}."


def _confirmed_answer(
    target: str,
    entries: Sequence[Entry],
    confirmation: Mapping[str, Any],
    race: Mapping[str, Any] | None,
    frozen: FrozenEncoder | None,
) -> dict[str, Any]:
    """Say which encoder to take after some were fine-tuned, and what the ranking had said."""
    tuned = next(each for each in confirmation["entries"] if each["encoder"] == confirmation["best"])
    row = tuned.get("ranked_as") or tuned["encoder"]
    best = next(each for each in entries if each["name"] == row)
    first = entries[0]
    sentence = str(confirmation["in_words"]).removesuffix(".")
    if first is not best:
        sentence += f"; before fine-tuning, {first['name']} was first"
    if how_many_left(race):
        sentence += f"; {how_many_left(race)} before"
    sentence += "." if frozen is None else f". {frozen.in_words}"
    low, high = tuned["interval"]
    fact = {
        "label": "Accuracy as it is" if tuned.get("best_epoch") == 0 else "Fine-tuned accuracy",
        "value": percent(tuned["accuracy"]),
        "note": f"on new data {interval(TRANSFERRED_ACCURACY, low, high)}; linear probe "
        f"{percent(tuned['probe_accuracy'])} on the same {confirmation['n_test']:,} rows",
    }
    said = [
        f"{each['encoder']}: {each['note'].removesuffix('.')}" for each in confirmation["entries"] if each.get("note")
    ]
    notes = [{"label": OF_FINE_TUNING, "value": "notes", "note": "; ".join(said)}] if said else []
    headline = _headline(target, tuned, confirmation, best["result"].get("chance"))
    if frozen is not None:
        headline = f"Take {frozen.encoder} as it is for {target}."
        fact["note"] = f"of {tuned['encoder']}; {fact['note']}"
        best = next(each for each in entries if each["name"] == frozen.encoder)
    known = any(entry["result"]["transferred_accuracy"] is not None for entry in entries)
    facts = _facts(best, TRANSFERRED_ACCURACY if known else BOUND)
    return {
        "headline": headline,
        "sentence": sentence,
        "facts": [fact, *notes, *facts, *race_fact(race)],
    }


def _facts(best: Entry, quantity: Quantity) -> list[dict[str, str]]:
    """Return what is known of the first: its transferred classifier, the bound on its loss, a classifier trained."""
    result, standing = best["result"], best["standing"]
    known = _on_new_data(quantity, standing, result["evaluated_on"]) if standing else ""
    if standing and quantity != BOUND and copies_matter(best):
        different = best["different_rows"]
        known = f"{percent(different['accuracy'])} of the {different['n_rows']:,} different rows, {known}"
    part = MEASURED_ON[result["evaluated_on"]]
    guessing = f"guessing costs {number(result['log_n_classes'])} nats" if "log_n_classes" in result else ""
    bound = {
        "label": "Bound on the transferred loss"
        if result["certified"]
        else "Estimate of the transferred loss, no bound",
        "value": amount(BOUND, result["bound"]),
        "note": "; ".join(filter(None, [known if quantity == BOUND else part, guessing])),
    }
    if result["transferred_accuracy"] is None:
        return [bound]
    chance = f"chance {percent(result['chance'])}" if "chance" in result else ""
    accuracy, loss = percent(result["transferred_accuracy"]), amount(TRANSFERRED_LOSS, result["transferred_loss"])
    shown = {"label": "Transferred accuracy", "value": accuracy, "note": f"loss {loss}"}
    if quantity != TRANSFERRED_ACCURACY:
        shown = {"label": "Transferred loss", "value": loss, "note": f"accuracy {accuracy}"}
    notes = [known if quantity != BOUND else "", shown["note"], part, chance]
    shown["note"] = "; ".join(filter(None, notes))
    facts = [bound, shown] if quantity == BOUND else [shown, bound]
    trained = best.get("probe")
    if trained is not None:
        note = f"on the same rows; loss {amount(TRANSFERRED_LOSS, trained['loss'])}"
        facts.append({"label": "Linear probe", "value": percent(trained["accuracy"]), "note": note})
    elif result["transferability"] is not None:
        trained = percent(result["transferability_accuracy"])
        note = f"on the target; loss {amount(TRANSFERRED_LOSS, result['transferability'])}"
        facts.append({"label": "Linear classifier trained on the target", "value": trained, "note": note})
    return facts


def _behind(best: Entry, runner_up: Entry, quantity: Quantity) -> str:
    first, second = best["result"][quantity], runner_up["result"][quantity]
    what = quantity.removeprefix("transferred_")
    if second is None:
        return f"{what} unknown"
    if quantity == TRANSFERRED_ACCURACY:
        return f"{what} {round(100 * (second - first), 1) + 0.0:+.1f} points"
    return f"{what} {second - first:+.3f} nats"


def _on_new_data(quantity: Quantity, standing: Mapping[str, Any], evaluated_on: str) -> str:
    """Say where a value lies on new data; a bound says nothing about them, so how much it varies."""
    ends = interval(quantity, standing["low"], standing["high"])
    if quantity == BOUND:
        return f"varies with the sample, about {ends}"
    return f"on new data {ends}, with {confidence(evaluated_on)} for all encoders at once"


def _how_sure(
    best: Entry, others: Sequence[Entry], criterion: str, quantity: Quantity, race: Mapping[str, Any] | None = None
) -> str:
    """Say how far the first is ahead, of those that were ranked and of those that left a race."""
    if race is None or not how_many_left(race):
        return _how_sure_of_ranked(best, others, criterion, quantity)
    left = (
        f"{how_many_left(race)} on samples of the target, each put behind the first by a test (p ≤ {race['error']:g})"
    )
    if not others:
        return f"It is the only encoder that was ranked on all rows: {left}"
    return f"{_how_sure_of_ranked(best, others, criterion, quantity)}; {left}"


def _how_sure_of_ranked(best: Entry, others: Sequence[Entry], criterion: str, quantity: Quantity) -> str:
    if not others:
        return "It is the only encoder that was ranked, so nothing can be said of a choice"
    runner_up = others[0]
    if criterion not in QUANTITIES:
        first, second = (
            each.get("sorted_by") or number(each["scores"].get(criterion), 4) for each in (best, runner_up)
        )
        return f"By {title_of(criterion)} it leads {runner_up['name']} with {first} against {second}"
    return _lead(best["result"], runner_up["result"], runner_up["name"], criterion) + _rivals(
        others, quantity, best["result"]["evaluated_on"]
    )


def _rivals(others: Sequence[Entry], quantity: Quantity, evaluated_on: str) -> str:
    """Say which of the others can be the best on new data; "" where that is not known."""
    p_values = [(each["name"], (each["standing"] or {}).get("p_best")) for each in others]
    tested = [(name, p) for name, p in p_values if p is not None]
    if not tested:
        return ""
    can_be = [name for name, p in tested if p > 1 - _CONFIDENCE]
    best = _BEST[quantity]
    sure = f"({confidence('folds' if quantity == BOUND else evaluated_on)})"  # a bound's is approximate too
    if not can_be:
        return f"; no other encoder can {best} {sure}"
    runner_up = others[0]["name"]
    if can_be[0] != runner_up:
        return f"; {_listed(can_be)} can {best} too {sure}"
    more = f", as can {_listed(can_be[1:])}" if can_be[1:] else ""
    return f", which can {best} too{more} {sure}"


def _listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = list(names[:_NAMED])
    left = len(names) - len(shown)
    last = [f"{left} more"] if left else [shown.pop()] if len(shown) > 1 else []
    return " and ".join([", ".join(shown), *last])


def _lead(best: Mapping[str, Any], second: Mapping[str, Any], other: str, criterion: str) -> str:
    """Say how far the first is ahead."""
    if criterion == BOUND:
        start = f"Its bound of {number(best['bound'])} nats is"
        return f"{start} {number(second['bound'] - best['bound'])} below that of {other}"
    loss = f"Its transferred loss is {number(best['transferred_loss'])} nats"
    accuracy = f"Its transferred accuracy is {percent(best['transferred_accuracy'])}"
    if second[criterion] is None:
        known = loss if criterion == TRANSFERRED_LOSS else accuracy
        return f"{known}; that of {other} is not known"
    less = number(second["transferred_loss"] - best["transferred_loss"])
    if criterion == TRANSFERRED_LOSS:
        return f"{loss}, {less} less than that of {other}"
    points = 100 * (best["transferred_accuracy"] - second["transferred_accuracy"])
    if points == 0:
        return f"{accuracy}; its loss is {less} nats below that of the equally accurate {other}"
    return f"{accuracy}, {points:.1f} points more than that of {other}"


def _cost(best: Entry, entries: Sequence[Entry], truth: str | None, *, raced: bool = False) -> str:
    known = [each for each in entries if each["accuracy"] is not None]
    if best["accuracy"] is None:
        return ". Without labels of the target nothing can be said of what a wrong choice would cost."
    if truth is None or len(known) < 2:
        return "."
    highest = max(known, key=lambda each: each["accuracy"])
    name = "the runner-up" if highest is entries[1] else highest["name"]  # which has been named
    lost = highest["accuracy"] - best["accuracy"]
    if lost <= 0:
        other = "none of the others that were ranked" if raced else "no other encoder"  # who left has none
        return f"; {other} does better by the {truth} ({percent(best['accuracy'])})."
    return (
        f"; by the {truth}, {name} does best, so being wrong would cost about {100 * lost:.1f} points "
        f"({percent(highest['accuracy'])} against {percent(best['accuracy'])})."
    )
