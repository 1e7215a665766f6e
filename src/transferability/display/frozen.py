"""An encoder that could not be fine-tuned, and whose frozen features do better than the best of those that were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from transferability.display.formats import percent

__all__ = ["FrozenEncoder", "better_frozen", "confirmed_row"]


class FrozenEncoder(NamedTuple):
    """An encoder to take as it is.

    Attributes
    ----------
    encoder : str
        Its row in the ranking.
    accuracy : float
        Of the linear probe.
    in_words : str
        One sentence, with the accuracy.
    """

    encoder: str
    accuracy: float
    in_words: str


def confirmed_row(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the entry of the most accurate encoder after fine-tuning; None where none was fine-tuned.

    Parameters
    ----------
    record : mapping
        `Ranking.to_dict()`.
    """
    confirmation = record.get("confirmation") or {}
    tuned = next((each for each in confirmation.get("entries", ()) if each["encoder"] == confirmation["best"]), None)
    row = None if tuned is None else tuned.get("ranked_as") or tuned["encoder"]
    return next((entry for entry in record["ranking"] if entry["encoder"] == row), None)


def better_frozen(record: Mapping[str, Any]) -> FrozenEncoder | None:
    """Return the best encoder that could not be fine-tuned, where its linear probe beats every fine-tuned encoder.

    Its probe is compared with the accuracy of `confirmation.best`. Encoders without a probe, and those that could have
    been fine-tuned and were not among the first, are not compared.

    Parameters
    ----------
    record : mapping
        `Ranking.to_dict()`.
    """
    best = confirmed_row(record)
    if best is None:
        return None
    confirmation = record["confirmation"]
    least = max(
        next(each["accuracy"] for each in confirmation["entries"] if each["encoder"] == confirmation["best"]),
        best["relatedness"].get("chance") or 0.0,
    )
    probed = [
        (entry["probe"]["accuracy"], entry)
        for entry in _untuned(record, confirmation)
        if entry.get("probe") is not None
    ]
    accuracy, found = max(probed, key=lambda pair: pair[0], default=(0.0, None))
    if found is None or accuracy <= least:
        return None
    why = "cannot" if found.get("fine_tunable") is False else "could not"
    rows = " of all rows, in folds" if found["relatedness"]["evaluated_on"] == "folds" else ""
    said = f"{found['encoder']} {why} be fine-tuned; a linear classifier on its features is right in "
    said += f"{percent(accuracy)}{rows}, more than that: take it as it is."
    return FrozenEncoder(found["encoder"], accuracy, said)


def _untuned(record: Mapping[str, Any], confirmation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of encoders that cannot be fine-tuned, by kind or as was tried; not other names of models."""
    tuned, failed = set[str](), set[str]()
    for each in confirmation["entries"]:
        names = {each["encoder"], each.get("ranked_as") or each["encoder"]}
        (failed if each["accuracy"] is None else tuned).update(names)
    entries = [(entry.get("base_encoder") or entry["encoder"], entry) for entry in record["ranking"]]
    models = {entry.get("model_hash") for name, entry in entries if name in tuned} - {None}
    return [
        entry
        for name, entry in entries
        if (entry.get("fine_tunable") is False or failed & {name, entry["encoder"]})
        and name not in tuned
        and entry.get("model_hash") not in models
    ]
