"""From an encoder and a data set to features: what users call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transferability._array import FloatArray
from transferability._files import Features
from transferability._validate import check_choice
from transferability.datasets import Dataset
from transferability.encoders import FEATURES, Encoder, FeatureFiles, OutputView, accepts, outputs_of
from transferability.errors import EncoderError, OptionError, nearest_names
from transferability.features.files import feature_writer
from transferability.features.job import Done, Executor, Job, Progress
from transferability.features.local import run
from transferability.features.model import where
from transferability.features.shards import Shard, parse_share, pick, plan
from transferability.features.store import DType, FeatureCache, read_shard
from transferability.features.upkeep import SIZE_VARIABLE, parse_size, prune

__all__ = [
    "ShareDone",
    "extract_blocks",
    "extract_features",
    "extract_outputs",
    "extract_share",
    "extract_to_files",
]

_BATCH_SIZE = 32
_ON_GPU = 128  # halved where memory does not suffice
_PICTURES_ON_CPU = 8  # larger batches of activations leave the processor's cache: 32 was measured 2.5 times slower
_NOUNS = {
    "image": "pictures",
    "text": "texts",
    "array": "arrays, such as features",
    "tokens": "words of sentences",
}
_ENCODERS_FOR = {
    "image": "For pictures: timm:, torchvision:, hf:, onnx:.",
    "text": "For texts: st:, hf:.",
    "array": "Features need no encoder.",
    "tokens": "For words: hf:.",
}


def extract_features(
    encoder: Encoder | FeatureFiles | None,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    workers: int | None = None,
    dtype: DType = "float32",
) -> Features:
    """Return what an encoder makes of a data set.

    Parameters
    ----------
    encoder : Encoder, FeatureFiles or None
        None for data that are features already.
    dataset : Dataset
        Pictures, texts, words or arrays; also a subset.
    batch_size : int, optional
        Items per call of the encoder; by default 8 for pictures on a CPU, 128 on a GPU, else 32. Where memory does not
        suffice it is halved until it does. It does not change the features beyond rounding.
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
        return _look_up(encoder, dataset)
    base, output = _base_and_output(encoder)
    job = make_job(base, dataset, (output,), batch_size, cache, workers, dtype)
    return assemble(job, run(job, job.shards(), progress))[output]


