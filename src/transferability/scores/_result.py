"""What a score returns: a number that knows its direction, its range and what went into it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["IterativeResult", "ScoreResult"]


@dataclass(frozen=True)
class ScoreResult:
    """Value of one score.

    Attributes
    ----------
    value : float
        The number; `float(result)` gives it too.
    notes : tuple of str
        What a reader must know to use the number: that it says nothing here, that a subset was taken, and so on.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    lower_bound: ClassVar[float] = -math.inf
    upper_bound: ClassVar[float] = math.inf
    needs: ClassVar[frozenset[str]] = frozenset({"features", "labels"})
    needs_with_targets: ClassVar[frozenset[str] | None] = None

    value: float
    notes: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)

    def __float__(self) -> float:
        return self.value

    def with_note(self, note: str) -> ScoreResult:
        """Return the result with one more note."""
        return dataclasses.replace(self, notes=(*self.notes, note))

    def to_dict(self) -> dict[str, Any]:
        """Return name, direction and all fields as plain Python values for JSON."""
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        fields["notes"] = list(self.notes)
        return {"name": self.name, "higher_is_better": self.higher_is_better, **fields}


@dataclass(frozen=True)
class IterativeResult(ScoreResult):
    """Value of a score that is found by iteration.

    Attributes
    ----------
    converged : bool
        Whether the stated tolerance was reached.
    iterations : int
        How many iterations were made.
    """

    converged: bool
    iterations: int
