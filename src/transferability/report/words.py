"""What the numbers say, in sentences: the loss of the moved classifier orders, the bound promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transferability._criteria import BOUND, LOSSES, TRANSFERRED_LOSS, loss_of

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
    runner_up = entries[1] if len(entries) > 1 else None
    sentence = _how_sure(best, runner_up, criterion) + _cost(best, entries, truth)
    facts = _facts(best, loss_of(criterion))
    if runner_up is not None:
        facts.append({"label": "Runner-up", "value": runner_up["name"], "note": _behind(best, runner_up, criterion)})
    return {"headline": f"Take {best['name']} for {target}.", "sentence": sentence, "facts": facts}


def _facts(best: Entry, resampled: str) -> list[dict[str, str]]:
    """Return what is known of the first: the loss of its moved classifier, what bounds it, and what training gives."""
    result, standing = best["result"], best["standing"]
    interval = f"95 % interval {number(standing['low'])} – {number(standing['high'])}" if standing else ""
    promise = f"what can be promised on the {result['evaluated_on']} part" if result["certified"] else ""
    bound = {
        "label": "Bound on the target loss" if result["certified"] else "Estimate of the target loss, no bound",
        "value": f"{number(result['bound'])} nats",
        "note": interval if resampled == BOUND else promise,
    }
    if result["transferred_accuracy"] is None:
        return [bound]
    right = f"right in {percent(result['transferred_accuracy'])} of the {result['evaluated_on']} part"
    moved = {
        "label": f"Loss of {result['reference']}'s classifier, moved",
        "value": f"{number(result['transferred_loss'])} nats",
        "note": f"{interval}; {right}" if interval and resampled == TRANSFERRED_LOSS else right,
    }
    trained = {
        "label": "Loss of a linear classifier, trained",
        "value": f"{number(result['transferability'])} nats",
        "note": f"on the target itself; right in {percent(result['transferability_accuracy'])}",
    }
    return [moved, bound, trained] if resampled == TRANSFERRED_LOSS else [bound, moved, trained]


def _behind(best: Entry, runner_up: Entry, criterion: str) -> str:
    loss = loss_of(criterion)
    first, second = best["result"][loss], runner_up["result"][loss]
    what = "loss" if loss == TRANSFERRED_LOSS else "bound"
    return f"{what} unknown" if second is None else f"{what} {second - first:+.3f} nats"


def _how_sure(best: Entry, runner_up: Entry | None, criterion: str) -> str:
    if runner_up is None:
        return "It is the only encoder that was ranked, so nothing can be said of a choice"
    if criterion not in LOSSES:
        first, second = (number(each["scores"].get(criterion), 4) for each in (best, runner_up))
        return f"By {criterion} it leads {runner_up['name']} with {first} against {second}"
    first, second = best["result"][criterion], runner_up["result"][criterion]
    if second is None:
        return f"Its moved classifier loses {number(first)} nats; what that of {runner_up['name']} loses is not known"
    gap, other = number(second - first), runner_up["name"]
    if criterion == TRANSFERRED_LOSS:
        start = f"Its moved classifier loses {number(first)} nats, {gap} less than that of {other},"
    else:
        start = f"Its bound of {number(first)} nats is {gap} below that of {other}"
    standing = runner_up["standing"]
    if standing is None:
        return start.removesuffix(",")
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