def extract_outputs(
    encoder: Encoder,
    dataset: Dataset,
    outputs: Sequence[str],
    *,
    batch_size: int | None = None,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    workers: int | None = None,
    dtype: DType = "float32",
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
    job = make_job(encoder, dataset, tuple(dict.fromkeys(outputs)), batch_size, cache, workers, dtype)
    return assemble(job, run(job, job.shards(), progress))


def extract_blocks(
    encoder: Encoder | FeatureFiles | None,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    workers: int | None = None,
    dtype: DType = "float32",
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
        yield from _look_up_blocks(encoder, dataset)
        return
    base, output = _base_and_output(encoder)
    job = make_job(base, dataset, (output,), batch_size, cache, workers, dtype)
    for shard, parts in in_order(run(job, job.shards(), progress)):
        yield _with_rows(as_float32(parts[output]), dataset.subset(shard.rows))
    finish(job)


def extract_to_files(
    encoder: Encoder,
    dataset: Dataset,
    paths: Mapping[str, Path],
    *,
    batch_size: int | None = None,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    workers: int | None = None,
    dtype: DType = "float32",
    executor: Executor = run,
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
    base, output = _base_and_output(encoder)
    named = {output if each == FEATURES else each: Path(path) for each, path in paths.items()}
    job = make_job(base, dataset, tuple(named), batch_size, cache, workers, dtype)
    widths: dict[str, int] = {}
    with ExitStack() as stack:
        writers = {each: stack.enter_context(feature_writer(path, dataset)) for each, path in named.items()}
        for shard, parts in in_order(executor(job, job.shards(), progress)):
            for each, part in parts.items():
                rows = as_float32(part)
                _check_width(job, shard, rows.shape[1], widths.setdefault(each, rows.shape[1]))
                writers[each].add(rows)
    finish(job)
    return {asked: widths[each] for asked, each in zip(paths, named, strict=True)}


class ShareDone(NamedTuple):
    """What of a data set's shards is there after one share was worked on."""

    done: int
    total: int
    missing: tuple[Shard, ...]


def extract_share(
    encoder: Encoder,
    dataset: Dataset,
    share: str,
    outputs: Sequence[str] = (FEATURES,),
    *,
    batch_size: int | None = None,
    cache: FeatureCache | bool = True,
    progress: Progress | None = None,
    workers: int | None = None,
    dtype: DType = "float32",
) -> ShareDone:
    """Compute one share of the shards into the cache: for several machines or shells with one folder.

    When all shares are done, `extract_features` and its like find everything there.

    Parameters
    ----------
    encoder : Encoder
    dataset : Dataset
    share : str
        ``i/n``: the i-th of n shares, counted from 1.
    outputs : sequence of str
        As for `extract_outputs`.
    batch_size, cache, progress, workers, dtype
        As for `extract_features`. A cache must be there.

    Returns
    -------
    ShareDone
        Number of shards that are there now, number of all, and those that are missing.

    Raises
    ------
    OptionError
        If the share is no ``i/n`` or nothing can be kept: without a cache, or for an encoder without identity.
    EncoderError, DatasetError
        As `extract_features`.
    """
    number, n_shares = parse_share(share)
    base, output = _base_and_output(encoder)
    wanted = tuple(output if each == FEATURES else each for each in outputs)
    job = make_job(base, dataset, wanted, batch_size, cache, workers, dtype)
    if job.cache is None:
        message = "`shard` must go with a cache, where the shares meet; "
        message += f"encoder {encoder.name!r} cannot tell its identity." if cache else "got none. Leave it on."
        raise OptionError(message)
    for _ in run(job, pick(job.shards(), number, n_shares), progress):
        pass
    finish(job)
    there = set.intersection(*(entry.numbers() for entry in job.entries().values()))
    missing = tuple(shard for shard in job.shards() if shard.number not in there)
    return ShareDone(len(there), len(job.shards()), missing)


def make_job(
    encoder: Encoder,
    dataset: Dataset,
    outputs: tuple[str, ...],
    batch_size: int | None,
    cache: FeatureCache | bool,
    workers: int | None,
    dtype: DType,
) -> Job:
    """Return a checked job, with the defaults filled in."""
    check_choice(dtype, ("float32", "float16"), "dtype")
    for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
        if value is not None and value < least:
            message = f"`{name}` must be at least {least}; got {value}."
            raise OptionError(message)
    if not accepts(encoder, dataset.modality):
        message = f"encoder {encoder.name!r} takes {_NOUNS[encoder.modality or 'array']}; data {dataset.name!r} are "
        message += f"{_NOUNS[dataset.modality]}. {_ENCODERS_FOR[dataset.modality]}"
        raise EncoderError(message)
    known = outputs_of(encoder)
    for output in outputs:
        if output not in known:
            message = f"`outputs` must be among those of encoder {encoder.name!r}; got {output!r}. "
            raise OptionError(message + nearest_names(output, known))
    identity = encoder.identity()
    device = str((identity or {}).get("device", "")).lower()
    size = _PICTURES_ON_CPU if "cpu" in device and dataset.modality == "image" else _BATCH_SIZE
    size = _ON_GPU if "cuda" in device else size
    store = (cache if isinstance(cache, FeatureCache) else FeatureCache()) if cache and identity is not None else None
    return Job(encoder, dataset, outputs, batch_size or size, dtype, workers, store)


def in_order(done: Iterable[Done]) -> Iterator[Done]:
    """Yield shards by their rows, each as soon as those before it are there."""
    waiting: dict[int, Done] = {}
    position = 0
    for each in done:
        waiting[each.shard.number] = each
        while position in waiting:
            yield waiting.pop(position)
            position += 1


def assemble(job: Job, done: Iterable[Done]) -> dict[str, Features]:
    """Return whole outputs, their shards put together."""
    whole: dict[str, npt.NDArray[np.float32]] = {}
    for shard, parts in done:
        for output, part in parts.items():
            rows = as_float32(part)
            if output not in whole:
                whole[output] = np.empty((len(job.dataset), rows.shape[1]), dtype=np.float32)
            _check_width(job, shard, rows.shape[1], whole[output].shape[1])
            whole[output][shard.start : shard.stop] = rows
    finish(job)
    keys = {output: entry.key for output, entry in job.entries().items()}
    return {output: replace(_with_rows(whole[output], job.dataset), key=keys.get(output)) for output in job.outputs}


def _check_width(job: Job, shard: Shard, width: int, before: int) -> None:
    """Within one run the model has checked it; here shards of other runs come in."""
    if width != before:
        message = f"encoder {job.encoder.name!r} must return rows of one length; it returned {before} numbers for some "
        message += f"rows and {width} for {where(job.dataset, shard.rows)}. "
        message += "An input size that follows the picture's is the usual cause."
        raise EncoderError(message)


def finish(job: Job) -> None:
    """Note that a job's entries were used, and keep the cache within its limit, if there is one."""
    if job.cache is None:
        return
    entries = job.entries().values()
    for entry in entries:
        entry.touch()
    limit = os.environ.get(SIZE_VARIABLE)
    if limit:
        prune(job.cache, parse_size(limit, SIZE_VARIABLE), spare=[entry.key for entry in entries])


def as_float32(part: Path | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the rows of a part of a `Done`, wherever they are."""
    rows = read_shard(part) if isinstance(part, Path) else part
    return rows.astype(np.float32, copy=False)


def _base_and_output(encoder: Encoder) -> tuple[Encoder, str]:
    """Return the encoder behind a view, so that all layers of one model share a key but for the layer's name."""
    return (encoder.base, encoder.output) if isinstance(encoder, OutputView) else (encoder, FEATURES)


def _look_up(encoder: FeatureFiles | None, dataset: Dataset) -> Features:
    if encoder is not None:
        found = encoder.lookup(dataset.name, dataset.ids, dataset.rows, len(dataset.all_ids), dataset.labels)
        return found if dataset.labels is None else _with_rows(found.features, dataset)
    if dataset.modality != "array":
        message = f"`encoder` must not be None: data {dataset.name!r} are {_NOUNS[dataset.modality]}, not features. "
        message += _ENCODERS_FOR[dataset.modality]
        raise EncoderError(message)
    return _with_rows(np.stack(dataset.items(range(len(dataset)))), dataset)


def _look_up_blocks(encoder: FeatureFiles | None, dataset: Dataset) -> Iterator[Features]:
    whole = None if encoder is None else _look_up(encoder, dataset)
    for shard in plan(len(dataset)):
        part = dataset.subset(shard.rows)
        if whole is None:
            yield _look_up(None, part)
        else:
            labels = None if whole.labels is None else whole.labels[shard.start : shard.stop]
            yield replace(_with_rows(whole.features[shard.start : shard.stop], part), labels=labels)


def _with_rows(features: FloatArray, dataset: Dataset) -> Features:
    return Features(features, dataset.labels, dataset.class_names, dataset.ids, dataset.name, dataset.targets)
