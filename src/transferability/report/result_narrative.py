"""What the numbers of one result say, in sentences: its accuracy, its bound, its classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transferability._criteria import OWN_HALF
from transferability.display.formats import NOTHING, number, percent
from transferability.report.relation_narrative import MEASURED_ON, WITHOUT_MAP, relation_on_new_data

__all__ = ["accuracy_in_words", "certificate_in_words", "match_in_words", "points_in_words"]

_WITHIN_NOISE = 2.0  # standard errors
_LOST = (
    ("on_reference", "on the reference already"),
    ("to_labels", "to classes that share a reference class"),
    ("on_target", "on the target (negative: gained)"),
)


def match_in_words(row: Mapping[str, Any]) -> str:
    """Say how sure a class match is: by the cost of the best other assignment, or by the folds that agree."""
    margin, error, other = (row.get(name) for name in ("margin", "margin_error", "alternative_class"))
    share = row.get("share_of_folds")
    if row["reference_class"] is None:
        return "–"
    if other is not None and (error is None or margin < _WITHIN_NOISE * error):
        return f"could as well be {other}"
    if share is not None and share < 1:
        return f"{100 * share:.0f} % of folds"
    return "sure" if margin is not None else "–"


def points_in_words(row: Mapping[str, Any]) -> str:
    """Return the points of accuracy that a class costs: on the reference + to shared classes + on the target."""
    lost = [row.get(f"accuracy_lost_{name}") for name, _ in _LOST]
    points = [round(100 * each, 1) + 0.0 for each in lost if each is not None]  # never −0.0
    if len(points) < len(lost):
        return NOTHING
    return f"{points[0]:.1f}" + "".join(f" {'+' if each >= 0 else '−'} {abs(each):.1f}" for each in points[1:])


def accuracy_in_words(result: Mapping[str, Any]) -> str:
    """Say where accuracy is lost, in points, beside chance; "" where that is not known."""
    lost, accuracy = result.get("accuracy_lost"), result["transferred_accuracy"]
    if lost is None or accuracy is None:
        return ""
    parts = ", ".join(f"{round(100 * lost[name], 1) + 0.0:.1f} {what}" for name, what in _LOST)
    below = "; it is below chance" if accuracy < result["chance"] - 1e-9 else ""
    standing = result.get("standing")  # of a relation; a ranking shares its confidence over the list
    new_data = f"; {relation_on_new_data(standing, result['evaluated_on'], accuracy)}" if standing else ""
    alone = result.get("accuracy_without_map")
    without = "" if alone is None else f"Without the map {percent(alone)}: {WITHOUT_MAP}. "
    return (
        f"Transferred accuracy {percent(accuracy)} (chance {percent(result['chance'])}{below}{new_data}). {without}"
        f"Points lost: {parts}. Guessing costs {number(result['log_n_classes'])} nats."
    )


def certificate_in_words(result: Mapping[str, Any]) -> str:
    """Say what is bounded, on which rows, and why."""
    mapped = "" if result["solver"] == "alternating" and result["ridge"] is None else " by the fitted map"
    loss = f" of {number(result['transferred_loss'])} nats"
    if result["transferred_loss"] is None:
        loss = " that is not known, for want of labels"
    source, target = result["reference"], result["target"]
    if source == OWN_HALF:
        source, target = f"one half of {target}", "the other half"
    claim = (
        f"The classifier trained on {source}, transferred to {target}{mapped}, has a mean loss"
        f"{loss}, {MEASURED_ON[result['evaluated_on']]}. "
        f"{'The bound on it' if result['certified'] else 'The estimate'} is {number(result['bound'])} nats."
    )
    blocks = (
        "" if result["exact_transport"] else " The transport was solved in blocks: feasible, so a little too large."
    )
    scope = " The bound holds on these rows and says nothing about others." * result["certified"]
    return f"{claim} {result['certificate']}{blocks}{scope}"
