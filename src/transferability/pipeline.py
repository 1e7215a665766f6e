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
from transferability.ranking.result import Ranked, Ranking, ScoreColumn, Skipped
from transferability.relatedness.details import describe
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.result import Relatedness
from transferability.report.provenance import provenance
from transferability.report.samples import MAX_CLASSES, PER_CLASS, samples_of
from transferability.scores.registry import ScoreInputs, available, compute_many
from transferability.task import Task

__all__ = ["Data", "Settings", "Split", "prepare", "rank", "relate"]

Data = str | Dataset
AnyEncoder = str | Encoder | FeatureFiles
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


def prepare(data: Data, settings: Settings) -> Split:
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
    target : str or Dataset
        What the encoder is wanted for: an identifier of data (`load_dataset`), or a data set.
    references : str, Dataset, or a sequence of these
        Labelled data. Of several, the bound that is smallest stands for each encoder.
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
    target_split = prepare(target, settings)
    reference_splits = [prepare(each, settings) for each in _data_list(references)]
    entries: list[Ranked] = []
    skipped: list[Skipped] = []
    seen: Seen = {}
    for each in [encoders] if isinstance(encoders, str) else encoders:
        started = time.perf_counter()
        name = each if isinstance(each, str) else each.name
        try:
            encoder = load_encoder(each, device=settings.device) if isinstance(each, str) else each
            fit, test = _tasks(encoder, target_split, settings, progress, use_labels=settings.use_labels)
            panel = [_tasks(encoder, split, settings, progress) for split in reference_splits]
            if progress:
                progress(f"{name}: relatedness", 0, 1)
            result = estimator.fit([r for r, _ in panel], fit, [r for _, r in panel], test)
            result = _described(result, panel, test, target_split, reference_splits, seen)
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
    names = [part.dataset.name for part in reference_splits]
    made = describe_run(estimator, settings, [target_split, *reference_splits])
    return Ranking.sort(entries, skipped, criterion, columns, target_split.dataset.name, names, made)


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
    references, targets : str, Dataset, or a sequence of these
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
    reference_splits = [prepare(each, settings) for each in _data_list(references)]
    panel = [_tasks(loaded, each, settings, progress) for each in reference_splits]
    results = []
    seen: Seen = {}
    for each in _data_list(targets):
        split = prepare(each, settings)
        fit, test = _tasks(loaded, split, settings, progress, use_labels=settings.use_labels)
        result = estimator.fit([r for r, _ in panel], fit, [r for _, r in panel], test)
        results.append(_described(result, panel, test, split, reference_splits, seen))
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
    result: Relatedness,
    panel: Sequence[tuple[Task, Task]],
    test: Task,
    target: Split,
    references: Sequence[Split],
    seen: Seen,
) -> Relatedness:
    """Return the result with what pictures of it need: points of the test parts, and items of matched classes."""
    # Not by name: two references may share one.
    (_, reference_test), split, _ = min(
        zip(panel, references, result.panel, strict=True), key=lambda three: three[2].bound
    )
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


def _data_list(data: Data | Sequence[Data]) -> list[Data]:
    return [data] if isinstance(data, str | Dataset) else list(data)


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
    target: Task,
    panel: Sequence[tuple[Task, Task]],
    result: Relatedness,
    seed: int,
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the values of the scores on the fitting part, and notes on those that need one.

    The reference whose bound stands is the reference of the scores that want one. Its classifier also stands in for the
    encoder's own where source-class probabilities are wanted.
    """
    # Not by name: two references may share one.
    (reference, _), _ = min(zip(panel, result.panel, strict=True), key=lambda pair: pair[1].bound)
    logits = result.reference_classifier.logits(result.transform.reference_scaler.apply(target.features))
    inputs = ScoreInputs(
        features=target.features,
        labels=target.labels if result.pseudo_labels is None else result.pseudo_labels,
        source_probabilities=softmax(logits, axis=1),
        reference=reference,
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


def _tasks(
    encoder: Encoder | FeatureFiles | None,
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
