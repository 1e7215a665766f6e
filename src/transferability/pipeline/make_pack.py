"""Labelled data and an encoder → a reference pack, to be used and given away in place of the samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._threads import threads_for
from transferability.datasets import Dataset, stratified_sample
from transferability.errors import LabelError, OptionError
from transferability.features import Features, extract_blocks
from transferability.pipeline.cost import warn_of_cost
from transferability.pipeline.data import AnyEncoder, Progress, prepare
from transferability.pipeline.describe import describe_run
from transferability.pipeline.extraction import load
from transferability.pipeline.packs import fingerprint_of
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.packs.pack import ReferencePack
from transferability.settings import ExtractionOptions, Settings
from transferability.statistics.classes import ClassStatistics, CovarianceForm, class_statistics
from transferability.task import Task

__all__ = ["make_pack"]

_SAMPLES = 50_000  # for fitting and for measuring the classifiers, each; statistics are of all rows
_BLOCK_ROWS = 8192  # summed up at once: a merge costs as much as a few hundred rows


def make_pack(
    data: str | Dataset,
    encoder: AnyEncoder | None,
    *,
    tau: float | Sequence[float] | Literal["scaled", "auto"] = "auto",
    covariance: CovarianceForm = "low-rank",
    rank: int = 16,
    rows: int = 50,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> ReferencePack:
    """Make the reference pack of a data set under one encoder.

    Parameters
    ----------
    data : str or Dataset
        Labelled.
    encoder : str, Encoder, or None
        None for data that are features already (`features:FILE`).
    tau, covariance, rank, rows
        As in `ReferencePack.from_task`.
    settings : Settings, optional
        The classifiers are fitted on the fitting rows, their losses measured on the others, at most 50,000 each, drawn
        with the class shares; statistics are of all rows.
    progress : callable (what, done, total), optional

    Raises
    ------
    TransferabilityError
        If the data, the encoder or an option are at fault.

    Notes
    -----
    One pass over the features, shard by shard: memory is that of the statistics and of the rows for the classifiers,
    however many rows there are.
    """
    settings = settings or Settings()
    if settings.layer == "all":
        message = "`layer` must be one layer here: a pack is of one encoder. Make one pack for each layer."
        raise OptionError(message)
    loaded = None if encoder is None else load(encoder, settings)
    split = prepare(data, settings)
    dataset = split.dataset
    if dataset.labels is None:
        message = f"data {split.name!r} must have labels: a pack holds statistics of each class. Label them."
        raise LabelError(message)
    what = f"{'features' if loaded is None else loaded.name}: {split.name}"
    blocks = extract_blocks(
        loaded,
        dataset,
        progress=None if progress is None else lambda done, total: progress(what, done, total),
        **settings.of(ExtractionOptions),
    )
    chosen = [_drawn(dataset.labels, rows, settings.seed) for rows in (split.fit_rows, split.test_rows)]
    kept = np.sort(np.concatenate(chosen))
    statistics, features = _summed_up(blocks, dataset.labels, kept, covariance, rank)
    fit, test = (
        Task(
            features[np.searchsorted(kept, rows)],
            dataset.labels[rows],
            name=split.name,
            class_names=dataset.class_names,
        )
        for rows in chosen
    )
    warn_of_cost(split.name, fit.n_classes, fit.n_classes, 2)  # of four classifiers about as much as of two fits
    if progress is not None:
        progress(f"{split.name}: classifiers of {fit.n_classes:,} classes", 0, 1)
    made = describe_run(TaskRelatedness(seed=settings.seed), settings)
    return ReferencePack.from_task(
        fit,
        test,
        tau=tau,
        rows=rows,
        encoder=fingerprint_of(loaded),
        provenance={"data": split.name, "made": made["at"]} | {k: str(v) for k, v in made["versions"].items()},
        statistics=statistics,
    )


def _drawn(labels: IntArray, rows: IntArray, seed: int) -> IntArray:
    drawn: IntArray = rows[stratified_sample(labels[rows], len(rows), _SAMPLES, seed)]
    return drawn


def _summed_up(
    blocks: Iterable[Features], labels: IntArray, kept: IntArray, covariance: CovarianceForm, rank: int
) -> tuple[ClassStatistics, FloatArray]:
    """Return the statistics of all rows, and the features of those in `kept`, ascending."""
    statistics: ClassStatistics | None = None
    picked: list[FloatArray] = []
    start = 0
    for rows in _joined(blocks):
        stop = start + len(rows)
        with threads_for(float(len(rows)) * rows.shape[1] ** 2):
            part = class_statistics(rows, labels[start:stop], int(labels.max()) + 1, covariance=covariance, rank=rank)
            statistics = part if statistics is None else statistics.merge(part)
        here = kept[np.searchsorted(kept, start) : np.searchsorted(kept, stop)]
        picked.append(rows[here - start])
        start = stop
    assert statistics is not None  # a data set has rows
    return statistics, np.concatenate(picked)


def _joined(blocks: Iterable[Features]) -> Iterator[FloatArray]:
    """Yield the features of several blocks at once."""
    waiting: list[FloatArray] = []
    for block in blocks:
        waiting.append(block.features)
        if sum(map(len, waiting)) >= _BLOCK_ROWS:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
