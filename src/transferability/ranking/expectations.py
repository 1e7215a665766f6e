"""The fine-tuned accuracy to be expected of each encoder of a ranking, with what was fine-tuned of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from transferability.display.formats import percent
from transferability.ranking.base_encoder import base_encoder_of
from transferability.ranking.confirmation import Confirmation
from transferability.ranking.conformal import CONFIDENCE
from transferability.ranking.expected import ExpectedAccuracy, expected_accuracies, surprises
from transferability.ranking.known_accuracies import N_ROWS, KnownAccuracy, published_accuracies

__all__ = ["ProbedEncoder", "expectations", "expectations_of_record", "too_few_notes", "with_surprises"]


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
    base_encoder : str or None
        The encoder that it is a layer of; None where it is the encoder itself.
    model_hash : str or None
        The same of two names of one model; None where unknown.
    """

    encoder: str
    probe: float | None
    n_rows: int | None
    fine_tunable: bool | None
    base_encoder: str | None = None
    model_hash: str | None = None

    @property
    def whole(self) -> str:
        """Name of the whole encoder."""
        return self.base_encoder or self.encoder

    @property
    def model(self) -> str:
        """What is the same of all layers and of all names of one model."""
        return self.model_hash or self.whole


def expectations(
    encoders: Sequence[ProbedEncoder],
    confirmation: Confirmation | None,
    known: Sequence[KnownAccuracy] | None,
    *,
    pictures: bool,
    target: str | None = None,
) -> list[ExpectedAccuracy | None]:
    """Return what to expect of each row; None where nothing is known, or the encoder cannot be fine-tuned.

    What is fine-tuned is the whole encoder, so all rows of one, its hidden layers and other names of it, expect the
    same.

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
    known = _usable(known, pictures=pictures, target=target)
    measured = {} if confirmation is None else _measured(encoders, confirmation)
    pairs = () if confirmation is None else _confirmed_pairs(encoders, confirmation)
    trained = _trained(encoders)
    found: list[ExpectedAccuracy | None] = [None] * len(encoders)
    asked: list[int] = []
    for place, each in enumerate(encoders):
        row = trained[each.model]
        if each.model in measured:
            found[place] = measured[each.model]
        elif row.probe is not None and row.fine_tunable is not False:
            asked.append(place)
    if known is not None and asked:
        rows = [trained[encoders[place].model] for place in asked]
        n_rows = [N_ROWS if row.n_rows is None else row.n_rows for row in rows]
        probes = [row.probe for row in rows if row.probe is not None]
        for place, expected in zip(
            asked, expected_accuracies(probes, known, confirmed=pairs, n_rows=n_rows), strict=True
        ):
            found[place] = expected
    return found


def _usable(known: Sequence[KnownAccuracy] | None, *, pictures: bool, target: str | None) -> list[KnownAccuracy] | None:
    """Return the pairs of other targets, by default the published ones; None where fewer than two targets are left."""
    if known is None:
        known = published_accuracies() if pictures else ()
    others = [pair for pair in known if pair.target != target]
    return others if len({pair.target for pair in others}) > 1 else None


def too_few_notes(known: Sequence[KnownAccuracy] | None, target: str) -> tuple[str, ...]:
    """Say that a user's known pairs are of too few other targets for anything to be expected on this one."""
    others = sorted({pair.target for pair in known or ()} - {target})
    if known is None or len(others) > 1:
        return ()
    known_of = repr(others[0]) if others else "no other target"
    return (
        f"no accuracy after fine-tuning is expected on {target!r}: the known pairs are of {known_of} beside it, and "
        "two targets are needed. Validate on another one.",
    )


def expectations_of_record(
    record: Mapping[str, Any], confirmation: Confirmation | None
) -> list[ExpectedAccuracy | None]:
    """Return the same of a ranking as JSON values, `Ranking.to_dict()`, and of what was fine-tuned since."""
    encoders, known, pictures, target = _of_record(record)
    return expectations(encoders, confirmation, known, pictures=pictures, target=target)


