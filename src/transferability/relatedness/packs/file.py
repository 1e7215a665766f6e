"""Reference packs as files: one safetensors file, everything beside the arrays is JSON in its header. No pickle.

Arrays are float64, logits float32 (schema 1), or in half precision (schema 2, `pack_compact`). Whatever a file holds is
checked before it is used: a pack may come from anybody.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transferability._tensors import Arrays, read_tensors, write_tensors
from transferability.errors import DatasetError, FileDamagedError, NoSuchFileError, no_such_file
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.packs.compact import (
    compact_statistics,
    compact_weights,
    half,
    lipschitz,
    restored_statistics,
)
from transferability.relatedness.packs.encoder_fingerprint import EncoderFingerprint
from transferability.relatedness.packs.reference_classifier import ReferenceClassifier
from transferability.relatedness.tasks.sample import HeldOut
from transferability.relatedness.tasks.standardize import Scaler
from transferability.statistics.classes import ClassStatistics

__all__ = ["COMPACT_SCHEMA", "PACK_SCHEMA", "PackContents", "read_pack", "write_pack"]

PACK_SCHEMA = 1
COMPACT_SCHEMA = 2
_KEY = "transferability"
_LARGEST = 1e100  # squares of what is larger are no longer finite
_MEASURED = ("loss", "accuracy", "certified_tau", "gap", "converged", "iterations")  # of a classifier, beside arrays


class PackContents(NamedTuple):
    """The fields of a `ReferencePack`."""

    name: str
    statistics: ClassStatistics
    scaler: Scaler
    heads: tuple[ReferenceClassifier, ...]
    class_names: tuple[str, ...] | None
    encoder: EncoderFingerprint | None
    provenance: dict[str, str]


def write_pack(pack: PackContents, path: Path, *, compact: bool = False) -> Path:
    """Write a pack; the file appears under its name only when it is complete."""
    statistics, single = pack.statistics, np.float32 if compact else np.float64
    arrays: Arrays = {
        "counts": statistics.counts.astype(np.int64),
        "scaler_mean": pack.scaler.mean.astype(single),
        "scaler_scale": pack.scaler.scale.astype(single),
    }
    if compact:
        arrays |= compact_statistics(statistics, pack.scaler)
    else:
        names = ("means", "diagonals", "pooled", "scatters", "sketches")
        arrays |= {name: array for name in names if (array := getattr(statistics, name)) is not None}
    about: dict[str, Any] = {
        "schema": COMPACT_SCHEMA if compact else PACK_SCHEMA,
        "holds": "reference pack",
        "name": pack.name,
        "class_names": pack.class_names,
        "encoder": None if pack.encoder is None else pack.encoder._asdict(),
        "scaler_limit": float(pack.scaler.limit) if np.isfinite(pack.scaler.limit) else None,
        "provenance": pack.provenance,
        "heads": [
            {"tau": head.tau} | {name: getattr(head.classifier, name) for name in _MEASURED} for head in pack.heads
        ],
    }
    for k, head in enumerate(pack.heads):
        weights = head.classifier.weights
        if compact:
            weights, about["heads"][k]["certified_tau"] = compact_weights(weights, head.tau)
        arrays |= {f"weights_{k}": weights}
        arrays |= {
            f"intercept_{k}": head.classifier.intercept.astype(single),
            f"losses_{k}": head.losses.astype(single),
        }
        if head.held_out is not None:
            logits = head.held_out.logits
            arrays[f"logits_{k}"] = half(logits, "logits") if compact else logits.astype(np.float32)
            arrays[f"rows_{k}"] = head.held_out.labels.astype(np.int32)
    text = json.dumps(about, ensure_ascii=False, allow_nan=False, default=lambda value: value.item())
    write_tensors(path, arrays, {_KEY: text})
    return path


def read_pack(path: Path) -> PackContents:
    """Read and check a pack."""
    if not os.path.isfile(path):  # noqa: PTH113 - False for names that cannot be, where Path raises
        if not os.path.exists(path):  # noqa: PTH110
            raise NoSuchFileError(no_such_file(path))
        message = f"{path} is not a file."
        raise DatasetError(message)
    arrays, metadata = read_tensors(path, "a reference pack")
    try:
        about = json.loads(metadata.get(_KEY, "{}"))
        _check_schema(about)
        return _pack(about, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        message = f"file {path} is damaged or no reference pack: {reason}. Make or copy it again."
        raise FileDamagedError(message) from error


def _check_schema(about: Any) -> None:
    if not isinstance(about, dict) or about.get("holds") != "reference pack":
        message = "its header does not say that it is one"
        raise ValueError(message)
    if about.get("schema") not in (PACK_SCHEMA, COMPACT_SCHEMA):
        message = f"it is of schema {about.get('schema')!r}, and this version reads {PACK_SCHEMA} and {COMPACT_SCHEMA}"
        raise ValueError(message)


def _pack(about: dict[str, Any], arrays: Arrays) -> PackContents:
    counts = arrays["counts"]
    if counts.ndim != 1 or counts.dtype != np.int64 or len(counts) < 2 or counts.min() < 0 or counts.sum() < 1:
        message = f"`counts` must be two numbers or more, none negative; got {counts.dtype} of shape {counts.shape}"
        raise ValueError(message)
    K, d = len(counts), _size(arrays["means"])
    compact = about["schema"] == COMPACT_SCHEMA
    single = np.float32 if compact else np.float64
    mean = _array(arrays, "scaler_mean", (d,), dtype=single)
    scale = _array(arrays, "scaler_scale", (d,), least=float(np.finfo(single).tiny), dtype=single)
    limit = about["scaler_limit"]
    names, encoder = about["class_names"], about["encoder"]
    if names is not None and len(names) != K:
        message = f"{len(names)} class names for {K} classes"
        raise ValueError(message)
    scaler = Scaler(mean, scale, np.inf if limit is None else float(limit))
    statistics = _compact_statistics(arrays, counts, scaler, d) if compact else _statistics(arrays, counts, K, d)
    return PackContents(
        name=str(about["name"]),
        statistics=statistics,
        scaler=scaler,
        heads=tuple(_head(each, arrays, k, K, d, compact=compact) for k, each in enumerate(about["heads"])),
        class_names=None if names is None else tuple(map(str, names)),
        encoder=None if encoder is None else EncoderFingerprint(str(encoder["name"]), _text(encoder["fingerprint"])),
        provenance={str(key): str(value) for key, value in about["provenance"].items()},
    )


def _statistics(arrays: Arrays, counts: npt.NDArray[np.int64], K: int, d: int) -> ClassStatistics:
    statistics = ClassStatistics(
        counts=counts,
        means=_array(arrays, "means", (K, d)),
        diagonals=_array(arrays, "diagonals", (K, d), least=0.0),
        pooled=_array(arrays, "pooled", (d, d)),
        scatters=_array(arrays, "scatters", (K, d, d)) if "scatters" in arrays else None,
        sketches=_array(arrays, "sketches", (K, d, _size(arrays["sketches"]))) if "sketches" in arrays else None,
    )
    if statistics.scatters is not None and statistics.sketches is not None:
        message = "it holds both `scatters` and `sketches`"
        raise ValueError(message)
    if not np.allclose(np.diagonal(statistics.pooled), statistics.diagonals.sum(axis=0), rtol=1e-6, atol=0):
        message = "the diagonal of `pooled` is not the sum of `diagonals`"
        raise ValueError(message)
    return statistics


def _compact_statistics(arrays: Arrays, counts: npt.NDArray[np.int64], scaler: Scaler, d: int) -> ClassStatistics:
    parts = {
        "means": _array(arrays, "means", (len(counts), d), dtype=np.float16),
        "widths": _array(arrays, "widths", (len(counts),), least=0.0, dtype=np.float16),
        "deviations": _array(arrays, "deviations", (d,), least=0.0, dtype=np.float16),
        "factor": _array(arrays, "factor", (d, _size(arrays["factor"])), dtype=np.float16),
    }
    return restored_statistics(parts, counts, scaler)


def _head(about: dict[str, Any], arrays: Arrays, k: int, K: int, d: int, *, compact: bool) -> ReferenceClassifier:
    half, single = (np.float16, np.float32) if compact else (np.float64, np.float64)
    weights = _array(arrays, f"weights_{k}", (K, d), dtype=half)
    measured = lipschitz(weights)
    tau, certified = float(about["tau"]), float(about["certified_tau"])
    if not measured <= certified * (1 + 1e-6) <= tau * (1 + 2e-6) < np.inf:  # what can be checked of a classifier
        message = (
            f"classifier {k} has the Lipschitz constant {measured:.6g}, but says {certified:.6g} and τ = {tau:.6g}"
        )
        raise ValueError(message)
    classifier = SoftmaxClassifier(
        weights=weights,
        intercept=_array(arrays, f"intercept_{k}", (K,), dtype=single),
        loss=float(about["loss"]),
        accuracy=float(about["accuracy"]),
        certified_tau=certified,
        gap=float(about["gap"]),
        converged=bool(about["converged"]),
        iterations=int(about["iterations"]),
    )
    losses = _array(arrays, f"losses_{k}", (K,), least=0.0, dtype=single)
    return ReferenceClassifier(classifier, tau, losses, _held_out(arrays, k, K, compact=compact))


def _held_out(arrays: Arrays, k: int, K: int, *, compact: bool) -> HeldOut | None:
    """Return the rows of a classifier; None in a pack of statistics alone, or of a version that knew no rows."""
    if f"logits_{k}" not in arrays:
        return None
    labels = arrays[f"rows_{k}"]
    present = labels.ndim == 1 and labels.dtype == np.int32 and labels.size > 0 and labels.min() >= 0
    if not present or not np.array_equal(np.unique(labels), np.arange(K)):
        message = f"`rows_{k}` must be the classes of rows, int32 from 0 to {K - 1}, each there"
        raise ValueError(message)
    dtype = np.float16 if compact else np.float32
    return HeldOut(_array(arrays, f"logits_{k}", (len(labels), K), dtype=dtype), labels.astype(np.int64))


def _array(
    arrays: Arrays, name: str, shape: tuple[int, ...], least: float = -_LARGEST, dtype: type[Any] = np.float64
) -> npt.NDArray[np.float64]:
    array = arrays[name]
    if array.shape != shape or array.dtype != dtype:
        wanted = np.dtype(dtype).name
        message = f"`{name}` must be {wanted} of shape {shape}; got {array.dtype} of shape {array.shape}"
        raise ValueError(message)
    array = array.astype(np.float64, copy=False)
    if not ((array >= least) & (array <= _LARGEST)).all():  # also false for NaN
        message = f"`{name}` holds values that are not finite or outside {least:.3g} … {_LARGEST:.0e}"
        raise ValueError(message)
    return array


def _size(array: npt.NDArray[Any]) -> int:
    if array.ndim < 2 or 0 in array.shape:
        message = f"an array of shape {array.shape} where features were expected"
        raise ValueError(message)
    return int(array.shape[-1])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
