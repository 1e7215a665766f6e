"""Encoders judged on growing samples of the target: those that are surely behind the first leave at once.

Samples are nested and stratified, so a round encodes only the rows that are new in it, and what is encoded for an
encoder that stays is never encoded again. References are sampled to the same size, and those that are the closest of no
pilot (`race_judge`) wait for the ranking. `ranking.race` says what the test promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from transferability._criteria import QUANTITIES, TRANSFERRED, TRANSFERRED_ACCURACY, Quantity
from transferability.display.columns import sort_key
from transferability.encoders.naming import split_alias
from transferability.errors import LabelError, OptionError, TaskError, TransferabilityError
from transferability.pipeline.data import Part, Progress, Split
from transferability.pipeline.extraction import Loaded
from transferability.pipeline.race_judge import Executor, Found, Judge, View, comparable
from transferability.pipeline.race_samples import RaceSample, Sampler
from transferability.pipeline.side_by_side import are_computed
from transferability.pipeline.whole_encoder import base_of
from transferability.ranking.entry import Skipped
from transferability.ranking.race import Sample, leaving
from transferability.relatedness.estimator import TaskRelatedness
from transferability.settings import Settings

__all__ = ["Dropped", "Race", "Round", "race_by_default", "run_race"]

_FEW = 8  # encoders: of so few, those that are nearly as good as the first are many
_SMALL_SHARE = 0.25  # of the rows: more in the first sample would save little
_ERROR = 0.05  # chance that the first leaves (each of the first, where several are wanted), over all rounds


@dataclass(frozen=True)
class Dropped:
    """An encoder that left, and on what evidence."""

    encoder: str
    n_rows: int  # that were measured
    value: float  # of the quantity, on the sample
    rival: str  # whose lead decided
    rival_value: float
    p_value: float  # of "it is among the first", shared over all comparisons and rounds
    base_encoder: str  # the encoder, where this is a layer of it; by its short name, where it has one


@dataclass(frozen=True)
class Round:
    """One sample: how large it was, how many encoders were in the race, and how many of them could be compared."""

    n_rows: int  # drawn of the target
    n_encoders: int
    n_compared: int
    why_not: str | None = None  # one of the others could not be


@dataclass
class Race:
    """What a race has found.

    Attributes
    ----------
    encoders : list
        Those that stay.
    n_began : int
        With how many it began.
    dropped : list of Dropped
        Those that left, the earliest first.
    skipped : list of Skipped
        Those that failed.
    quantity : str
        What was compared.
    rounds : list of Round
    n_items, n_items_of_all : int
        Items of target and references encoded for the ranking of those that stay, and without a race; where features
        are computed already, rows that classifiers are fitted on.
    counts : {"encoded", "fitted"}
        Which of the two.
    """

    encoders: list[str | Loaded]
    first: int = 1
    quantity: Quantity = TRANSFERRED_ACCURACY
    dropped: list[Dropped] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    n_began: int = field(init=False)
    n_items: int = 0
    n_items_of_all: int = 0
    counts: Literal["encoded", "fitted"] = "encoded"

    def __post_init__(self) -> None:
        self.n_began = len(self.encoders)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "first": self.first,
            "error": _ERROR,
            "quantity": self.quantity,
            "n_began": self.n_began,
            "n_stayed": len(self.encoders),
            "rounds": [asdict(each) for each in self.rounds],
            "dropped": [asdict(each) for each in self.dropped],
            "items": self.n_items,
            "items_of_all": self.n_items_of_all,
            "items_are": self.counts,
        }


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
    executor: Executor = "local",
    progress: Progress | None = None,
) -> Race:
    """Return which encoders are worth the whole target.

    A sample on which an encoder cannot be compared, because it is too small for the classes of the target or of a
    reference, is no evidence: the encoder stays.

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
    executor : {"local", "ray"}, default="local"
        "ray": encoders are judged on the actors of a Ray cluster, round by round.
    progress : callable, optional

    Raises
    ------
    OptionError
        If the target is a pack, the criterion a score, or `first` below 1.
    RowError
        If an item cannot be read.
    """
    target = _racing(target, criterion, first)
    race = Race(list(encoders), first)
    judge = Judge(estimator, settings, needs)
    sampler = Sampler(target, references, settings, computed=are_computed(encoders))
    race.counts = "fitted" if sampler.by_fits else "encoded"
    tally = _Tally(by_fits=sampler.by_fits)
    sizes = sampler.sizes()
    for size in sizes:
        if len(race.encoders) <= first:
            break
        try:
            sample = sampler(size)
        except (LabelError, TaskError) as error:
            race.rounds.append(Round(size, len(race.encoders), 0, str(error)))
            continue
        found, related = judge.run_round(sample, race.encoders, executor, progress)
        tally.add(race.encoders, related)
        if not _run_round(race, found, sample, size, criterion, _ERROR / len(sizes)):
            break
    tally.add(race.encoders, [sampler.whole()] * len(race.encoders))
    race.n_items = tally.total
    race.n_items_of_all = sum(sampler.whole()) * race.n_began
    return race


class _Tally:
    """Counts the rows of each part that each encoder has to encode, each once; or those that it is fitted on."""

    def __init__(self, *, by_fits: bool) -> None:
        self._by_fits = by_fits
        self._seen: dict[int, tuple[int, ...]] = {}
        self.total = 0

    def add(self, encoders: Sequence[str | Loaded], sizes: Sequence[tuple[int, ...]]) -> None:
        """Count what encoders were related to, the parts in order."""
        for encoder, wanted in zip(encoders, sizes, strict=True):
            seen = self._seen.get(id(encoder), (0,) * len(wanted))
            self.total += sum(wanted) if self._by_fits else sum(map(max, wanted, seen)) - sum(seen)
            self._seen[id(encoder)] = tuple(map(max, wanted, seen))


def race_by_default(target: Part, encoders: Sequence[str | Loaded], criterion: str | None, settings: Settings) -> bool:
    """Tell whether a race is held where nobody says: it saves more than it costs there, and its test is exact.

    That is with more than eight encoders, a labelled target whose first sample is at most a quarter of its rows, and
    transferred accuracy or loss to go by. Where features are computed already, it is with a target of one split (2,000
    rows or more): fits on fewer rows take as long as those on their samples.
    """
    if len(encoders) <= _FEW or not isinstance(target, Split) or target.dataset.labels is None:
        return False
    if not settings.use_labels or (criterion is not None and sort_key(criterion) not in TRANSFERRED):
        return False
    sampler = Sampler(target, (), settings, computed=are_computed(encoders))
    if are_computed(encoders) and not sampler.by_fits:
        return False
    return any(size <= _SMALL_SHARE * sum(sampler.whole()) for size in sampler.sizes())


def _racing(target: Part, criterion: str | None, first: int) -> Split:
    """Return the target, if there can be a race."""
    if not isinstance(target, Split):
        message = f"`race` must have rows of the target to sample; {target.name!r} is a pack. Leave it out."
        raise OptionError(message)
    if criterion is not None and criterion not in QUANTITIES:
        message = f"`race` must go by {', '.join(QUANTITIES)}: there is no paired test of the score {criterion!r}."
        raise OptionError(message)
    if isinstance(first, bool) or not isinstance(first, int) or first < 1:
        message = f"`first` must be a whole number, at least 1; got {first!r}."
        raise OptionError(message)
    return target


def _run_round(
    race: Race, found: list[Found], drawn: RaceSample, size: int, criterion: str | None, error: float
) -> bool:
    """Let those leave that failed, and those that are behind; return whether larger samples may say more.

    Where all fail, nobody leaves: the ranking itself says why.
    """
    n_encoders = len(race.encoders)
    views: list[list[View]] = []
    stay: list[str | Loaded] = []
    failed: list[Skipped] = []
    reasons: list[str] = []
    for encoder, each in zip(race.encoders, found, strict=True):
        if isinstance(each, TransferabilityError) and not isinstance(each, LabelError | TaskError):
            failed.append(Skipped(_name(encoder), str(each)))
            continue
        stay.append(encoder)
        views.append([] if isinstance(each, TransferabilityError) else each)
        reasons += [str(each)] if isinstance(each, TransferabilityError) else []
    if not stay:
        race.rounds.append(Round(size, n_encoders, 0, failed[0].reason))
        return False
    race.encoders = stay
    race.skipped += failed
    race.quantity, sample, compared = comparable(views, criterion)
    if len(compared) < len(stay) and not reasons:
        reasons.append("it is measured on other rows than most, or its accuracy is not known.")
    race.rounds.append(Round(size, n_encoders, len(compared), reasons[0] if reasons else None))
    if sample is not None:
        _drop(race, replace(sample, weight=drawn.weight), error)
    return True


def _drop(race: Race, sample: Sample, error: float) -> None:
    """Let the encoders leave that are behind the first."""
    names = [_name(each) for each in race.encoders]
    n_rounds = _ERROR / error
    found = leaving(sample, first=race.first, error=error, n_encoders=race.n_began)
    for place, why in found.items():
        rival, p_value = names[why.rival], min(1.0, why.p_value * n_rounds)
        base = _base_encoder(race.encoders[place])
        race.dropped.append(Dropped(names[place], len(sample.parts), why.value, rival, why.rival_value, p_value, base))
    race.encoders = [each for place, each in enumerate(race.encoders) if place not in found]


def _base_encoder(encoder: str | Loaded) -> str:
    if isinstance(encoder, str):
        alias, identifier = split_alias(encoder)
        return alias or identifier
    return base_of(encoder).name


def _name(encoder: str | Loaded) -> str:
    return encoder if isinstance(encoder, str) else encoder.name
