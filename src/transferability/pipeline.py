"""encoder + data set → features → relatedness and scores → ranking. Read this file first.

`rank` asks which of many encoders suits a target; `relate` asks, for one encoder, which reference a target is like.
Both go the same way: load the data, split them, extract features (or find them in the cache), make tasks of them, fit
`TaskRelatedness`. Mathematics and data meet here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from transferability._array import IntArray
from transferability._threads import threads_for
from transferability.datasets import Dataset, load_dataset, split
from transferability.encoders import Encoder, FeatureFiles, load_encoder
from transferability.errors import TaskError, TransferabilityError, UnknownNameError, nearest_names
from transferability.features import Features, extract_features
from transferability.pack_sources import PREFIX, PackSource, by_statistics, common_mark, fitting_packs, mark_of
from transferability.ranking.result import Ranked, Ranking, ScoreColumn, Skipped
from transferability.relatedness.details import describe
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.pack import EncoderMark, ReferencePack
from transferability.relatedness.result import Relatedness
from transferability.report.provenance import provenance
from transferability.report.samples import MAX_CLASSES, PER_CLASS, samples_of
from transferability.scores.registry import ScoreInputs, available, compute_many
from transferability.task import Task

__all__ = ["Data", "Settings", "Split", "describe_run", "prepare", "rank", "relate"]

Data = str | Dataset | ReferencePack
AnyEncoder = str | Encoder | FeatureFiles
AnyLoaded = Encoder | FeatureFiles | None
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many items are done, and how many there are."""
Seen = dict[tuple[int, int], tuple[dict[str, str], ...]]
"""Samples of each class of each data set, so that many encoders do not read them many times."""


@dataclass(frozen=True)
class Settings:
    """How data are read, split and turned into features; the same for every encoder."""

    limit: int | None = None  # rows per data set, stratified
    test_share: float = 0.3  # of each class, kept for measuring the bound
    seed: int = 0
    batch_size: int | None = None
    device: str | None = None
    cache: bool = True
    use_labels: bool = True  # False: the target is treated as unlabelled


class Split(NamedTuple):
    """A data set and its rows for fitting and for measuring."""

    dataset: Dataset
    fit_rows: IntArray
    test_rows: IntArray

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.dataset.name

    def tasks(self, features: Features, *, use_labels: bool = True) -> tuple[Task, Task]:
        """Return the fitting and the test task."""
        labels = features.labels if use_labels else None
        fit, test = (
            Task(
                features.features[rows],
                None if labels is None else labels[rows],
                name=self.dataset.name,
                class_names=features.class_names,
            )
            for rows in (self.fit_rows, self.test_rows)
        )
        return fit, test


Part = Split | PackSource


class Panelist(NamedTuple):
    """A reference under one encoder: its samples for fitting and measuring, or its pack."""

    fit: Task | ReferencePack
    test: Task | None
    part: Part


def prepare(data: str | Dataset, settings: Settings) -> Split:
    """Load a data set and split its rows, the same way whatever encoder comes."""
    dataset = load_dataset(data, limit=settings.limit, seed=settings.seed) if isinstance(data, str) else data
    labels = np.zeros(len(dataset), dtype=np.int64) if dataset.labels is None else dataset.labels
    lonely = np.flatnonzero(np.bincount(labels) == 1)
    if len(lonely):
        name = str(lonely[0]) if dataset.class_names is None else dataset.class_names[lonely[0]]
        message = (
            f"class {name!r} of data {dataset.name!r} has a single row; at least two are needed, one to fit on and one "
            "to measure on. Add rows, or leave the class out."
        )
        raise TaskError(message)
    return Split(dataset, *split(labels, settings.test_share, settings.seed))


