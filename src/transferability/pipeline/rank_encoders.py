"""Which of many encoders suits a target?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Literal

from transferability._criteria import TRANSFERRED, unknown
from transferability._validate import check_choice
from transferability.display.columns import sort_key
from transferability.encoders import FeatureFiles
from transferability.encoders.precomputed import FeatureArrays
from transferability.errors import RowError, TaskError, UnknownNameError
from transferability.features.workers import keep_workers
from transferability.pipeline.choice import Encoders, choose_encoders
from transferability.pipeline.data import (
    AnyEncoder,
    Data,
    Progress,
    as_list,
    check_folds,
    check_own_half,
    load_part,
    note_overlap,
)
from transferability.pipeline.describe import describe_run
from transferability.pipeline.installed_packs import pack_folders
from transferability.pipeline.measure import Measurement, score_columns
from transferability.pipeline.one_encoder import EncoderSkippedError, encoders_in_turn, name_before_loading
from transferability.pipeline.packs import PackSource
from transferability.pipeline.race import run_race
from transferability.pipeline.rank_on_ray import rank_on_ray
from transferability.pipeline.refusals import check_uses_labels
from transferability.ranking.order import is_known
from transferability.ranking.result import Ranked, Ranking, Skipped
from transferability.relatedness.estimator import TaskRelatedness
from transferability.settings import Settings

__all__ = ["RankingInterrupted", "Tell", "rank"]


Tell = Callable[[Ranked | Skipped | None, int, int], None]
"""Takes an entry (None before the first encoder), how many encoders are done, and how many there are."""
_INTERRUPTED = "interrupted before it was ranked"


class RankingInterrupted(KeyboardInterrupt):
    """The user interrupted a ranking.

    Attributes
    ----------
    ranking : Ranking
        Of the encoders that were done; the others are in `skipped`, and ``provenance["interrupted"]`` counts both.
    done, total : int
        How many were, of how many.
    """

    def __init__(self, ranking: Ranking, done: int, total: int) -> None:
        super().__init__(f"interrupted after {done} of {total} encoders")
        self.ranking = ranking
        self.done = done
        self.total = total


@keep_workers()
def rank(
    target: Data,
    references: Data | Sequence[Data] | None = None,
    encoders: Encoders = None,
    *,
    zoo: str | os.PathLike[str] | None = None,
    relatedness: TaskRelatedness | None = None,
    scores: Sequence[str] = (),
    criterion: str | None = None,
    packs: bool = True,
    settings: Settings | None = None,
    race: int | None = None,
    executor: Literal["local", "ray"] = "local",
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Ranking:
    """Rank encoders for a target, best first.

    Parameters
    ----------
    target : str, Dataset or ReferencePack
        What the encoder is wanted for: an identifier of data (`load_dataset`), or a data set. With a pack there are no
        samples, and no scores.
    references : str, Dataset, ReferencePack, a sequence of these, or None
        Labelled data. Of several, the one with the smallest bound is reported for each encoder. A pack (`pack:FILE`)
        serves the encoder it was made with; where one without rows takes part, everything is compared by statistics.
        None, or an empty sequence: one half of the target is the reference of its other half, and installed packs of
        the encoder stand beside it.
    encoders : str, Encoder, torch module, function, array, a sequence or a mapping of names to these, optional
        Identifiers (`load_encoder`), perhaps with wildcards (`timm:vit_tiny*`) or a name of their own
        (`mini=st:/models/mini`), or models in memory; or features that are computed already, an array with the rows of
        the target, or a mapping of names of data sets to arrays where there are references. One that fails is skipped
        and reported; the others go on. By default those of the zoo that fits the data and the machine.
    zoo : str or path, optional
        tiny, small, base, large, or a TOML file (`zoos.load_zoo`): its encoders that take the target's items and can be
        had here.
    relatedness : TaskRelatedness, optional
        With its settings; by default ``TaskRelatedness()``.
    scores : sequence of str
        Further scores to compute (`transferability.scores.available`), or "all".
    criterion : str, optional
        What to sort by: "transferred_accuracy" of the closest reference (ties go to the smaller loss),
        "transferred_loss", "bound", the name of a score, or another column of `transferability.display.columns` that
        has a direction, by its key or title. By default the transferred accuracy where it is known, that
        is with samples and labels of the target, else the bound. A score that `scores` does not name is computed. Where
        no encoder has a value, the default is taken and `Ranking.provenance["not_sorted_by"]` names what was asked for.
    packs : bool, default=True
        Without references, relate a labelled target to installed packs of each encoder too (`transferability-packs`):
        they are in the panel, with their bounds, and tell what the target is like (`nearest`). Encoders are ordered by
        the target's own other half, which all of them have.
    settings : Settings, optional
    race : int, optional
        How many first places to race for. Encoders that a paired test on a growing sample of the target puts behind
        them leave before they are extracted further, and are not in the ranking: `Ranking.provenance["race"]` says who
        left when, and on what evidence. Each of the first leaves with a chance of at most 5 %, as far as classifiers
        that are fitted on the samples tell (`transferability.ranking.race`). By default no encoder leaves: a list has
        an entry for each. The command races by itself with more than eight encoders (`pipeline.race.race_by_default`).
    executor : {"local", "ray"}, default="local"
        "ray": on the actors of a Ray cluster, one encoder at a time each (`pipeline.cluster`), in a race as well.
    progress : callable (what, done, total), optional
    tell : callable (entry, done, total), optional
        Called with each `Ranked` or `Skipped` as soon as it is there, the encoders that are done, and all of them.

    Returns
    -------
    Ranking

    Raises
    ------
    TransferabilityError
        If the data or an option are at fault: "transferred_accuracy" or "transferred_loss" for a target without labels
        or samples among them. Faults of a single encoder are in `Ranking.skipped`.
    RankingInterrupted
        If the user interrupts it after the first encoder; it holds the ranking of those that are done.

    Examples
    --------
    >>> import numpy as np
    >>> from transferability.pipeline import Settings, rank
    >>> def mean_rows(items):
    ...     return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0) for each in items])
    >>> def pixels(items):
    ...     return np.stack([np.asarray(each.convert("L"), dtype=float).ravel() for each in items])
    >>> from transferability.encoders.function import FunctionEncoder
    >>> encoders = [FunctionEncoder("rows", mean_rows), FunctionEncoder("pixels", pixels)]
    >>> result = rank("packaged:digits", "packaged:digits", encoders, settings=Settings(limit=400, cache=False))
    >>> [entry.encoder for entry in result.entries]
    ['pixels', 'rows']
    """
    check_choice(executor, ("local", "ray"), "executor")
    settings = settings or Settings()
    estimator = relatedness or TaskRelatedness(seed=settings.seed)
    criterion = None if criterion is None else sort_key(criterion)
    columns = score_columns(scores, criterion)
    given = [] if references is None else as_list(references)
    parts = [load_part(each, settings) for each in (target, *given)]
    target_part, *reference_parts = note_overlap(parts[0], parts[1:]), *parts[1:]
    check_folds(target_part, settings, estimator.solver)
    if not given:
        check_uses_labels(settings)
    choice = choose_encoders(encoders, zoo, target_part)
    if not given and not any(_brings_labels(each) for each in choice.encoders):
        check_own_half(target_part, packs=packs and bool(pack_folders()))
    # Known before hours of extraction. Data without labels may still get them from the files of `features:`.
    if criterion in TRANSFERRED and (isinstance(target_part, PackSource) or not settings.use_labels):
        raise unknown(criterion, target_part.name)
    installed = packs and not given
    measure = Measurement(estimator, columns, settings.seed, progress, installed=installed)
    entries: list[Ranked] = []
    skipped: list[Skipped] = []
    wanted = list(choice.encoders)
    raced = None
    if race is not None:
        raced = run_race(
            target_part, reference_parts, wanted, estimator, settings,
            criterion=criterion, first=race, needs=measure.needs, executor=executor, progress=progress,
        )  # fmt: skip
        wanted, skipped = raced.encoders, list(raced.skipped)
    target_name, *names = [part.name for part in parts]

    def ranking(n_done: int | None = None) -> Ranking:
        made = describe_run(estimator, settings, [target_part, *reference_parts])
        made |= {"zoo": choice.zoo, "encoder_notes": list(choice.notes)} if choice.zoo or choice.notes else {}
        made |= {} if raced is None else {"race": raced.to_dict()}
        by = criterion
        if by is not None and by not in TRANSFERRED and not is_known(by, entries):
            # Hours may be in the entries: they are worth more than an error.
            by, made["not_sorted_by"] = None, criterion
        left_out = []
        if n_done is not None:
            made["interrupted"] = {"done": n_done, "total": len(wanted)}
            left_out = [Skipped(name_before_loading(each), _INTERRUPTED) for each in wanted[n_done:]]
        return Ranking.sort(entries, [*skipped, *left_out], by, columns, target_name, names, made)

    if tell:
        tell(None, 0, len(wanted))
    if executor == "ray":
        entries, failed = rank_on_ray(wanted, measure, settings, target_part, reference_parts, tell)
        wanted, skipped = [], skipped + failed
    with closing(encoders_in_turn(measure, wanted, settings, target_part, reference_parts)) as work:
        wrong_calls = _measure_all(work, len(wanted), entries, skipped, ranking, tell)
    if not entries:
        reasons = "; ".join(f"{each.encoder}: {each.reason}" for each in skipped)
        message = f"no encoder could be ranked. {reasons}"
        raise UnknownNameError(message) if wrong_calls == len(skipped) else TaskError(message)
    return ranking()


def _measure_all(
    work: Iterable[Callable[[], Iterable[Ranked]]],
    total: int,
    entries: list[Ranked],
    skipped: list[Skipped],
    ranking: Callable[[int], Ranking],
    tell: Tell | None,
) -> int:
    """Measure encoders in turn into `entries` and `skipped`; return how many could not be what was meant."""
    wrong_calls = n_done = 0
    try:
        for position, measured in enumerate(work, start=1):
            try:
                for entry in measured():
                    entries.append(entry)
                    if tell:
                        tell(entry, position, total)
            except EncoderSkippedError as error:
                if isinstance(error.reason, RowError) and not entries:
                    raise error.reason from error  # the next encoder would come upon it too, hours later
                skipped.append(Skipped(error.encoder, str(error.reason)))
                wrong_calls += error.is_wrong_call
                if tell:
                    tell(skipped[-1], position, total)
            n_done = position
    except KeyboardInterrupt as error:
        if not entries:
            raise
        raise RankingInterrupted(ranking(n_done), n_done, total) from error
    return wrong_calls


def _brings_labels(encoder: AnyEncoder) -> bool:
    """Tell whether labels may come with features that are computed already."""
    if isinstance(encoder, FeatureArrays):
        return False
    return isinstance(encoder, FeatureFiles) or (isinstance(encoder, str) and "features:" in encoder)
