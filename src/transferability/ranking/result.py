"""A ranking of encoders for one target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from transferability._criteria import (
    BOUND,
    HIGHER_IS_BETTER,
    TRANSFERRED,
    TRANSFERRED_ACCURACY,
    TRANSFERRED_LOSS,
    Quantity,
    quantity_of,
    unknown,
)
from transferability._validate import check_choice
from transferability.ranking.confidence import can_be_best, intervals_of
from transferability.ranking.intervals import ConfidenceInterval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferability._array import BoolArray, FloatArray

__all__ = ["LinearProbe", "Ranked", "Ranking", "ScoreColumn", "Skipped"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ScoreColumn:
    """A score that takes part in a ranking."""

    name: str
    higher_is_better: bool


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier trained on the target's features, its ridge chosen by folds, on rows it has not seen."""

    accuracy: float
    loss: float  # nats


@dataclass(frozen=True, eq=False)
class Ranked:
    """One encoder of a ranking."""

    encoder: str
    n_parameters: int | None
    relatedness: Any  # a Relatedness; rankings must not depend on how it came about, only on its numbers
    scores: dict[str, float]
    notes: dict[str, str]  # of scores that say nothing here, or were computed on guessed labels: why
    seconds: float
    cache_keys: Sequence[dict[str, str]] = ()  # data and key of the features, where they are kept
    probe: LinearProbe | None = None  # None without labels or samples of the target

    def value(self, criterion: str) -> float:
        """Return what the ranking sorts by; nan where it is not known.

        That is "transferred_accuracy", "transferred_loss", "bound" or a score.
        """
        if criterion in HIGHER_IS_BETTER:
            value = getattr(self.relatedness, criterion)
            return math.nan if value is None else float(value)
        return self.scores.get(criterion, math.nan)

    def per_sample(self, quantity: Quantity) -> FloatArray | BoolArray | None:
        """Return each target sample's part of a quantity, shape (n,); their mean is the quantity. None where unknown.

        Of the transferred accuracy: whether the transferred classifier is right on the sample.
        """
        result = self.relatedness
        parts: FloatArray | BoolArray | None
        if quantity == BOUND:
            parts = result.certificate_terms.per_point
        else:
            parts = result.transferred_losses if quantity == TRANSFERRED_LOSS else result.transferred_correct
        return parts

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "encoder": self.encoder,
            "n_parameters": self.n_parameters,
            "seconds": self.seconds,
            "scores": self.scores,
            "notes": self.notes,
            "cache_keys": list(self.cache_keys),
            "probe": None if self.probe is None else asdict(self.probe),
            "relatedness": self.relatedness.to_dict(),
        }


@dataclass(frozen=True)
class Skipped:
    """An encoder that could not be ranked, and why."""

    encoder: str
    reason: str


