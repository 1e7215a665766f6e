"""Encoders judged on growing samples of the target: those that are surely behind the first leave at once.

Samples are nested and stratified, so a round encodes only the rows that are new in it, and what is encoded for an
encoder that stays is never encoded again. References are sampled to the same size. `ranking.race` says what the test
promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from transferability._array import IntArray
from transferability._criteria import BOUND, QUANTITIES, TRANSFERRED_ACCURACY, Quantity
from transferability.datasets import Dataset
from transferability.errors import OptionError, RowError, TransferabilityError
from transferability.pipeline.data import Part, Progress, Split, prepare
from transferability.pipeline.extraction import Extraction, Loaded, layer_encoders, load
from transferability.pipeline.measure import relatedness_of
from transferability.ranking.confidence import without_copies
from transferability.ranking.race import Sample, leaving
from transferability.ranking.result import Ranked, Skipped
from transferability.relatedness.estimator import TaskRelatedness
from transferability.settings import Settings

__all__ = ["Dropped", "Race", "nested_order", "run_race", "sizes_of"]

_ERROR = 0.05  # chance that any one of the first leaves, over all rounds
_SMALLEST = 100  # rows of the first sample at least; on fewer the sign test drops nothing
_PER_CLASS = 8  # rows of the first sample for each class, on average: halves of folds need some of each
_FIRST_SHARE = 16  # the first sample is this part of the rows, where that is enough


@dataclass(frozen=True)
class Dropped:
    """An encoder that left, and on what evidence."""

    encoder: str
    n_rows: int  # that were measured
    value: float  # of the quantity, on the sample
    rival: str  # whose lead decided
    rival_value: float
    p_value: float  # of "it is among the first", shared over all comparisons and rounds


@dataclass(frozen=True)
class Round:
    """One sample: how many rows it had, and how many encoders were judged on it."""

    n_rows: int
    n_encoders: int


@dataclass
class Race:
    """What a race has found.

    Attributes
    ----------
    encoders : list
        Those that stay.
    dropped : list of Dropped
        Those that left, the earliest first.
    skipped : list of Skipped
        Those that failed.
    quantity : str
        What was compared.
    rounds : list of Round
    needs : set of str
        What else is computed with the features in the same pass (`Extraction`).
    n_items, n_items_of_all : int
        Items encoded, of target and references, for the ranking of those that stay; and without a race.
    """

    encoders: list[str | Loaded]
    first: int = 1
    quantity: Quantity = TRANSFERRED_ACCURACY
    dropped: list[Dropped] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    needs: frozenset[str] = frozenset()
    n_items: int = 0
    n_items_of_all: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "first": self.first,
            "error": _ERROR,
            "quantity": self.quantity,
            "rounds": [asdict(each) for each in self.rounds],
            "dropped": [asdict(each) for each in self.dropped],
            "items": self.n_items,
            "items_of_all": self.n_items_of_all,
        }


def sizes_of(n_rows: int, n_classes: int) -> list[int]:
    """Return the sizes of the samples, each twice the one before; all are smaller than the whole.

    Examples
    --------
    >>> sizes_of(10_000, 10), sizes_of(1_000, 10), sizes_of(150, 10)
    ([625, 1250, 2500, 5000], [125, 250, 500], [100])
    """
    least = max(_SMALLEST, _PER_CLASS * n_classes)
    size = n_rows / _FIRST_SHARE
    while size < least:
        size *= 2
    sizes = []
    while size < n_rows:
        sizes.append(int(size))
        size *= 2
    if not sizes and least < n_rows:
        sizes = [least]
    return sizes


def nested_order(dataset: Dataset, seed: int) -> IntArray:
    """Return the rows of a data set in an order of which every beginning has about the class shares of the whole.

    Two rows of each class come first, one to fit on and one to measure on. Splits of the data are kept in proportion.
    """
    labels = np.zeros(len(dataset), dtype=np.int64) if dataset.labels is None else dataset.labels
    strata = labels if dataset.in_test is None else 2 * labels + dataset.in_test
    rng = np.random.default_rng(seed)
    position = np.empty(len(dataset))
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        position[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
        position[rows[:2]] -= 2
    order: IntArray = np.argsort(position, kind="stable")
    return order


def run_race(
    target: Part,
    references: Sequence[Part],
    encoders: Sequence[str | Loaded],
    estimator: TaskRelatedness,
    settings: Settings,
    *,
    criterion: str | None = None,
    first: int = 1,
    needs: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> Race:
    """Return which encoders are worth the whole target.

    Parameters
    ----------
    target, references : Split or PackSource
        Whole, as the ranking takes them.
    encoders : sequence of str or Encoder
        An identifier is loaded anew in each round: models of a hundred encoders do not fit into memory together.
    estimator : TaskRelatedness
    settings : Settings
    criterion : str, optional
        As of `rank`; a score has no paired test.
    first : int, default=1
        How many first places are to be settled; the race ends when no more encoders are left.
    needs : set of str
        Inputs of the scores of the ranking, as of `Extraction`: so that no item is encoded again for them.
    progress : callable, optional

    Raises
    ------
    OptionError
        If the target is a pack, the criterion a score, or `first` below 1.
    RowError
        If an item cannot be read.
    """
    if not isinstance(target, Split):
        message = f"`race` must have rows of the target to sample; {target.name!r} is a pack. Leave it out."
        raise OptionError(message)
    if criterion is not None and criterion not in QUANTITIES:
        message = f"`race` must go by {', '.join(QUANTITIES)}: there is no paired test of the score {criterion!r}."
        raise OptionError(message)
    if isinstance(first, bool) or not isinstance(first, int) or first < 1:
        message = f"`first` must be a whole number, at least 1; got {first!r}."
        raise OptionError(message)
    race = Race(list(encoders), first, needs=needs)
    sampler = _Sampler([target, *references], settings)
    sizes = sizes_of(
        len(target.dataset), len(np.unique(target.dataset.labels)) if target.dataset.labels is not None else 1
    )
    error = _ERROR / max(1, len(sizes))
    before = 0
    for size in sizes:
        if len(race.encoders) <= first:
            break
        (sample, *sampled), n_items = sampler(size)
        judged = _judge(race, sample, sampled, estimator, settings, criterion, progress)
        race.n_items += (n_items - before) * len(race.encoders)
        before = n_items
        race.rounds.append(Round(size, len(race.encoders)))
        if judged is not None:
            _drop(race, judged, error, len(encoders))
    whole = sum(len(part.dataset) for part in (target, *references) if isinstance(part, Split))
    race.n_items += (whole - before) * len(race.encoders)
    race.n_items_of_all = whole * len(encoders)
    return race


class _Sampler:
    """Nested samples of the parts of a run."""

    def __init__(self, parts: Sequence[Part], settings: Settings) -> None:
        self._parts = parts
        self._settings = settings
        self._orders = [
            nested_order(part.dataset, settings.seed) if isinstance(part, Split) else None for part in parts
        ]

    def __call__(self, size: int) -> tuple[list[Part], int]:
        """Return the parts with so many rows each at most, and the number of their rows."""
        sampled: list[Part] = []
        n_items = 0
        for part, order in zip(self._parts, self._orders, strict=True):
            if isinstance(part, Split) and order is not None:
                rows = np.sort(order[:size])
                n_items += len(rows)
                part = part if len(rows) == len(order) else prepare(part.dataset.subset(rows), self._settings)
            sampled.append(part)
        return sampled, n_items


def _judge(
    race: Race,
    sample: Part,
    references: Sequence[Part],
    estimator: TaskRelatedness,
    settings: Settings,
    criterion: str | None,
    progress: Progress | None,
) -> Sample | None:
    """Return what the sample says; encoders that fail leave the race, unless all do: the sample is too small then."""
    entries: list[tuple[int, Ranked]] = []
    failed: dict[int, Skipped] = {}
    for place, encoder in enumerate(race.encoders):
        name = encoder if isinstance(encoder, str) else encoder.name
        try:
            views = layer_encoders(load(encoder, settings), settings)
            extraction = Extraction(views, needs=race.needs, settings=settings, progress=progress)
            for view in views:
                fit, test = extraction.target(view, sample)
                panel = extraction.panel(view, references, every=False)
                result = relatedness_of(estimator, panel, fit, test, sample)
                entries.append((place, Ranked(view.name, view.n_parameters, result, {}, {}, 0.0)))
        except TransferabilityError as error:
            if isinstance(error, RowError) and not entries:
                raise
            failed[place] = Skipped(name, str(error))
    if len(failed) == len(race.encoders):
        return None
    remaining = [place for place in range(len(race.encoders)) if place not in failed]
    race.encoders = [race.encoders[place] for place in remaining]
    race.skipped += failed.values()
    entries = [(remaining.index(place), entry) for place, entry in entries if place not in failed]
    known = all(entry.per_sample(TRANSFERRED_ACCURACY) is not None for _, entry in entries)
    quantity: Quantity = next(
        (each for each in QUANTITIES if each == criterion), TRANSFERRED_ACCURACY if known else BOUND
    )
    race.quantity = quantity
    parts = without_copies(
        [entry.per_sample(quantity) for _, entry in entries], [entry.relatedness.first_copies for _, entry in entries]
    )
    together = [np.asarray(each) for each in parts if each is not None]
    if len(together) < len(parts) or len({len(each) for each in together}) != 1:
        return None
    results = [entry.relatedness for _, entry in entries]
    n_references = max(max(1, len(each.references)) for each in results)
    owners = [place for place, _ in entries]
    return Sample(np.stack(together, axis=1), owners, quantity, len(results[0].class_map), n_references)


def _drop(race: Race, sample: Sample, error: float, n_all: int) -> None:
    """Let the encoders leave that are behind the first."""
    names = [each if isinstance(each, str) else each.name for each in race.encoders]
    n_rounds = _ERROR / error
    found = leaving(sample, first=race.first, error=error, n_encoders=n_all)
    for place, why in found.items():
        rival, p_value = names[why.rival], min(1.0, why.p_value * n_rounds)
        race.dropped.append(Dropped(names[place], len(sample.parts), why.value, rival, why.rival_value, p_value))
    race.encoders = [each for place, each in enumerate(race.encoders) if place not in found]
