"""Which of many encoders suits a target?"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace

from transferability._criteria import TRANSFERRED, unknown
from transferability.encoders import FeatureFiles
from transferability.errors import OptionError, RowError, TaskError, TransferabilityError, UnknownNameError
from transferability.pipeline.choice import Encoders, choose_encoders
from transferability.pipeline.data import (
    AnyEncoder,
    Data,
    Progress,
    Settings,
    as_list,
    check_own_half,
    load_part,
    note_overlap,
    without_folds,
)
from transferability.pipeline.describe import describe_run
from transferability.pipeline.extraction import Extraction, load, views_of
from transferability.pipeline.measure import Measurement, score_columns
from transferability.pipeline.packs import PackSource, by_statistics
from transferability.ranking.result import Ranked, Ranking, Skipped
from transferability.relatedness.estimator import TaskRelatedness

__all__ = ["rank"]


def rank(
    target: Data,
    references: Data | Sequence[Data] | None = None,
    encoders: Encoders = None,
    *,
    zoo: str | os.PathLike[str] | None = None,
    relatedness: TaskRelatedness | None = None,
    scores: Sequence[str] = (),
    criterion: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Rank encoders for a target, best first.

    Parameters
    ----------
    target : str, Dataset or ReferencePack
        What the encoder is wanted for: an identifier of data (`load_dataset`), or a data set. With a pack there are no
        samples, and no scores.
    references : str, Dataset, ReferencePack, a sequence of these, or None
        Labelled data. Of several, the one with the smallest bound is reported for each encoder. A pack (`pack:FILE`)
        serves the encoder it was made with; where one takes part, everything is compared by statistics. None, or an
        empty sequence: one half of the target is the reference of its other half.
    encoders : str, Encoder, torch module, function, a sequence or a mapping of names to these, optional
        Identifiers (`load_encoder`), perhaps with wildcards (`timm:vit_tiny*`) or a name of their own
        (`mini=st:/models/mini`), or models in memory. One that fails is skipped and reported; the others go on.
        By default those of the zoo that fits the data and the machine.
    zoo : str or path, optional
        tiny, small, base, large, or a TOML file (`zoos.load_zoo`): its encoders that take the target's items and can be
        had here.
    relatedness : TaskRelatedness, optional
        With its settings; by default ``TaskRelatedness()``.
    scores : sequence of str
        Further scores to compute (`transferability.scores.available`), or "all".
    criterion : str, optional
        What to sort by: "transferred_accuracy" of the closest reference (ties go to the smaller loss),
        "transferred_loss", "bound", or the name of a score. By default the transferred accuracy where it is known, that
        is with samples and labels of the target, else the bound.
    settings : Settings, optional
    progress : callable (what, done, total), optional

    Returns
    -------
    Ranking

    Raises
    ------
    TransferabilityError
        If the data or an option are at fault: "transferred_accuracy" or "transferred_loss" for a target without labels
        or samples among them. Faults of a single encoder are in `Ranking.skipped`.

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
    settings = settings or Settings()
    estimator = relatedness or TaskRelatedness(seed=settings.seed)
    columns = score_columns(scores, criterion)
    given = [] if references is None else as_list(references)
    parts = without_folds([load_part(each, settings) for each in (target, *given)])
    target_part, *reference_parts = note_overlap(parts[0], parts[1:]), *parts[1:]
    choice = choose_encoders(encoders, zoo, target_part)
    if not given and not any(_brings_labels(each) for each in choice.encoders):
        check_own_half(target_part)
    if any(isinstance(part, PackSource) for part in parts):
        estimator = by_statistics(estimator)
    # Known before hours of extraction. Data without labels may still get them from the files of `features:`.
    if criterion in TRANSFERRED and (isinstance(target_part, PackSource) or not settings.use_labels):
        raise unknown(criterion, target_part.name)
    measure = Measurement(estimator, columns, settings.seed, progress)
    entries: list[Ranked] = []
    skipped: list[Skipped] = []
    wrong_names = 0
    for each in choice.encoders:
        started = time.perf_counter()
        name = each if isinstance(each, str) else each.name
        try:
            views = views_of(load(each, settings), settings)
            extraction = Extraction(
                views, probabilities=measure.needs_probabilities, settings=settings, progress=progress
            )
            for view in views:
                name = view.name
                entry = measure(view, extraction, target_part, reference_parts)
                entries.append(replace(entry, seconds=time.perf_counter() - started))
                started = time.perf_counter()
        except TransferabilityError as error:
            if isinstance(error, RowError) and not entries:
                raise  # the next encoder would come upon it too, hours later
            skipped.append(Skipped(name, str(error)))
            wrong_names += isinstance(error, UnknownNameError | OptionError)
    if not entries:
        reasons = "; ".join(f"{each.encoder}: {each.reason}" for each in skipped)
        message = f"no encoder could be ranked. {reasons}"
        raise UnknownNameError(message) if wrong_names == len(skipped) else TaskError(message)
    target_name, *names = [part.name for part in parts]
    made = describe_run(estimator, settings, [target_part, *reference_parts])
    made |= {"zoo": choice.zoo, "encoder_notes": list(choice.notes)} if choice.zoo or choice.notes else {}
    return Ranking.sort(entries, skipped, criterion, columns, target_name, names, made)


def _brings_labels(encoder: AnyEncoder) -> bool:
    """Tell whether labels may come with features that are computed already."""
    return isinstance(encoder, FeatureFiles) or (isinstance(encoder, str) and "features:" in encoder)