@dataclass(frozen=True, eq=False)
class Ranking:
    """Encoders, best first, by `criterion`.

    That is "transferred_accuracy", "transferred_loss", "bound" or the name of a score.
    """

    target: str
    references: tuple[str, ...]
    criterion: str
    entries: tuple[Ranked, ...]
    skipped: tuple[Skipped, ...]
    columns: tuple[ScoreColumn, ...]
    made: dict[str, Any] = field(default_factory=dict)  # how it was made: versions, settings, data; JSON values

    @classmethod
    def sort(
        cls,
        entries: Sequence[Ranked],
        skipped: Sequence[Skipped],
        criterion: str | None,
        columns: Sequence[ScoreColumn],
        target: str,
        references: Sequence[str],
        made: dict[str, Any] | None = None,
    ) -> Ranking:
        """Order entries by the criterion, best first; those without a value come last.

        None means "transferred_accuracy" where every entry knows it, and "bound" where one does not. Accuracies come in
        steps of one over the number of samples: of two that are the same, the smaller transferred loss comes first.

        Raises
        ------
        OptionError
            If the criterion is "transferred_accuracy" or "transferred_loss" and no entry knows it.
        """
        if criterion is None:
            known = not any(math.isnan(entry.value(TRANSFERRED_ACCURACY)) for entry in entries)
            criterion = TRANSFERRED_ACCURACY if known else BOUND
        elif criterion in TRANSFERRED and all(math.isnan(entry.value(criterion)) for entry in entries):
            raise unknown(criterion, target)
        directions = {column.name: column.higher_is_better for column in columns} | HIGHER_IS_BETTER
        higher = directions.get(criterion, False)

        def key(entry: Ranked) -> tuple[bool, float, float]:
            value = entry.value(criterion)
            unless_decided = entry.value(TRANSFERRED_LOSS) if criterion == TRANSFERRED_ACCURACY else 0.0
            return (math.isnan(value), -value if higher else value, unless_decided)

        ordered = tuple(sorted(entries, key=key))
        return cls(target, tuple(references), criterion, ordered, tuple(skipped), tuple(columns), made or {})

    @property
    def best(self) -> Ranked:
        """The encoder to take."""
        return self.entries[0]

    @cached_property
    def standings(self) -> list[ConfidenceInterval | None]:
        """Where each encoder's value lies on new data: 95 % intervals that hold for the whole list at once.

        Of the transferred accuracy or loss where the ranking is sorted by it, else of the bound.
        """
        return intervals_of(*self._measured)

    @cached_property
    def p_best(self) -> list[float | None]:
        """P-value of "this encoder is the best of the list on new data": those above 0.05 can be the best.

        By the transferred accuracy or loss where the ranking is sorted by it, else by the bound.
        """
        return can_be_best(*self._measured)

    @property
    def _measured(self) -> tuple[list[FloatArray | BoolArray | None], Quantity, int, int]:
        """Parts of the quantity by row, the quantity, the number of classes, and of classifiers that were measured."""
        quantity = quantity_of(self.criterion)
        parts = [entry.per_sample(quantity) for entry in self.entries]
        # Each encoder's reference was chosen on these rows, so every reference counts.
        n_classifiers = sum(max(1, len(entry.relatedness.panel)) for entry in self.entries)
        n_classes = len(self.entries[0].relatedness.class_map) if self.entries else 1
        return parts, quantity, n_classes, n_classifiers

    def frame(self) -> list[dict[str, Any]]:
        """Return the ranking as a table: one row for each encoder, best first; `pandas.DataFrame` takes it as it is."""
        from transferability.report.tables import ranking_table

        return ranking_table(self)

    def plot(self, ax: Axes | None = None, *, kind: Literal["terms", "agreement", "references"] = "terms") -> Axes:
        """Draw the ranking; return the axes. Needs the extra `plot`.

        Parameters
        ----------
        ax : Axes, optional
            Where; by default on a figure of its own.
        kind : {"terms", "agreement", "references"}, default="terms"
            The three terms of each encoder, stacked, against the losses they bound (the paper's Fig. 3); what the
            ranking is sorted by against the accuracy of a linear classifier trained on the target; the bound by encoder
            and reference.
        """
        from transferability.report import plots

        check_choice(kind, ("terms", "agreement", "references"), "kind")
        if kind == "agreement":
            return plots.plot_agreement(self, ax=ax)
        if kind == "references":
            return plots.plot_matrix(self, ax=ax)
        results = [entry.relatedness for entry in self.entries]
        return plots.plot_terms(results, ax, names=[entry.encoder for entry in self.entries])

    def _repr_html_(self) -> str:
        from transferability.report.notebook import ranking_html

        return ranking_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with the version of their layout."""
        return {
            "schema": SCHEMA_VERSION,
            "target": self.target,
            "references": list(self.references),
            "criterion": self.criterion,
            "ranking": [
                entry.to_dict() | {"standing": None if each is None else asdict(each) | {"p_best": p_best}}
                for entry, each, p_best in zip(self.entries, self.standings, self.p_best, strict=True)
            ],
            "columns": [asdict(column) for column in self.columns],
            "skipped": [asdict(each) for each in self.skipped],
            "made": self.made,
        }
