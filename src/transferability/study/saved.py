"""Rankings of stored results: what was computed once, perhaps by several processes, shown as if computed now."""

from __future__ import annotations

import base64
import logging
from typing import Any

import numpy as np

from transferability._array import BoolArray, FloatArray, IntArray
from transferability._criteria import BOUND, TRANSFERRED_ACCURACY, TRANSFERRED_LOSS, Quantity
from transferability._schema import check_shape
from transferability.pipeline.measure import score_columns
from transferability.ranking.base_encoder import base_encoder_of
from transferability.ranking.entry import EncoderCost, LinearProbe, Ranked, Skipped
from transferability.ranking.result import Ranking
from transferability.ranking.store import StoredResult
from transferability.relatedness.results.summary import RelatednessSummary
from transferability.relatedness.results.visual_summary import VisualSummary
from transferability.report.records import check_points, check_result
from transferability.report.shapes import DETAIL, ENTRY
from transferability.study.config import Study

__all__ = ["is_readable", "pack_entry", "rankings_of", "unpack_entry"]

_log = logging.getLogger(__name__)

_STORED_AS: dict[Quantity, str] = {TRANSFERRED_ACCURACY: "?", TRANSFERRED_LOSS: "<f4", BOUND: "<f4"}
_ROWS = "<i4"
_RESULT = {
    "target": str,
    "references": [str],
    "entries": [{**ENTRY, "details": (None, DETAIL), "per_sample": dict.fromkeys(_STORED_AS, (str, None))}],
    "skipped": [{"encoder": str, "reason": str}],
    "made": {str: object},
}


def pack_entry(entry: Ranked) -> dict[str, Any]:
    """Return an entry of a ranking as JSON values from which `unpack_entry` makes it again."""
    result = entry.relatedness
    return entry.to_dict() | {
        "details": None if result.details is None else result.details.to_dict(),
        # What standings are made of.
        "per_sample": {name: _pack(entry.per_sample(name), dtype) for name, dtype in _STORED_AS.items()},
        "first_copies": _pack(result.first_copies, _ROWS),
    }


def unpack_entry(packed: dict[str, Any]) -> Ranked:
    """Return the entry that `pack_entry` was given, with the summary of its relatedness."""
    parts = {name: _unpack(packed["per_sample"][name], dtype) for name, dtype in _STORED_AS.items()}
    summary = RelatednessSummary.from_dict(
        packed["relatedness"],
        details=None if packed["details"] is None else VisualSummary.from_dict(packed["details"]),
        bound_per_sample=parts[BOUND],
        transferred_losses=parts[TRANSFERRED_LOSS],
        transferred_correct=parts[TRANSFERRED_ACCURACY],
        first_copies=_unpack(packed.get("first_copies"), _ROWS),
    )
    trained = packed.get("probe")
    return Ranked(
        packed["encoder"],
        packed["n_parameters"],
        summary,
        packed["scores"],
        packed["notes"],
        packed["seconds"],
        packed.get("cache_keys", ()),
        None if trained is None else LinearProbe(**trained),
        EncoderCost.from_dict(packed.get("cost")),
        packed.get("identifier"),
        packed.get("fine_tunable"),
        base if (base := base_encoder_of(packed)) != packed["encoder"] else None,
        packed.get("layer"),
        packed.get("model_hash"),
    )


def is_readable(found: StoredResult) -> bool:
    """Tell whether a stored result has all that a ranking is made of; what has not is computed again."""
    try:
        check_shape(found.result, {"reason": str} if found.failed else _RESULT)
        for entry in () if found.failed else found.result["entries"]:
            check_result(entry["relatedness"], "relatedness")
            check_points(entry["details"], "details")
            unpack_entry(entry)
    except ValueError as error:
        _log.warning("the result of %r on %r counts as not there: %s", found.encoder, found.target, error)
        return False
    return True


def _pack(values: FloatArray | BoolArray | IntArray | None, dtype: str) -> str | None:
    """Return thousands of numbers as text of one or four bytes each, not twenty."""
    return None if values is None else base64.b64encode(values.astype(dtype).tobytes()).decode()


def _unpack(text: str | None, dtype: str) -> Any:
    if text is None:
        return None
    values = np.frombuffer(base64.b64decode(text, validate=True), dtype)
    if not np.isfinite(values).all():
        message = "a part of a sample is not finite"
        raise ValueError(message)
    return values


def rankings_of(
    study: Study, results: dict[tuple[str, str], StoredResult], criterion: str | None = None
) -> list[Ranking]:
    """Return a ranking for each target of which there are results.

    Parameters
    ----------
    study : Study
    results : dict of (encoder, target) to StoredResult
        As `run_study` returns them.
    criterion : str, optional
        What to sort by, as in `rank`; the default is chosen for each target.

    Raises
    ------
    UnknownNameError
        If there is no score of that name.
    OptionError
        If it is "transferred_accuracy" or "transferred_loss", and a target has no labels or no samples.
    """
    columns = score_columns(study.scores, criterion)
    rankings = []
    for target in study.targets:
        found = [(encoder, results[encoder, target]) for encoder in study.encoders if (encoder, target) in results]
        skipped = [Skipped(encoder, each.result["reason"]) for encoder, each in found if each.failed]
        done = [each.result for _, each in found if not each.failed]
        entries = [unpack_entry(packed) for cell in done for packed in cell["entries"]]
        skipped += [Skipped(**each) for cell in done for each in cell["skipped"]]
        if entries:
            first = done[0]
            rankings.append(
                Ranking.sort(entries, skipped, criterion, columns, first["target"], first["references"], first["made"])
            )
    return rankings
