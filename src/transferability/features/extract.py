"""The loop from items to features: batches, checks, the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from transferability._array import FloatArray, as_numpy
from transferability._files import Features
from transferability.datasets import Dataset
from transferability.datasets.base import Item
from transferability.encoders import Encoder, FeatureFiles
from transferability.errors import EncoderError, OptionError, TransferabilityError
from transferability.features.cache import FeatureCache

__all__ = ["extract_features"]

_BATCH_SIZE = 32
_PICTURES_ON_CPU = 8  # larger batches of activations leave the processor's cache: 32 was measured 2.5 times slower
_NOUNS = {"image": "pictures", "text": "texts", "array": "arrays, such as features"}
_ENCODERS_FOR = {
    "image": "For pictures: timm:, torchvision:, hf:, onnx:.",
    "text": "For texts: st:, hf:.",
    "array": "Features need no encoder.",
}


def extract_features(
    encoder: Encoder | FeatureFiles | None,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    cache: FeatureCache | bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Return what an encoder makes of a data set.

    Parameters
    ----------
    encoder : Encoder, FeatureFiles or None
        None for data that are features already.
    dataset : Dataset
        Pictures, texts or arrays; also a subset.
    batch_size : int, optional
        Items per call of the encoder; by default 32, and 8 for pictures on a CPU. It does not change the features
        beyond rounding.
    cache : FeatureCache or bool, default=True
        True for the cache in the default folder. What is there is not computed again.
    progress : callable, optional
        Called with the number of rows done and the number of all, after each batch.

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
        If the batch size is not positive or the cache folder cannot be written.

    Notes
    -----
    The next batch is decoded in a thread while the encoder computes. The rows of one data set stay in memory and in
    one file; spreading them over files and machines has its place in `_batches` and `FeatureCache`.
    """
    if batch_size is not None and batch_size < 1:
        message = f"`batch_size` must be at least 1; got {batch_size}."
        raise OptionError(message)
    if isinstance(encoder, FeatureFiles):
        return _look_up(encoder, dataset)
    _check_modality(encoder, dataset)
    if encoder is None:
        return _with_rows(np.stack(dataset.items(range(len(dataset)))), dataset)
    identity = encoder.identity()
    on_cpu = "cpu" in str((identity or {}).get("device", "")).lower()
    size = batch_size or (_PICTURES_ON_CPU if on_cpu and dataset.modality == "image" else _BATCH_SIZE)
    if not cache or identity is None:
        return _with_rows(_compute(encoder, dataset, size, progress), dataset)

    store = cache if isinstance(cache, FeatureCache) else FeatureCache()
    key = store.key(identity, dataset.fingerprint())
    with store.locked(key):
        features = store.read(key)
        if features is None or len(features) != len(dataset):
            features = _compute(encoder, dataset, size, progress)
            store.write(key, features, {"encoder": identity, "data": dataset.name, "rows": len(dataset)})
        elif progress is not None:
            progress(len(dataset), len(dataset))
    return _with_rows(features, dataset)


def _check_modality(encoder: Encoder | None, dataset: Dataset) -> None:
    if encoder is None:
        if dataset.modality != "array":
            message = (
                f"`encoder` must not be None: data {dataset.name!r} are {_NOUNS[dataset.modality]}, not features. "
            )
            message += _ENCODERS_FOR[dataset.modality]
            raise EncoderError(message)
    elif encoder.modality not in (None, dataset.modality):
        message = f"encoder {encoder.name!r} takes {_NOUNS[encoder.modality]}; data {dataset.name!r} are "
        message += f"{_NOUNS[dataset.modality]}. {_ENCODERS_FOR[dataset.modality]}"
        raise EncoderError(message)


def _compute(
    encoder: Encoder, dataset: Dataset, size: int, progress: Callable[[int, int], None] | None
) -> npt.NDArray[np.float32]:
    features = np.empty((0, 0), dtype=np.float32)
    for start, items in _batches(dataset, size):
        rows = _encode(encoder, items, dataset, start)
        if start == 0:
            features = np.empty((len(dataset), rows.shape[1]), dtype=np.float32)
        elif rows.shape[1] != features.shape[1]:
            message = (
                f"encoder {encoder.name!r} must return rows of one length; it returned {features.shape[1]} numbers "
            )
            message += f"for the first rows of data {dataset.name!r} and {rows.shape[1]} from row "
            message += f"{_id(dataset, start)} on. An input size that follows the picture's is the usual cause."
            raise EncoderError(message)
        features[start : start + len(rows)] = rows
        if progress is not None:
            progress(start + len(rows), len(dataset))
    return features


def _batches(dataset: Dataset, size: int) -> Iterator[tuple[int, list[Item]]]:
    """Yield the first row and the items of each batch, the next one being decoded meanwhile."""
    starts = range(0, len(dataset), size)

    def decode(start: int) -> list[Item]:
        return dataset.items(range(start, min(start + size, len(dataset))))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as thread:
        ahead = thread.submit(decode, 0)
        for start in starts:
            items = ahead.result()
            if start + size < len(dataset):
                ahead = thread.submit(decode, start + size)
            yield start, items


def _encode(encoder: Encoder, items: list[Item], dataset: Dataset, start: int) -> FloatArray:
    """Return the rows of one batch, checked."""
    where = f"rows {_id(dataset, start)} to {_id(dataset, start + len(items) - 1)} of data {dataset.name!r}"
    try:
        rows = as_numpy(encoder.encode(items))
    except TransferabilityError:
        raise
    except Exception as error:
        message = f"encoder {encoder.name!r} failed on {where}: {type(error).__name__}: {error}"
        raise EncoderError(message) from error
    if rows.ndim != 2 or rows.shape[0] != len(items) or rows.shape[1] == 0 or rows.dtype.kind not in "fiu":
        message = f"encoder {encoder.name!r} must return one row of numbers per item, ({len(items)}, n_features); "
        message += f"got {rows.dtype} of shape {rows.shape} for {where}."
        raise EncoderError(message)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is named below
        rows = rows.astype(np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = start + int(np.argmin(finite))
        message = f"encoder {encoder.name!r} returned NaN or infinity for row {_id(dataset, bad)} of data "
        message += f"{dataset.name!r}. Look at that row; if it is in order, the encoder overflows: try another device."
        raise EncoderError(message)
    return rows


def _look_up(encoder: FeatureFiles, dataset: Dataset) -> Features:
    found = encoder.lookup(dataset.name, dataset.ids, dataset.rows, len(dataset.all_ids), dataset.labels)
    if dataset.labels is None:
        return found
    return _with_rows(found.features, dataset)


def _with_rows(features: FloatArray, dataset: Dataset) -> Features:
    return Features(features, dataset.labels, dataset.class_names, dataset.ids, dataset.name)


def _id(dataset: Dataset, row: int) -> str:
    return repr(str(dataset.all_ids[dataset.rows[row]]))
