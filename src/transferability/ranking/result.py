"""A ranking of encoders for one target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Ranked", "Ranking", "ScoreColumn", "Skipped"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ScoreColumn:
    """A score that takes part in a ranking."""

    name: str
    higher_is_better: bool


@dataclass(frozen=True, eq=False)
class Ranked:
    """One encoder of a ranking."""

    encoder: str
    n_parameters: int | None
    relatedness: Any  # a Relatedness; rankings must not depend on how it came about, only on its numbers
    scores: dict[str, float]
    notes: dict[str, str]  # of scores that say nothing here, or were computed on guessed labels: why
    seconds: float

    def value(self, criterion: str) -> float:
        """Return what the ranking sorts by; nan where it is not known."""
        return float(self.relatedness.bound) if criterion == "bound" else self.scores.get(criterion, math.nan)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "encoder": self.encoder,
            "n_parameters": self.n_parameters,
            "seconds": self.seconds,
            "scores": self.scores,
            "notes": self.notes,
            "relatedness": self.relatedness.to_dict(),
        }


@dataclass(frozen=True)
class Skipped:
    """An encoder that could not be ranked, and why."""

    encoder: str
    reason: str


@dataclass(frozen=True, eq=False)
class Ranking:
    """Encoders, best first, by `criterion`."""

    target: str
    references: tuple[str, ...]
    criterion: str
    entries: tuple[Ranked, ...]
    skipped: tuple[Skipped, ...]
    columns: tuple[ScoreColumn, ...]

    @classmethod
    def sort(
        cls,
        entries: Sequence[Ranked],
        skipped: Sequence[Skipped],
        criterion: str,
        columns: Sequence[ScoreColumn],
        target: str,
        references: Sequence[str],
    ) -> Ranking:
        """Order entries by the criterion, best first; those without a value come last."""
        higher = any(column.name == criterion and column.higher_is_better for column in columns)

        def key(entry: Ranked) -> tuple[bool, float]:
            value = entry.value(criterion)
            return (math.isnan(value), -value if higher else value)

        return cls(
            target, tuple(references), criterion, tuple(sorted(entries, key=key)), tuple(skipped), tuple(columns)
        )

    @property
    def best(self) -> Ranked:
        """The encoder to take."""
        return self.entries[0]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with the version of their layout."""
        return {
            "schema": SCHEMA_VERSION,
            "target": self.target,
            "references": list(self.references),
            "criterion": self.criterion,
            "ranking": [entry.to_dict() for entry in self.entries],
            "skipped": [{"encoder": each.encoder, "reason": each.reason} for each in self.skipped],
        }