def rank(
    target: Data,
    references: Data | Sequence[Data],
    encoders: Sequence[AnyEncoder],
    *,
    relatedness: TaskRelatedness | None = None,
    scores: Sequence[str] = (),
    criterion: str = "bound",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Rank encoders for a target, best first.

    Parameters
    ----------
    target : str, Dataset or ReferencePack
        What the encoder is wanted for: an identifier of data (`load_dataset`), or a data set. With a pack there are no
        samples, and no scores.
    references : str, Dataset, ReferencePack, or a sequence of these
        Labelled data. Of several, the bound that is smallest stands for each encoder. A pack (`pack:FILE`) serves the
        encoder it was made with; where one takes part, everything is compared by statistics.
    encoders : sequence of str or Encoder
        Identifiers (`load_encoder`) or encoders. One that fails is skipped and reported; the others go on.
    relatedness : TaskRelatedness, optional
        With its settings; by default ``TaskRelatedness(tau="auto")``.
    scores : sequence of str
        Further scores to compute (`transferability.scores.available`), or "all".
    criterion : str, default="bound"
        What to sort by: "bound" or the name of one of the scores.
    settings : Settings, optional
    progress : callable (what, done, total), optional

    Returns
    -------
    Ranking

    Raises
    ------
    TransferabilityError
        If the data or an option are at fault. Faults of a single encoder are in `Ranking.skipped`.

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
    estimator = relatedness or TaskRelatedness(tau="auto", seed=settings.seed)
    columns = _columns(scores, criterion)
    target_part, *reference_parts = parts = [_part(each, settings) for each in (target, *_data_list(references))]
    if any(isinstance(part, PackSource) for part in parts):
        estimator = by_statistics(estimator)
    entries: list[Ranked] = []
    skipped: list[Skipped] = []
    seen: Seen = {}
    for each in [encoders] if isinstance(encoders, str) else encoders:
        started = time.perf_counter()
        name = each if isinstance(each, str) else each.name
        try:
            encoder = load_encoder(each, device=settings.device) if isinstance(each, str) else each
            mark = mark_of(encoder)
            fit, test = _target(encoder, mark, target_part, settings, progress)
            panel = _panel(encoder, mark, reference_parts, settings, progress, every=False)
            if progress:
                progress(f"{name}: relatedness", 0, 1)
            result = estimator.fit([each.fit for each in panel], fit, [each.test for each in panel], test)
            result = _described(result, panel, test, target_part, seen)
            values, notes = _compute_scores(columns, encoder, fit, panel, result, settings.seed)
        except TransferabilityError as error:
            skipped.append(Skipped(name, str(error)))
            continue
        seconds = time.perf_counter() - started
        entries.append(Ranked(name, encoder.n_parameters, result, values, notes, seconds))
    if not entries:
        reasons = "; ".join(f"{each.encoder}: {each.reason}" for each in skipped)
        message = f"no encoder could be ranked. {reasons}"
        raise TaskError(message)
    target_name, *names = [part.name for part in parts]
    made = describe_run(estimator, settings, [part for part in parts if isinstance(part, Split)])
    return Ranking.sort(entries, skipped, criterion, columns, target_name, names, made)


def relate(
    references: Data | Sequence[Data],
    targets: Data | Sequence[Data],
    encoder: AnyEncoder | None,
    *,
    relatedness: TaskRelatedness | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> list[Relatedness]:
    """Relate every target to every reference under one encoder.

    Parameters
    ----------
    references, targets : str, Dataset, ReferencePack, or a sequence of these
        A pack (`pack:FILE`) must have been made with the encoder; where one takes part, everything is compared by
        statistics.
    encoder : str, Encoder, or None
        None for data that are features already (`features:FILE`).
    relatedness : TaskRelatedness, optional
        By default ``TaskRelatedness()``: τ = 0.2 for all, so that the cells of the matrix compare.
    settings : Settings, optional
    progress : callable (what, done, total), optional

    Returns
    -------
    list of Relatedness
        One for each target; its `panel` has one entry for each reference, in the order given.
    """
    settings = settings or Settings()
    estimator = relatedness or TaskRelatedness(seed=settings.seed)
    loaded = load_encoder(encoder, device=settings.device) if isinstance(encoder, str) else encoder
    reference_parts = [_part(each, settings) for each in _data_list(references)]
    target_parts = [_part(each, settings) for each in _data_list(targets)]
    sources = [part for part in (*reference_parts, *target_parts) if isinstance(part, PackSource)]
    estimator = by_statistics(estimator) if sources else estimator
    # Packs on both sides need no encoder, only to be of one.
    packs_only = loaded is None and len(sources) == len(reference_parts) + len(target_parts)
    mark = common_mark(sources) if packs_only else mark_of(loaded)
    panel = _panel(loaded, mark, reference_parts, settings, progress, every=True)
    results = []
    seen: Seen = {}
    for part in target_parts:
        fit, test = _target(loaded, mark, part, settings, progress)
        result = estimator.fit([each.fit for each in panel], fit, [each.test for each in panel], test)
        results.append(_described(result, panel, test, part, seen))
    return results


def describe_run(estimator: TaskRelatedness, settings: Settings, parts: Sequence[Split] = ()) -> dict[str, Any]:
    """Return how a result was made: versions, machine, settings, data; JSON values."""
    data = [
        {"name": part.dataset.name, "fit_rows": len(part.fit_rows), "test_rows": len(part.test_rows)}
        | {"kind": part.dataset.modality, "role": "reference" if k else "target"}
        for k, part in enumerate(parts)
    ]
    return provenance(asdict(settings), vars(estimator), data)


def _described(
    result: Relatedness, panel: Sequence[Panelist], test: Task | None, target: Part, seen: Seen
) -> Relatedness:
    """Return the result with what pictures of it need: points of the test parts, and items of matched classes."""
    _, reference_test, split = _nearest(panel, result)
    if test is None or reference_test is None or isinstance(split, PackSource) or isinstance(target, PackSource):
        return result  # there are no samples to show
    details = describe(result, reference_test, test)
    matched = [int(j) for j in dict.fromkeys(result.class_map) if j >= 0]
    return replace(
        result,
        details=replace(
            details,
            target_samples={}
            if result.pseudo_labels is not None
            else _samples(target, range(len(result.class_map)), result.target_class_names, seen),
            reference_samples=_samples(split, matched, result.reference_class_names, seen),
        ),
    )


def _samples(
    part: Split, classes: Iterable[int], names: Sequence[str], seen: Seen
) -> dict[str, tuple[dict[str, str], ...]]:
    """Return a few items of each class, from the test part; none where the data have no labels or cannot be shown."""
    labels = part.dataset.labels
    if labels is None or part.dataset.modality == "array":
        return {}
    chosen = list(classes)[:MAX_CLASSES]
    for k in chosen:
        if (id(part.dataset), k) not in seen:
            rows = part.test_rows[labels[part.test_rows] == k][:PER_CLASS]
            seen[id(part.dataset), k] = samples_of(part.dataset.items(rows))
    return {names[k]: seen[id(part.dataset), k] for k in chosen}


def _nearest(panel: Sequence[Panelist], result: Relatedness) -> Panelist:
    """Return the reference whose bound stands; not by name, as two may share one."""
    return min(zip(panel, result.panel, strict=True), key=lambda pair: pair[1].bound)[0]


def _data_list(data: Data | Sequence[Data]) -> list[Data]:
    return [data] if isinstance(data, str | Dataset | ReferencePack) else list(data)


def _part(data: Data, settings: Settings) -> Part:
    if isinstance(data, ReferencePack) or (isinstance(data, str) and data.startswith(PREFIX)):
        return PackSource(data)
    return prepare(data, settings)


def _columns(scores: Sequence[str], criterion: str) -> list[ScoreColumn]:
    """Return the scores to compute, each once, the criterion among them."""
    known = available()
    wanted = [*(known if "all" in scores else scores), *(() if criterion == "bound" else (criterion,))]
    for name in wanted:
        if name not in known:
            message = f"no score is called {name!r}. {nearest_names(name, ['bound', *known])}"
            raise UnknownNameError(message)
    return [ScoreColumn(name, known[name].higher_is_better) for name in dict.fromkeys(wanted)]


def _compute_scores(
    columns: Sequence[ScoreColumn],
    encoder: Encoder | FeatureFiles,
    target: Task | ReferencePack,
    panel: Sequence[Panelist],
    result: Relatedness,
    seed: int,
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the values of the scores on the fitting part, and notes on those that need one.

    The reference whose bound stands is the reference of the scores that want one. Its classifier also stands in for the
    encoder's own where source-class probabilities are wanted.
    """
    if isinstance(target, ReferencePack):
        return {}, {column.name: "needs samples of the target, not a pack." for column in columns}
    reference = _nearest(panel, result).fit
    logits = result.reference_classifier.logits(result.transform.reference_scaler.apply(target.features))
    inputs = ScoreInputs(
        features=target.features,
        labels=target.labels if result.pseudo_labels is None else result.pseudo_labels,
        source_probabilities=softmax(logits, axis=1),
        reference=reference if isinstance(reference, Task) else None,
        n_parameters=encoder.n_parameters,
        pseudo_labels=result.pseudo_labels is not None,
        seed=seed,
    )
    with threads_for(float(len(target)) * target.n_features**2):
        results, skipped = compute_many([column.name for column in columns], inputs)
    notes = {name: " ".join(each.notes) for name, each in results.items() if each.notes}
    for name, each in results.items():
        if "source_probabilities" in each.needs:
            said = f"source classes are those of the reference {result.reference!r}."
            notes[name] = f"{notes[name]} {said}" if name in notes else said
    return {name: float(each) for name, each in results.items()}, notes | skipped


def _target(
    encoder: AnyLoaded, mark: EncoderMark | None, part: Part, settings: Settings, progress: Progress | None
) -> tuple[Task | ReferencePack, Task | None]:
    if isinstance(part, PackSource):
        return fitting_packs([part], mark, every=True)[part], None
    return _tasks(encoder, part, settings, progress, use_labels=settings.use_labels)


def _panel(
    encoder: AnyLoaded,
    mark: EncoderMark | None,
    parts: Sequence[Part],
    settings: Settings,
    progress: Progress | None,
    *,
    every: bool,
) -> list[Panelist]:
    """Return the references under one encoder; packs of other encoders are left out unless `every` must fit."""
    packs = fitting_packs([part for part in parts if isinstance(part, PackSource)], mark, every=every)
    panel = []
    for part in parts:
        if isinstance(part, Split):
            panel.append(Panelist(*_tasks(encoder, part, settings, progress), part))
        elif part in packs:
            panel.append(Panelist(packs[part], None, part))
    return panel


def _tasks(
    encoder: AnyLoaded,
    part: Split,
    settings: Settings,
    progress: Progress | None,
    *,
    use_labels: bool = True,
) -> tuple[Task, Task]:
    what = f"{encoder.name if encoder is not None else 'features'}: {part.dataset.name}"
    report = None if progress is None else lambda done, total: progress(what, done, total)
    features = extract_features(
        encoder, part.dataset, batch_size=settings.batch_size, cache=settings.cache, progress=report
    )
    return part.tasks(features, use_labels=use_labels)