def with_surprises(record: Mapping[str, Any], confirmation: Confirmation) -> Confirmation:
    """Return a confirmation with a note on each encoder that is far from what was expected of it.

    Parameters
    ----------
    record : mapping
        The ranking, `Ranking.to_dict()`.
    confirmation : Confirmation
    """
    encoders, known, pictures, target = _of_record(record)
    usable = _usable(known, pictures=pictures, target=target)
    if usable is None:
        return confirmation
    notes = {}
    for pair, expected in surprises(_confirmed_pairs(encoders, confirmation), usable):
        notes[pair.encoder] = (
            f"fine-tuned, it is right in {percent(pair.fine_tuned)}, and {percent(expected.low)} to "
            f"{percent(expected.high)} were expected from its linear probe ({percent(pair.probe)} in the ranking): "
            "either its training went wrong, or this target is unlike the known ones. "
            "Intervals of the others allow for both."
        )
    entries = (
        replace(each, note=f"{each.note} {notes[each.encoder]}".strip()) if each.encoder in notes else each
        for each in confirmation.entries
    )
    return replace(confirmation, entries=tuple(entries))


def _of_record(
    record: Mapping[str, Any],
) -> tuple[list[ProbedEncoder], tuple[KnownAccuracy, ...] | None, bool, str | None]:
    encoders = [
        ProbedEncoder(
            each["encoder"],
            (each.get("probe") or {}).get("accuracy"),
            each.get("probe_rows"),
            each.get("fine_tunable"),
            base_encoder_of(each),
            each.get("model_hash"),
        )
        for each in record["ranking"]
    ]
    known = record.get("known")
    pairs = None if known is None else tuple(KnownAccuracy(**pair) for pair in known)
    data = (record.get("made") or {}).get("data") or [{}]
    return encoders, pairs, data[0].get("kind") == "image", record.get("target")


def _trained(encoders: Sequence[ProbedEncoder]) -> dict[str, ProbedEncoder]:
    """Return for each model the row whose probe stands for it: of its last layer, as the known pairs are.

    Where only hidden layers were ranked that is the first of its rows.
    """
    rows: dict[str, ProbedEncoder] = {}
    for each in encoders:
        known = rows.get(each.model)
        if known is None or (each.encoder == each.whole and known.encoder != known.whole):
            rows[each.model] = each
    return rows


def _models(encoders: Sequence[ProbedEncoder]) -> dict[str, str]:
    """Return the model of each name of a whole encoder."""
    return {each.whole: each.model for each in encoders}


def _measured(encoders: Sequence[ProbedEncoder], confirmation: Confirmation) -> dict[str, ExpectedAccuracy | None]:
    """Return accuracies with 90 % intervals, by model; None of what could not be fine-tuned."""
    models = _models(encoders)
    found: dict[str, ExpectedAccuracy | None] = {}
    for each, interval in zip(confirmation.entries, confirmation.intervals_of(CONFIDENCE), strict=True):
        model = models.get(each.encoder, each.encoder)
        if each.accuracy is None or interval is None:
            found.setdefault(model, None)
        elif found.get(model) is None:
            found[model] = ExpectedAccuracy(each.accuracy, interval.low, interval.high, 0, 0, measured=True)
    return found


def _confirmed_pairs(encoders: Sequence[ProbedEncoder], confirmation: Confirmation) -> tuple[KnownAccuracy, ...]:
    """Return probe and fine-tuned accuracy of the models that were fine-tuned, each once.

    The probe is that of the last layer where it is known.
    """
    trained, models = _trained(encoders), _models(encoders)
    n_test = confirmation.n_different or confirmation.n_test
    pairs: dict[str, KnownAccuracy] = {}
    for each in confirmation.entries:
        model = models.get(each.encoder, each.encoder)
        row = trained.get(model)
        if each.accuracy is not None and row is not None and row.probe is not None and model not in pairs:
            probe_rows = n_test if row.n_rows is None else row.n_rows
            pairs[model] = KnownAccuracy(
                confirmation.target, each.encoder, row.probe, each.accuracy, probe_rows, n_test
            )
    return tuple(pairs.values())
