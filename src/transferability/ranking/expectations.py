"""The fine-tuned accuracy to be expected of each encoder of a ranking, with what was fine-tuned of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transferability.ranking.confirmation import Confirmation, Confirmed, whole_name
from transferability.ranking.expected import (
    ExpectedAccuracy,
    KnownAccuracy,
    expected_accuracies,
    published_accuracies,
)

__all__ = ["ProbedEncoder", "expectations", "expectations_of_record"]


class ProbedEncoder(NamedTuple):
    """What is known of a row of a ranking before fine-tuning.

    Attributes
    ----------
    encoder : str
        Name of the row.
    probe : float or None
        Accuracy of the linear probe; None where there is none.
    n_rows : int or None
        That it was measured on, copies counted once; None where unknown.
    fine_tunable : bool or None
        None where only trying tells.
    """

    encoder: str
    probe: float | None
    n_rows: int | None
    fine_tunable: bool | None


def expectations(
    encoders: Sequence[ProbedEncoder],
    confirmation: Confirmation | None,
    known: Sequence[KnownAccuracy] | None,
    *,
    pictures: bool,
    target: str | None = None,
) -> list[ExpectedAccuracy | None]:
    """Return what to expect of each row; None where nothing is known, or the encoder cannot be fine-tuned.

    What is fine-tuned is the whole encoder, so all rows of one, its hidden layers, expect the same.

    Parameters
    ----------
    encoders : sequence of ProbedEncoder
        The rows of a ranking.
    confirmation : Confirmation or None
        Those that it fine-tuned have their accuracy, in each of their rows; the others are expected from them too.
    known : sequence of KnownAccuracy or None
        By default the published pairs, which are of pictures.
    pictures : bool
        Whether the target is of pictures.
    target : str, optional
        Known pairs of this target are left out: it is no other one. Nothing is expected where fewer than two are left.
    """
    if known is None and pictures:
        known = published_accuracies()
    if known is not None:
        known = [pair for pair in known if pair.target != target]
        known = known if len({pair.target for pair in known}) > 1 else None
    tuned = {} if confirmation is None else {each.encoder: each for each in confirmation.entries}
    pairs = () if confirmation is None else _confirmed_pairs(encoders, confirmation)
    found: list[ExpectedAccuracy | None] = []
    trained = _trained(encoders)
    for each in encoders:
        own = tuned.get(each.encoder, tuned.get(whole_name(each.encoder)))
        each = trained[whole_name(each.encoder)]
        if own is not None:
            found.append(_measured(own, confirmation))
        elif each.probe is None or each.fine_tunable is False or known is None:
            found.append(None)
        else:
            n_rows = {} if each.n_rows is None else {"n_rows": each.n_rows}
            found += expected_accuracies([each.probe], known, confirmed=pairs, **n_rows)
    return found


def expectations_of_record(
    record: Mapping[str, Any], confirmation: Confirmation | None
) -> list[ExpectedAccuracy | None]:
    """Return the same of a ranking as JSON values, `Ranking.to_dict()`, and of what was fine-tuned since."""
    encoders = [
        ProbedEncoder(
            each["encoder"], (each.get("probe") or {}).get("accuracy"), each.get("probe_rows"), each.get("fine_tunable")
        )
        for each in record["ranking"]
    ]
    known = record.get("known")
    pairs = None if known is None else tuple(KnownAccuracy(**pair) for pair in known)
    data = (record.get("made") or {}).get("data") or [{}]
    return expectations(
        encoders, confirmation, pairs, pictures=data[0].get("kind") == "image", target=record.get("target")
    )


def _trained(encoders: Sequence[ProbedEncoder]) -> dict[str, ProbedEncoder]:
    """Return for each whole encoder the row whose probe stands for it: of its last layer, as the known pairs are.

    Where only hidden layers were ranked that is the first of its rows.
    """
    rows: dict[str, ProbedEncoder] = {}
    for each in encoders:
        whole = whole_name(each.encoder)
        if each.encoder == whole or whole not in rows:
            rows[whole] = each
    return rows


def _measured(confirmed: Confirmed, confirmation: Confirmation | None) -> ExpectedAccuracy | None:
    """Return the accuracy of an encoder that was fine-tuned, with its interval; None where it could not be."""
    interval = None if confirmation is None else confirmation.intervals[confirmation.entries.index(confirmed)]
    if confirmed.accuracy is None or interval is None:
        return None
    return ExpectedAccuracy(confirmed.accuracy, interval.low, interval.high, 0, 0, measured=True)


def _confirmed_pairs(encoders: Sequence[ProbedEncoder], confirmation: Confirmation) -> tuple[KnownAccuracy, ...]:
    """Return probe and fine-tuned accuracy of those that were fine-tuned; the probe of the last layer where known."""
    trained = _trained(encoders)
    n_test = confirmation.n_different or confirmation.n_test
    pairs = []
    for each in confirmation.entries:
        row = trained.get(each.encoder)
        if each.accuracy is not None and row is not None and row.probe is not None:
            probe_rows = n_test if row.n_rows is None else row.n_rows
            pairs.append(KnownAccuracy(confirmation.target, each.encoder, row.probe, each.accuracy, probe_rows, n_test))
    return tuple(pairs)
