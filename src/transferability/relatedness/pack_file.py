"""Reference packs as files: one safetensors file, arrays in float64, everything else JSON in its header. No pickle.

Whatever a file holds is checked before it is used: a pack may come from anybody.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._identifiers import no_such_file
from transferability._tensors import Arrays, read_tensors, write_tensors
from transferability.errors import DatasetError, FileDamagedError, NoSuchFileError
from transferability.relatedness.lipschitz import SoftmaxClassifier
from transferability.relatedness.pack import EncoderMark, ReferenceHead, ReferencePack
from transferability.relatedness.standardize import Scaler
from transferability.statistics.classes import ClassStatistics

__all__ = ["PACK_SCHEMA", "read_pack", "write_pack"]

PACK_SCHEMA = 1
_KEY = "transferability"
_LARGEST = 1e100  # squares of what is larger are no longer finite
_MEASURED = ("loss", "accuracy", "certified_tau", "gap", "converged", "iterations")  # of a classifier, beside arrays


def write_pack(pack: ReferencePack, path: Path) -> Path:
    """Write a pack; the file appears under its name only when it is complete."""
    statistics = pack.statistics
    arrays: Arrays = {
        "counts": statistics.counts.astype(np.int64),
        "means": statistics.means,
        "diagonals": statistics.diagonals,
        "pooled": statistics.pooled,
        "scaler_mean": pack.scaler.mean,
        "scaler_scale": pack.scaler.scale,
    }
    if statistics.scatters is not None:
        arrays["scatters"] = statistics.scatters
    if statistics.sketches is not None:
        arrays["sketches"] = statistics.sketches
    about: dict[str, Any] = {
        "schema": PACK_SCHEMA,
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
        parts = {"weights": head.classifier.weights, "intercept": head.classifier.intercept, "losses": head.losses}
        arrays |= {f"{name}_{k}": array for name, array in parts.items()}
    text = json.dumps(about, ensure_ascii=False, allow_nan=False, default=lambda value: value.item())
    write_tensors(path, arrays, {_KEY: text})
    return path


def read_pack(path: Path) -> ReferencePack:
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
    if about.get("schema") != PACK_SCHEMA:
        message = f"it is of schema {about.get('schema')!r}, and this version reads {PACK_SCHEMA}"
        raise ValueError(message)


def _pack(about: dict[str, Any], arrays: Arrays) -> ReferencePack:
    counts = arrays["counts"]
    if counts.ndim != 1 or counts.dtype != np.int64 or len(counts) < 2 or counts.min() < 0 or counts.sum() < 1:
        message = f"`counts` must be two numbers or more, none negative; got {counts.dtype} of shape {counts.shape}"
        raise ValueError(message)
    K, d = len(counts), _size(arrays["means"])
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
    scale = _array(arrays, "scaler_scale", (d,), least=np.finfo(np.float64).tiny)
    limit = about["scaler_limit"]
    names, encoder = about["class_names"], about["encoder"]
    if names is not None and len(names) != K:
        message = f"{len(names)} class names for {K} classes"
        raise ValueError(message)
    return ReferencePack(
        name=str(about["name"]),
        statistics=statistics,
        scaler=Scaler(_array(arrays, "scaler_mean", (d,)), scale, np.inf if limit is None else float(limit)),
        heads=tuple(_head(each, arrays, k, K, d) for k, each in enumerate(about["heads"])),
        class_names=None if names is None else tuple(map(str, names)),
        encoder=None if encoder is None else EncoderMark(str(encoder["name"]), _text(encoder["fingerprint"])),
        provenance={str(key): str(value) for key, value in about["provenance"].items()},
    )


def _head(about: dict[str, Any], arrays: Arrays, k: int, K: int, d: int) -> ReferenceHead:
    weights = _array(arrays, f"weights_{k}", (K, d))
    gram = weights @ weights.T
    squares = np.diagonal(gram)[:, None] + np.diagonal(gram) - 2 * gram
    measured = float(np.sqrt(max(float(squares.max()), 0.0)))
    tau, certified = float(about["tau"]), float(about["certified_tau"])
    if not measured <= certified * (1 + 1e-6) <= tau * (1 + 2e-6) < np.inf:  # what can be checked of a classifier
        message = (
            f"classifier {k} has the Lipschitz constant {measured:.6g}, but says {certified:.6g} and τ = {tau:.6g}"
        )
        raise ValueError(message)
    classifier = SoftmaxClassifier(
        weights=weights,
        intercept=_array(arrays, f"intercept_{k}", (K,)),
        loss=float(about["loss"]),
        accuracy=float(about["accuracy"]),
        certified_tau=certified,
        gap=float(about["gap"]),
        converged=bool(about["converged"]),
        iterations=int(about["iterations"]),
    )
    return ReferenceHead(classifier, tau, _array(arrays, f"losses_{k}", (K,), least=0.0))


def _array(arrays: Arrays, name: str, shape: tuple[int, ...], least: float = -_LARGEST) -> npt.NDArray[np.float64]:
    array = arrays[name]
    if array.shape != shape or array.dtype != np.float64:
        message = f"`{name}` must be float64 of shape {shape}; got {array.dtype} of shape {array.shape}"
        raise ValueError(message)
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
