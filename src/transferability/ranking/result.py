"""A ranking of encoders for one target."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from transferability._criteria import (
    TRANSFERRED_ACCURACY,
    Quantity,
    quantity_of,
)
from transferability._validate import check_choice
from transferability.display.columns import column_named, describe_columns
from transferability.display.formats import amount
from transferability.display.race import how_many_left
from transferability.display.tables import agreement_table, front_table, matrix_table, ranking_table, terms_table
from transferability.errors import TaskError, UnknownNameError, nearest_names, require_extra
from transferability.ranking.confidence import Parts, can_be_best, intervals_of, without_copies
from transferability.ranking.confirmation import Confirmation
from transferability.ranking.entry import EncoderCost as EncoderCost
from transferability.ranking.entry import LinearProbe as LinearProbe
from transferability.ranking.entry import Ranked as Ranked
from transferability.ranking.entry import ScoreColumn as ScoreColumn
from transferability.ranking.entry import Skipped as Skipped
from transferability.ranking.expectations import expectations
from transferability.ranking.expected import ExpectedAccuracy, KnownAccuracy
from transferability.ranking.order import in_order
from transferability.ranking.records import records_of
from transferability.statistics.intervals import ConfidenceInterval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["EncoderCost", "LinearProbe", "Ranked", "Ranking", "ScoreColumn", "Skipped"]

SCHEMA_VERSION = 1
_KINDS = ("front", "terms", "agreement", "references")


@dataclass(frozen=True, eq=False, repr=False)
class Ranking:
    """Encoders, best first, by `criterion`.

    It has a length, is iterated over and indexed by place or by the name of an encoder.

    Attributes
    ----------
    target : str
    references : tuple of str
    criterion : str
        What it is sorted by: the key of a column or the name of a score.
    entries : tuple of Ranked
    skipped : tuple of Skipped
    columns : tuple of ScoreColumn
        The scores that were computed.
    provenance : dict
        How it was made: versions, settings, data; JSON values.
    confirmation : Confirmation or None
        What fine-tuning the first encoders gave, where that was asked for.
    known : tuple of KnownAccuracy or None
        Pairs that expected accuracies rest on; by default the published ones, which are of pictures.
    """

    target: str
    references: tuple[str, ...]
    criterion: str
    entries: tuple[Ranked, ...]
    skipped: tuple[Skipped, ...]
    columns: tuple[ScoreColumn, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    confirmation: Confirmation | None = None
    known: tuple[KnownAccuracy, ...] | None = None

    @classmethod
    def sort(
        cls,
        entries: Sequence[Ranked],
        skipped: Sequence[Skipped],
        criterion: str | None,
        columns: Sequence[ScoreColumn],
        target: str,
        references: Sequence[str],
        provenance: dict[str, Any] | None = None,
    ) -> Ranking:
        """Order entries by the criterion, best first; those without a value come last.

        None means "transferred_accuracy" where every entry knows it of rows that nothing was fitted on, else "bound".
        Accuracies come in steps of one over the number of samples: ties go to the smaller transferred loss.

        Raises
        ------
        OptionError
            If no entry knows the criterion.
        """
        criterion, ordered = in_order(entries, criterion, columns, target)
        return cls(target, tuple(references), criterion, ordered, tuple(skipped), tuple(columns), provenance or {})

    @property
    def made(self) -> dict[str, Any]:
        """The former name of `provenance`."""
        warnings.warn("`made` is called `provenance` now.", DeprecationWarning, stacklevel=2)
        return self.provenance

    @property
    def best(self) -> Ranked:
        """The most accurate of those that were fine-tuned (one that cannot be may do better as it is), or the first."""
        confirmed = None if self.confirmation is None else self.confirmation.best
        return self.entries[0] if confirmed is None else self[confirmed.row]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self.entries)

    @overload
    def __getitem__(self, which: int | str) -> Ranked: ...
    @overload
    def __getitem__(self, which: slice) -> tuple[Ranked, ...]: ...
    def __getitem__(self, which: int | str | slice) -> Ranked | tuple[Ranked, ...]:
        """Return an entry by its place from 0 or by the name of its encoder, or several by a slice."""
        if isinstance(which, str):
            for entry in self.entries:
                if entry.encoder == which:
                    return entry
            known = [entry.encoder for entry in self.entries]
            message = f"no encoder of the ranking is called {which!r}. {nearest_names(which, known)}"
            raise UnknownNameError(message)
        return self.entries[which]

    def __repr__(self) -> str:
        shown = [
            f"{place}. {entry.encoder}: {amount(self.quantity, getattr(entry.relatedness, self.quantity))}"
            for place, entry in enumerate(self.entries[:3], start=1)
        ]
        more = f", … {len(self) - 3} more" if len(self) > 3 else ""
        counted = "1 encoder" if len(self) == 1 else f"{len(self)} encoders"
        left = how_many_left(self.provenance.get("race"))
        raced = f"; {left}" if left else ""
        return f"Ranking({self.target!r}, {counted} by {self.criterion}: {', '.join(shown)}{more}{raced})"

    @property
    def quantity(self) -> Quantity:
        """What it says of new data: what it is sorted by, else the transferred accuracy, else the bound."""
        known = any(not math.isnan(entry.value(TRANSFERRED_ACCURACY)) for entry in self.entries)
        return quantity_of(self.criterion, accuracy_known=known)

    @cached_property
    def standings(self) -> list[ConfidenceInterval | None]:
        """Where each encoder's `quantity` lies on new data: 95 % intervals that hold for the whole list at once."""
        return self.intervals(self.quantity)

    def intervals(self, quantity: Quantity) -> list[ConfidenceInterval | None]:
        """Return where a quantity lies on new data, for each encoder: 95 % intervals that hold for the list at once."""
        return intervals_of(self._parts(quantity), quantity, self._n_classes, self._n_classifiers)

    @cached_property
    def p_best(self) -> list[float | None]:
        """P-value of "this encoder is the best of the list on new data", by `quantity`: above 0.05 it can be."""
        return can_be_best(self._parts(self.quantity), self.quantity, self._n_classes, self._n_classifiers)

    def _parts(self, quantity: Quantity) -> Parts:
        """Return each encoder's parts of a quantity, of rows that are no copies; None where it is of fitting rows."""
        parts = [entry.per_sample(quantity) if entry.is_held_out else None for entry in self.entries]
        return without_copies(parts, [entry.relatedness.first_copies for entry in self.entries])

    @cached_property
    def expected(self) -> list[ExpectedAccuracy | None]:
        """The accuracy to be expected of each encoder after fine-tuning, with 90 % intervals; None where unknown.

        It is known with a linear probe, of encoders that can be fine-tuned, and of pictures only unless `known` is
        given. Those that `confirmation` fine-tuned have that accuracy, and make the others' intervals narrower.
        """
        probed, data = [entry.probed for entry in self], self.provenance.get("data") or [{}]
        pictures = data[0].get("kind") == "image"
        return expectations(probed, self.confirmation, self.known, pictures=pictures, target=self.target)

    @property
    def _n_classes(self) -> int:
        return len(self.entries[0].relatedness.class_map) if self.entries else 1

    @property
    def _n_classifiers(self) -> int:
        """Each encoder's reference was chosen on these rows, so every reference counts, and who left a race on them."""
        results = [entry.relatedness for entry in self.entries]
        counts = [len(each.references) if each.reference_chosen else 1 for each in results]
        n_left = len(self.provenance.get("race", {}).get("dropped", ()))
        return sum(counts) + n_left * max(counts, default=0)

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The entries as JSON values, best first: what `to_dict` has under "ranking"."""
        return records_of(self)

    def frame(self) -> list[dict[str, Any]]:
        """Return the ranking as a table: one row for each encoder, best first; `pandas.DataFrame` takes it as it is."""
        return ranking_table(self.records, [asdict(each) for each in self.columns])

    def to_pandas(self) -> pd.DataFrame:
        """Return the table of `frame` as a pandas DataFrame.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        frame: pd.DataFrame = require_extra("pandas", "pandas", "`to_pandas`").DataFrame(self.frame())
        return frame

    def plot(
        self, ax: Axes | None = None, *, kind: Literal["front", "terms", "agreement", "references"] = "terms"
    ) -> Axes:
        """Draw the ranking; return the axes. Needs the extra `plot`.

        Parameters
        ----------
        ax : Axes, optional
            Where; by default on a figure of its own.
        kind : {"front", "terms", "agreement", "references"}, default="terms"
            The transferred accuracy against the cost; the three terms of each encoder, stacked, against the losses they
            bound (the paper's Fig. 3); what the ranking is sorted by against the accuracy of a linear classifier
            trained on the target; the bound by encoder and reference.

        Raises
        ------
        TaskError
            For "front" where accuracies or costs are not known.
        """
        from transferability.display import plots

        check_choice(kind, _KINDS, "kind")
        if kind == "front":
            cost, rows = front_table(self.records)
            if cost is None or not rows:
                message = "`kind` must not be 'front' for this ranking: accuracies or costs are not known."
                raise TaskError(message)
            return plots.plot_front(rows, ax, cost=cost.title)
        if kind == "agreement":
            column = column_named(self.criterion, [asdict(each) for each in self.columns])
            assert column is not None  # it is sorted by it
            rows = agreement_table(self.records, column)
            return plots.plot_agreement(rows, ax, criterion=column.title, truth="accuracy of the linear probe")
        named = [(entry.encoder, record["relatedness"]) for entry, record in zip(self, self.records, strict=True)]
        if kind == "references":
            return plots.plot_matrix(matrix_table(named), ax)
        rows = terms_table([record for _, record in named], [name for name, _ in named])
        return plots.plot_terms(rows, ax, target=self.target)

    def report(self, folder: str | os.PathLike[str]) -> Path:
        """Write all results and the report into a folder; return the path of `report.html`.

        Raises
        ------
        MissingExtraError
            If jinja2 is not installed.
        OutputError
            If the folder cannot be written, or holds other files than results.
        """
        require_extra("jinja2", "report", "the HTML report")
        from transferability.report.files import write_records

        place = Path(folder).expanduser()
        write_records(self.to_dict(), self, place)
        return place / "report.html"

    def _repr_html_(self) -> str:
        from transferability.display.notebook import ranking_html

        return ranking_html(self.to_dict())

    def detail_records(self) -> list[dict[str, Any] | None]:
        """Return what a report keeps beside the record: points and samples of each entry."""
        return [detail for entry in self.entries for detail in entry.relatedness.detail_records()]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with the version of their layout; `fields` says what the names in an entry mean."""
        scores = [asdict(column) for column in self.columns]
        return {
            "schema": SCHEMA_VERSION,
            "target": self.target,
            "references": list(self.references),
            "criterion": self.criterion,
            "quantity": self.quantity,
            "ranking": self.records,
            "fields": describe_columns(scores),
            "columns": scores,
            "skipped": [asdict(each) for each in self.skipped],
            "known": None if self.known is None else [each._asdict() for each in self.known],
            "confirmation": None if self.confirmation is None else self.confirmation.to_dict(),
            "made": self.provenance,
        }
