"""What a sample of a race says of each encoder: parts of the rows, which a paired test compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import IntArray
from transferability._criteria import BOUND, QUANTITIES, TRANSFERRED_ACCURACY, Quantity
from transferability.errors import TransferabilityError
from transferability.pipeline.cluster import spread
from transferability.pipeline.data import Progress, Split
from transferability.pipeline.extraction import Extraction, Loaded, layer_encoders, load
from transferability.pipeline.measure import relatedness_of
from transferability.pipeline.race_samples import RaceSample
from transferability.ranking.confidence import without_copies
from transferability.ranking.race import Sample
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.results.result import Relatedness
from transferability.settings import Settings

__all__ = ["Found", "Judge", "View", "comparable"]


@dataclass(frozen=True)
class View:
    """One layer of an encoder on a sample: parts of quantities of the rows that were measured and drawn."""

    parts: dict[Quantity, npt.NDArray[Any] | None]
    first_copies: IntArray | None
    rows: IntArray
    n_classes: int
    n_references: int  # among which these rows have chosen

    @classmethod
    def of(cls, result: Relatedness, target: Split, drawn: npt.NDArray[np.bool_]) -> View:
        """Keep of a result what the test wants."""
        rows = target.test_rows if result.evaluated_on == "test" else np.arange(len(target.dataset))
        kept = drawn[rows]
        all_parts = result.transferred_correct, result.transferred_losses, result.bound_per_sample
        parts = {
            quantity: each[kept] if each is not None and len(each) == len(rows) else None
            for quantity, each in zip(QUANTITIES, all_parts, strict=True)
        }
        copies = result.first_copies
        copies = copies[kept] if copies is not None and len(copies) == len(rows) else None
        return cls(parts, copies, rows[kept], len(result.class_map), max(1, len(result.references)))


Found = list[View] | TransferabilityError
"""What a sample says of an encoder, layer by layer, or why it says nothing."""


@dataclass
class Judge:
    """Relates samples under one encoder after another, here or on the actors of a cluster."""

    estimator: TaskRelatedness
    settings: Settings
    needs: frozenset[str]
    sample: RaceSample | None = None  # on an actor
    progress: Progress | None = None

    def here(self, sample: RaceSample, encoders: Sequence[str | Loaded], progress: Progress | None) -> Iterator[Found]:
        """Yield what a sample says of each encoder."""
        judge = replace(self, sample=sample, progress=progress)
        for encoder in encoders:
            try:
                yield judge.run(encoder)
            except TransferabilityError as error:
                yield error

    def ray(self, sample: RaceSample, encoders: Sequence[str | Loaded]) -> list[Found]:
        """Return the same, each encoder a task of the cluster."""
        on_gpu = None if self.settings.device is None else "cuda" in self.settings.device
        found: dict[int, Found] = {}
        for outcome in spread(replace(self, sample=sample), encoders, lambda *_: [0], on_gpu=on_gpu):
            found[outcome.group] = outcome.result if outcome.error is None else outcome.error
        return [found[place] for place in range(len(encoders))]

    def open(self, _encoder: str | Loaded) -> None:
        """Nothing: each encoder is a task of its own."""

    def run(self, encoder: str | Loaded, _task: int = 0) -> list[View]:
        """Return what the sample says of an encoder."""
        assert self.sample is not None  # set for each round
        views = layer_encoders(load(encoder, self.settings), self.settings)
        extraction = Extraction(views, needs=self.needs, settings=self.settings, progress=self.progress)
        found = []
        for view in views:
            panel = extraction.panel(view, self.sample.references, every=False)
            estimator, target, fit, test = extraction.compared(self.estimator, view, self.sample.target, panel)
            result = relatedness_of(estimator, panel, fit, test, target)
            found.append(View.of(result, self.sample.target, self.sample.drawn))
        return found


def comparable(views: Sequence[Sequence[View]], criterion: str | None) -> tuple[Quantity, Sample | None, set[int]]:
    """Return what the encoders are compared by, the sample of the test, and the places of those that are in it.

    These are the encoders that are measured on the rows on which most of them are.
    """
    owned = [(place, view) for place, of_one in enumerate(views) for view in of_one]
    known = all(view.parts[TRANSFERRED_ACCURACY] is not None for _, view in owned)
    quantity: Quantity = next(
        (each for each in QUANTITIES if each == criterion), TRANSFERRED_ACCURACY if known else BOUND
    )
    rows = Counter(view.rows.tobytes() for _, view in owned if view.parts[quantity] is not None)
    if not rows:
        return quantity, None, set()
    (most, _), *_ = rows.most_common(1)
    left_out = {
        place for place, view in owned if view.parts[quantity] is None or view.rows.tobytes() != most
    }  # a layer that is not compared could be the encoder's best
    owned = [(place, view) for place, view in owned if place not in left_out]
    if not owned:
        return quantity, None, set()
    parts = without_copies([view.parts[quantity] for _, view in owned], [view.first_copies for _, view in owned])
    owners = [place for place, _ in owned]
    n_classes, n_references = owned[0][1].n_classes, max(view.n_references for _, view in owned)
    together = np.stack([np.asarray(each) for each in parts], axis=1)
    return quantity, Sample(together, owners, quantity, n_classes, n_references), set(owners)
