"""What a sample of a race says of each encoder: parts of the rows, which a paired test compares.

Of several references an encoder is represented by the closest. A few encoders, the pilots, find out which these are on
a sample: the others are related to those only.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transferability._array import IntArray
from transferability._criteria import BOUND, QUANTITIES, TRANSFERRED_ACCURACY, Quantity
from transferability.errors import RowError, TransferabilityError
from transferability.pipeline.cluster import spread
from transferability.pipeline.data import Progress, Split
from transferability.pipeline.extraction import Extraction, Loaded, layer_encoders, load
from transferability.pipeline.measure import relatedness_of
from transferability.pipeline.race_samples import RaceSample, n_classes_of
from transferability.pipeline.side_by_side import in_parallel, side_by_side
from transferability.ranking.confidence import without_copies
from transferability.ranking.race import Sample
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.results.result import Relatedness
from transferability.settings import Settings

__all__ = ["Executor", "Found", "Judge", "View", "comparable"]

Executor = Literal["local", "ray"]

_PILOTS = 2, 5  # at least and at most; what they take is worth it where they are few of the encoders
_PILOT_SHARE = 16


@dataclass(frozen=True)
class View:
    """One layer of an encoder on a sample: parts of quantities of the rows that were measured and drawn."""

    parts: dict[Quantity, npt.NDArray[Any] | None]
    first_copies: IntArray | None
    rows: IntArray
    n_classes: int
    n_references: int  # among which these rows have chosen
    common: bool = False  # whether the one that was chosen is that of all encoders
    bounds: tuple[float, ...] = ()  # of the references, in order
    by_reference: tuple[View, ...] = ()

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
        bounds = tuple(each.bound for each in result.references)
        each = tuple(cls.of(other, target, drawn) for other in result.others)
        return cls(parts, copies, rows[kept], len(result.class_map), max(1, len(bounds)), False, bounds, each)

    def among(self, kept: Sequence[int]) -> View:
        """Return the view of the closest of some references."""
        return self.by_reference[min(kept, key=lambda place: self.bounds[place])] if self.by_reference else self


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

    def run_round(
        self, sample: RaceSample, encoders: Sequence[str | Loaded], executor: Executor, progress: Progress | None
    ) -> tuple[list[Found], list[tuple[int, ...]]]:
        """Return what a sample says of each encoder, and the `RaceSample.sizes` of what each was related to.

        Raises
        ------
        RowError
            If an item cannot be read.
        """
        pilots = _pilots(sample, len(encoders))
        found: dict[int, Found] = dict(
            zip(pilots, self._judge(sample, [encoders[k] for k in pilots], executor, progress), strict=True)
        )
        others = [place for place in range(len(encoders)) if place not in found]
        kept = _chosen(sample, list(found.values())) if others else range(len(sample.references))
        narrow = sample if len(kept) == len(sample.references) else sample.with_references(kept)
        rest = self._judge(narrow, [encoders[k] for k in others], executor, progress, found.values())
        found |= dict(zip(others, rest, strict=True))
        if narrow is not sample:
            n_references, common = len(sample.references), len(kept) == 1
            for place, views in found.items():
                if not isinstance(views, TransferabilityError):
                    views = [view.among(kept) if place in pilots else view for view in views]
                    found[place] = [replace(each, n_references=n_references, common=common) for each in views]
        sizes = [sample.sizes if place in pilots else narrow.sizes for place in range(len(encoders))]
        return [found[place] for place in range(len(encoders))], sizes

    def _judge(
        self,
        sample: RaceSample,
        encoders: Sequence[str | Loaded],
        executor: Executor,
        progress: Progress | None,
        before: Iterable[Found] = (),
    ) -> list[Found]:
        found: list[Found] = []
        with closing((self.ray if executor == "ray" else self.here)(sample, encoders, progress)) as judged:
            for each in judged:
                if isinstance(each, RowError) and not any(isinstance(other, list) for other in (*before, *found)):
                    raise each  # the next encoder would come upon it too, hours later
                found.append(each)
        return found

    def here(self, sample: RaceSample, encoders: Sequence[str | Loaded], progress: Progress | None) -> Generator[Found]:
        """Yield what a sample says of each encoder; several are judged at once where features are computed already."""
        judge = replace(self, sample=sample, progress=progress)
        if in_parallel(encoders):
            results = side_by_side(replace(judge, progress=None).run, encoders)
        else:
            results = (partial(judge.run, encoder) for encoder in encoders)
        with closing(results):
            for result in results:
                try:
                    yield result()
                except TransferabilityError as error:
                    yield error

    def ray(self, sample: RaceSample, encoders: Sequence[str | Loaded], _progress: Progress | None) -> Generator[Found]:
        """Yield the same, each encoder a task of the cluster."""
        on_gpu = None if self.settings.device is None else "cuda" in self.settings.device
        found: dict[int, Found] = {}
        for outcome in spread(replace(self, sample=sample), encoders, lambda *_: [0], on_gpu=on_gpu):
            found[outcome.group] = outcome.result if outcome.error is None else outcome.error
        yield from (found[place] for place in range(len(encoders)))

    def open(self, _encoder: str | Loaded) -> None:
        """Nothing: each encoder is a task of its own."""

    def run(self, encoder: str | Loaded, _task: int = 0) -> list[View]:
        """Return what the sample says of an encoder."""
        assert self.sample is not None  # set for each round
        views = layer_encoders(load(encoder, self.settings), self.settings)
        extraction = Extraction(views, needs=self.needs, settings=self.settings, progress=self.progress)
        comparing = copy.copy(self.estimator)
        comparing.trains_target_classifier = False
        found = []
        for view in views:
            panel = extraction.panel(view, self.sample.references, every=False)
            estimator, target, fit, test = extraction.compared(comparing, view, self.sample.target, panel)
            result = relatedness_of(estimator, panel, fit, test, target)
            found.append(View.of(result, self.sample.target, self.sample.drawn))
        return found


def _pilots(sample: RaceSample, n_encoders: int) -> list[int]:
    """Return the encoders that are related to all references: some, where the closest can be told from theirs."""
    target, references = sample.target, sample.references
    labelled = all(isinstance(part, Split) and part.dataset.labels is not None for part in (target, *references))
    least, most = _PILOTS
    if not labelled or len(references) < 2 or n_encoders <= least:
        return list(range(n_encoders))
    n_pilots = min(most, max(least, n_encoders // _PILOT_SHARE))
    return [round(place) for place in np.linspace(0, n_encoders - 1, n_pilots)]


def _chosen(sample: RaceSample, found: Sequence[Found]) -> Sequence[int]:
    """Return which references are the closest of a pilot; all where that may be none of those that were given."""
    every = range(len(sample.references))
    bounds = [view.bounds for views in found if not isinstance(views, TransferabilityError) for view in views]
    if not bounds or any(len(each) != len(every) for each in bounds):  # the target's own half may be beside them
        return every
    chosen = sorted({int(np.argmin(each)) for each in bounds})
    n_classes = [n_classes_of(sample.references[k].dataset) for k in chosen]  # type: ignore[union-attr] # no packs
    return chosen if max(n_classes) >= n_classes_of(sample.target.dataset) else every


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
    common = all(view.common for _, view in owned)
    return quantity, Sample(together, owners, quantity, n_classes, n_references, common), set(owners)
