"""What the numbers say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["answer", "certificate_in_words", "number", "percent", "relation_answer"]

Entry = Mapping[str, Any]


def number(value: float | None, digits: int = 3) -> str:
    """Format a number; a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Format a share; a dash where there is none."""
    return "–" if value is None or value != value else f"{100 * value:.1f} %"


def answer(target: str, criterion: str, entries: Sequence[Entry], truth: str | None) -> dict[str, Any]:
    """Say which encoder to take, how sure that is and what being wrong would cost.

    Parameters
    ----------
    target, criterion : str
        Of the ranking.
    entries : sequence of mapping
        Its entries, best first, as in the summary.
    truth : str or None
        What the entries' `accuracy` is: the ground truth. None where it is unknown.
    """
    best = entries[0]
    result = best["result"]
    runner_up = entries[1] if len(entries) > 1 else None
    sentence = _how_sure(best, runner_up, criterion) + _cost(best, entries, truth)
    standing = best["standing"]
    facts = [
        {
            "label": "Bound on the target loss" if result["certified"] else "Estimate of the target loss, no bound",
            "value": f"{number(result['bound'])} nats",
            "note": f"95 % interval {number(standing['low'])} – {number(standing['high'])}" if standing else "",
        },
        {
            "label": f"Classifier of {result['reference']}, moved",
            "value": percent(result["transferred_accuracy"]),
            "note": f"right on the {result['evaluated_on']} part; loss {number(result['transferred_loss'])}",
        },
        {
            "label": "Linear classifier, trained",
            "value": percent(result["transferability_accuracy"]),
            "note": f"on the target itself; loss {number(result['transferability'])}",
        },
    ]
    if result["transferred_accuracy"] is None:
        del facts[1:]
    if runner_up is not None:
        gap = runner_up["result"]["bound"] - result["bound"]
        facts.append({"label": "Runner-up", "value": runner_up["name"], "note": f"bound {gap:+.3f} nats"})
    return {"headline": f"Take {best['name']} for {target}.", "sentence": sentence, "facts": facts}


def _how_sure(best: Entry, runner_up: Entry | None, criterion: str) -> str:
    if runner_up is None:
        return "It is the only encoder that was ranked, so nothing can be said of a choice"
    if criterion != "bound":
        first, second = (number(each["scores"].get(criterion), 4) for each in (best, runner_up))
        return f"By {criterion} it leads {runner_up['name']} with {first} against {second}"
    gap = runner_up["result"]["bound"] - best["result"]["bound"]
    start = f"Its bound of {number(best['result']['bound'])} nats is {number(gap)} below that of {runner_up['name']}"
    standing = runner_up["standing"]
    if standing is None:
        return start
    return (
        f"{start} and stayed below in {_share(standing['behind'])} of 1,000 resamples: {_verdict(standing['behind'])}"
    )


def _share(value: float) -> str:
    return "all" if value == 1 else f"{100 * value:.1f} %"


def _verdict(share: float) -> str:
    for least, words in ((0.99, "a sure lead"), (0.95, "a likely lead"), (0.8, "a lean, no more")):
        if share >= least:
            return words
    return "too close to call"


def _cost(best: Entry, entries: Sequence[Entry], truth: str | None) -> str:
    known = [each for each in entries if each["accuracy"] is not None]
    if best["accuracy"] is None:
        return ". Without labels of the target nothing can be said of what a wrong choice would cost."
    if truth is None or len(known) < 2:
        return "."
    highest = max(known, key=lambda each: each["accuracy"])
    lost = highest["accuracy"] - best["accuracy"]
    if lost <= 0:
        return f"; no other encoder does better by the {truth} ({percent(best['accuracy'])})."
    return (
        f"; by the {truth}, {highest['name']} does best, so being wrong would cost about {100 * lost:.1f} points "
        f"({percent(highest['accuracy'])} against {percent(best['accuracy'])})."
    )


def relation_answer(results: Sequence[Mapping[str, Any]], encoder: str | None) -> dict[str, Any]:
    """Say which reference each target is like."""
    parts = [f"{each['target']} is most like {each['reference']} ({number(each['bound'])} nats)" for each in results]
    shown = "; ".join(parts[:5]) + (f"; and {len(parts) - 5} more" if len(parts) > 5 else "")
    seen_by = f" under {encoder}" if encoder else ""
    first = results[0]
    headline = f"{first['target']} is most like {first['reference']}{seen_by}."
    if len(results) > 1:
        headline = f"{len(results)} targets, and what they are like{seen_by}."
    return {"headline": headline, "sentence": f"By the smallest bound on the target loss: {shown}.", "facts": []}


def certificate_in_words(result: Mapping[str, Any]) -> str:
    """Say what the certificate promises, and what it does not."""
    part = "test part" if result["evaluated_on"] == "test" else "part that was fitted"
    loses = "" if result["transferred_loss"] is None else f" It does lose {number(result['transferred_loss'])}."
    moved = "" if result["solver"] == "alternating" and result["ridge"] is None else " and moved by the fitted map"
    promise = (
        f"On the {part} of {result['target']}, the classifier trained on {result['reference']}{moved} "
        f"loses {'at most' if result['certified'] else 'an estimated'} {number(result['bound'])} nats on average."
        f"{loses}"
    )
    blocks = (
        "" if result["exact_transport"] else " The transport was solved in blocks: feasible, so a little too large."
    )
    scope = " It speaks of these samples; other samples of the same task vary around it." * result["certified"]
    return f"{promise} {result['certificate']}{blocks}{scope}"
