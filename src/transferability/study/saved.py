"""Rankings of stored results: what was computed once, perhaps by several processes, shown as if computed now."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from transferability.pipeline.measure import score_columns
from transferability.ranking.result import Ranked, Ranking, Skipped
from transferability.ranking.store import StoredResult
from transferability.study.config import Study

__all__ = ["pack_entry", "rankings_of", "unpack_entry"]


@dataclass(frozen=True)
class SavedRelatedness:
    """The numbers of a `Relatedness`, by the names they have there, without the arrays of its transformation."""

    record: dict[str, Any]
    details: Any  # has `to_dict`; None where there are none
    certificate_terms: Any  # has `per_point`; None where it is not known

    def __getattr__(self, name: str) -> Any:
        try:
            return self.record[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, those of the `Relatedness`."""
        return self.record


def pack_entry(entry: Ranked) -> dict[str, Any]:
    """Return an entry of a ranking as JSON values from which `unpack_entry` makes it again."""
    result = entry.relatedness
    per_point = getattr(result.certificate_terms, "per_point", None)
    return entry.to_dict() | {
        "details": None if result.details is None else result.details.to_dict(),
        # Thousands of numbers: four bytes each, not twenty.
        "per_point": None if per_point is None else base64.b64encode(per_point.astype("<f4").tobytes()).decode(),
    }


def unpack_entry(packed: dict[str, Any]) -> Ranked:
    """Return the entry that `pack_entry` was given, but for the arrays of the transformation."""
    details, per_point = packed["details"], packed["per_point"]
    saved = SavedRelatedness(
        packed["relatedness"],
        None if details is None else SimpleNamespace(to_dict=lambda: details),
        None
        if per_point is None
        else SimpleNamespace(per_point=np.frombuffer(base64.b64decode(per_point), "<f4").astype(np.float64)),
    )
    return Ranked(
        packed["encoder"], packed["n_parameters"], saved, packed["scores"], packed["notes"], packed["seconds"]
    )


def rankings_of(study: Study, results: dict[tuple[str, str], StoredResult], criterion: str = "bound") -> list[Ranking]:
    """Return a ranking for each target of which there are results.

    Parameters
    ----------
    study : Study
    results : dict of (encoder, target) to StoredResult
        As `run_study` returns them.
    criterion : str, default="bound"
        What to sort by.

    Raises
    ------
    UnknownNameError
        If there is no score of that name.
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
