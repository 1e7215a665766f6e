"""Which reference is a target like, under one encoder?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transferability.errors import OptionError
from transferability.features.workers import keep_workers
from transferability.pipeline.choice import Model, default_encoder
from transferability.pipeline.data import (
    Data,
    Progress,
    as_list,
    check_folds,
    load_part,
    note_overlap,
    notes_of,
)
from transferability.pipeline.describe import SampleCache, described
from transferability.pipeline.extraction import Extraction, load
from transferability.pipeline.measure import related
from transferability.pipeline.packs import PackSource, common_fingerprint
from transferability.pipeline.refusals import check_uses_labels
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.tasks.problem import sharing_references
from transferability.settings import Settings

__all__ = ["relate"]


@keep_workers()
def relate(
    references: Data | Sequence[Data] | None,
    targets: Data | Sequence[Data],
    encoder: Model | None = None,
    *,
    relatedness: TaskRelatedness | None = None,
    packs: bool = True,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> list[Relatedness]:
    """Relate every target to every reference under one encoder.

    Parameters
    ----------
    references, targets : str, Dataset, ReferencePack, or a sequence of these
        A pack (`pack:FILE`) must have been made with the encoder; where one without rows takes part, or one is the
        target, everything is compared by statistics. Without references (None), one half of each target is the
        reference of its other half, and installed packs of the encoder stand beside it.
    encoder : str, Encoder, torch module, function, or None
        None for data that are features already (`features:FILE`), and for packs; for other data it is the smallest
        encoder of the zoo that is here.
    relatedness : TaskRelatedness, optional
        By default ``TaskRelatedness()``.
    packs : bool, default=True
        Without references, relate labelled targets to installed packs of the encoder too (`transferability-packs`), as
        `rank` does.
    settings : Settings, optional
    progress : callable (what, done, total), optional

    Returns
    -------
    list of Relatedness
        One for each target; its `references` have one entry for each reference, in the order given.
    """
    settings = settings or Settings()
    if settings.layer == "all":
        message = "`layer` must be one layer here: tasks are related under one encoder. `rank` ranks all layers."
        raise OptionError(message)
    estimator = relatedness or TaskRelatedness(seed=settings.seed)
    given = [] if references is None else as_list(references)
    if not given:
        check_uses_labels(settings)
    parts = [load_part(each, settings) for each in (*given, *as_list(targets))]
    for part in parts[len(given) :]:
        check_folds(part, settings, estimator.solver)
    encoder = default_encoder(parts) if encoder is None else encoder
    loaded = None if encoder is None else load(encoder, settings)
    reference_parts, target_parts = parts[: len(given)], parts[len(given) :]
    sources = [part for part in (*reference_parts, *target_parts) if isinstance(part, PackSource)]
    # Packs on both sides need no encoder, only to be of one.
    packs_only = loaded is None and len(sources) == len(reference_parts) + len(target_parts)
    fingerprint = common_fingerprint(sources) if packs_only else None
    extraction = Extraction([loaded], settings=settings, progress=progress)
    panel = extraction.panel(loaded, reference_parts, every=True, fingerprint=fingerprint)
    results = []
    samples: SampleCache = {}
    with sharing_references():
        for part in target_parts:
            chosen, part, fit, test = extraction.compared(estimator, loaded, part, panel, fingerprint=fingerprint)
            result, about_packs = related(chosen, loaded, panel, fit, test, part, packs=packs and not given)
            notes = notes_of([note_overlap(part, reference_parts), *reference_parts])
            notes += () if about_packs is None else (f"reference packs: {about_packs}",)
            results.append(replace(described(result, panel, fit, test, part, samples), notes=(*result.notes, *notes)))
    return results
