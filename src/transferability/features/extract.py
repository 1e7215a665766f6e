"""From an encoder and a data set to features: what users call."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Unpack

from transferability._files import Features
from transferability.datasets import Dataset
from transferability.encoders import FEATURES, Encoder, FeatureFiles, OutputView
from transferability.features.assemble import (
    assemble,
    check_width,
    finish,
    in_order,
    notes_of,
    rows_of,
    with_rows,
)
from transferability.features.files import feature_writer
from transferability.features.job import Counts, Executor, Progress, make_job
from transferability.features.local import run
from transferability.features.lookup import look_up, look_up_blocks
from transferability.features.store import FeatureCache
from transferability.settings import ExtractionArguments

__all__ = [
    "base_and_output",
    "extract_blocks",
    "extract_features",
    "extract_outputs",
    "extract_to_files",
]

_log = logging.getLogger(__name__)


def extract_features(
    encoder: Encoder | FeatureFiles | None,
    dataset: Dataset,
    *,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    **options: Unpack[ExtractionArguments],
) -> Features:
    """Return what an encoder makes of a data set.

    Parameters
    ----------
    encoder : Encoder, FeatureFiles or None
        None for data that are features already.
    dataset : Dataset
        Pictures, texts, words or arrays; also a subset.
    batch_size : int, optional
        Items per call of the encoder; by default 8 for pictures on a CPU, else 32, and on a GPU 128, doubled while that
        makes it faster. Where memory does not suffice it is halved until it does. It does not change the features
        beyond rounding.
    cache : FeatureCache or bool, default=True
        True for the cache in the default folder. What is there is not computed again.
    progress : callable, optional
        Called with the number of rows done and the number of all, after each batch.
    workers : int, optional
        Processes that decode and preprocess; 0 for none. By default they are started when the encoder waits for its
        batches long enough for them to pay.
    dtype : {"float32", "float16"}, default="float32"
        What features are rounded to and kept as. They are returned as float32.

    Returns
    -------
    Features
        float32, in the order of the data set, with its labels, class names and ids; `task()` makes a `Task` of it.

    Raises
    ------
    EncoderError
        If encoder and data do not fit, or if the encoder fails or returns anything but one finite row per item.
    DatasetError
        If an item cannot be read; the message names it.
    OptionError
        If an option is out of range or the cache folder cannot be written.

    Notes
    -----
    A run that was killed goes on after its last finished shard of 1,024 rows, and processes that run the same at the
    same time share the work. The array returned needs n × d × 4 bytes; `extract_blocks` needs no more for more rows.
    """
    if encoder is None or isinstance(encoder, FeatureFiles):
        return look_up(encoder, dataset)
    base, output = base_and_output(encoder)
    job = make_job(base, dataset, (output,), cache, **options)
    return assemble(job, run(job, job.shards(), progress))[output]


def extract_outputs(
    encoder: Encoder,
    dataset: Dataset,
    outputs: Sequence[str],
    *,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    **options: Unpack[ExtractionArguments],
) -> dict[str, Features]:
    """Return several outputs of an encoder in one pass: its features, its probabilities, hidden layers.

    Parameters
    ----------
    encoder : Encoder
    dataset : Dataset
    outputs : sequence of str
        Names, as in `transferability.encoders.outputs_of(encoder)`. Each is kept under a key of its own, the same that
        `extract_features` of that layer looks under.
    batch_size, cache, progress, workers, dtype
        As for `extract_features`.

    Returns
    -------
    dict of str to Features
        In the order asked for.

    Raises
    ------
    OptionError
        If the encoder has no output of a name.
    EncoderError, DatasetError
        As `extract_features`.
    """
    job = make_job(encoder, dataset, tuple(dict.fromkeys(outputs)), cache, **options)
    return assemble(job, run(job, job.shards(), progress))


def extract_blocks(
    encoder: Encoder | FeatureFiles | None,
    dataset: Dataset,
    *,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    **options: Unpack[ExtractionArguments],
) -> Iterator[Features]:
    """Yield what an encoder makes of a data set block by block, so that memory does not grow with the rows.

    Parameters
    ----------
    encoder, dataset, batch_size, cache, progress, workers, dtype
        As for `extract_features`. With a cache everything is computed first; blocks are then views of files.

    Yields
    ------
    Features
        The rows of one shard, in the order of the data set, with their labels and ids; read-only.
    """
    if encoder is None or isinstance(encoder, FeatureFiles):
        yield from look_up_blocks(encoder, dataset)
        return
    base, output = base_and_output(encoder)
    job = make_job(base, dataset, (output,), cache, **options)
    counts: list[Counts] = []
    for each in in_order(run(job, job.shards(), progress)):
        counts += [] if each.counts is None else [each.counts]
        yield with_rows(rows_of(job, each)[output], dataset.subset(each.shard.rows))
    finish(job)
    _say(notes_of(job, counts))


def extract_to_files(
    encoder: Encoder,
    dataset: Dataset,
    paths: Mapping[str, Path],
    *,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    executor: Executor = run,
    **options: Unpack[ExtractionArguments],
) -> dict[str, int]:
    """Write outputs of an encoder into feature files, in one pass and with memory that does not grow with the rows.

    Parameters
    ----------
    encoder, dataset, batch_size, cache, progress, workers, dtype
        As for `extract_features`.
    paths : mapping of str to Path
        A `.npz` or `.safetensors` file for each output wanted.
    executor : Executor
        Who computes: this process, or `transferability.features.ray.RayExecutor`.

    Returns
    -------
    dict of str to int
        Number of features of each output.

    Raises
    ------
    OptionError
        If the suffix of a path is another.
    EncoderError, DatasetError
        As `extract_features`.
    """
    base, output = base_and_output(encoder)
    named = {output if each == FEATURES else each: Path(path) for each, path in paths.items()}
    job = make_job(base, dataset, tuple(named), cache, **options)
    widths: dict[str, int] = {}
    counts: list[Counts] = []
    with ExitStack() as stack:
        writers = {each: stack.enter_context(feature_writer(path, dataset)) for each, path in named.items()}
        for done in in_order(executor(job, job.shards(), progress)):
            counts += [] if done.counts is None else [done.counts]
            for each, rows in rows_of(job, done).items():
                check_width(job, done.shard, rows.shape[1], widths.setdefault(each, rows.shape[1]))
                writers[each].add(rows)
    finish(job)
    _say(notes_of(job, counts))
    return {asked: widths[each] for asked, each in zip(paths, named, strict=True)}


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        _log.warning(note)


def base_and_output(encoder: Encoder) -> tuple[Encoder, str]:
    """Return the encoder behind a view, so that all layers of one model share a key but for the layer's name."""
    return (encoder.base, encoder.output) if isinstance(encoder, OutputView) else (encoder, FEATURES)
