"""What a report shows beside the numbers: points of the test parts, items of matched classes, how it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from transferability.datasets import Dataset
from transferability.errors import RowError
from transferability.pipeline.data import Part, Split
from transferability.pipeline.extraction import LoadedReference
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.references import OWN_HALF, UNION, union_of
from transferability.relatedness.results.describe import MAX_SHOWN, describe
from transferability.relatedness.results.result import Relatedness
from transferability.report.provenance import provenance
from transferability.report.samples import MAX_CLASSES, PER_CLASS, samples_of
from transferability.settings import Settings
from transferability.task import Task

__all__ = ["SampleCache", "describe_run", "described", "fingerprint_of_data", "nearest"]

SampleCache = dict[tuple[int, int], tuple[dict[str, str], ...]]
"""Samples of each class of each data set, so that many encoders do not read them many times."""
_READ, _HEX = 1000, 32
_fingerprints: WeakKeyDictionary[Dataset, str] = WeakKeyDictionary()


def describe_run(estimator: TaskRelatedness, settings: Settings, parts: Sequence[Part] = ()) -> dict[str, Any]:
    """Return how a result was made: versions, machine, settings, data (the first is the target); JSON values."""
    data = [
        {"name": part.name, "kind": part.dataset.modality, "role": "reference" if k else "target"}
        | _rows(part, is_target=k == 0)
        | _mark(part.dataset)
        | ({"notes": list(part.dataset.notes)} if part.dataset.notes else {})
        for k, part in enumerate(parts)
        if isinstance(part, Split)
    ]
    return provenance(asdict(settings), vars(estimator), data)


def _rows(part: Split, *, is_target: bool) -> dict[str, int]:
    if is_target and part.folds is not None:
        return {"fit_rows": len(part.dataset), "test_rows": len(part.dataset), "folds": len(part.folds)}
    return {"fit_rows": len(part.fit_rows), "test_rows": len(part.test_rows)}


def fingerprint_of_data(dataset: Dataset) -> str | None:
    """Return what tells data from others: a hash of ids, labels and class names, and of the contents of 1,000 rows.

    Of more rows those are read that are evenly spread: reading all would take as long as encoding them with a small
    model. None where a row cannot be read.
    """
    if dataset not in _fingerprints:
        total = hashlib.sha256()
        for part in (*dataset.ids.tolist(), *(dataset.class_names or ())):
            text = part.encode("utf-8", "surrogatepass")
            total.update(len(text).to_bytes(8, "little"))  # lengths first, so that texts cannot run together
            total.update(text)
        for values in (dataset.labels, dataset.targets):
            total.update(b"" if values is None else np.ascontiguousarray(values).astype(float).tobytes())
        shown = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), _READ)).round().astype(int))
        try:
            total.update(dataset.fingerprint(shown.tolist()).encode())
        except RowError:
            return None
        _fingerprints[dataset] = total.hexdigest()[:_HEX]
    return _fingerprints[dataset]


def _mark(dataset: Dataset) -> dict[str, str]:
    found = fingerprint_of_data(dataset)
    return {} if found is None else {"fingerprint": found}


def described(
    result: Relatedness,
    panel: Sequence[LoadedReference],
    fit: Task | ReferencePack,
    test: Task | None,
    target: Part,
    cache: SampleCache,
) -> Relatedness:
    """Return the result with what pictures of it need; as it is where there are no samples to show."""
    shown = test if test is not None else fit if result.evaluated_on == "folds" else None
    if not isinstance(shown, Task) or not isinstance(target, Split):
        return result
    known = result.pseudo_labels is None
    own = _samples(target, range(len(result.class_map)), result.target_class_names, cache) if known else {}
    matched = [int(j) for j in dict.fromkeys(result.class_map) if j >= 0]
    names = result.reference_class_names
    if result.reference == OWN_HALF:
        details, theirs = describe(result, shown, shown), own
    elif result.reference == UNION:
        samples = [(each.fit, each.test) for each in panel if isinstance(each.fit, Task)]
        together, tests = union_of(samples, standardize=not np.isinf(result.transform.target_scaler.limit))
        details, theirs = describe(result, tests or together, shown), {}
        for j in matched:
            part, k = _member(panel, j)
            theirs |= _samples(part, [k], {k: names[j]}, cache) if isinstance(part, Split) else {}
    else:
        closest = nearest(panel, result)
        if closest is None or closest.test is None or not isinstance(closest.part, Split):
            return result
        details, theirs = describe(result, closest.test, shown), _samples(closest.part, matched, names, cache)
    if result.evaluated_on == "folds":  # of the classifiers that have not seen the rows, not of the one fitted to all
        details = replace(details, class_accuracy=_class_accuracy(result, shown))
    return replace(result, details=replace(details, target_samples=own, reference_samples=theirs))


def _class_accuracy(result: Relatedness, target: Task) -> tuple[float, ...] | None:
    correct = result.transferred_correct
    if correct is None or target.labels is None:
        return None
    shares = np.bincount(target.labels[correct], minlength=target.n_classes) / np.bincount(target.labels)
    return tuple(float(share) for share in shares[:MAX_SHOWN])


def nearest(panel: Sequence[LoadedReference], result: Relatedness) -> LoadedReference | None:
    """Return the closest of the references that were given; not by name, as two may share one. None of none."""
    # The union and the target's own half come after those that were given.
    pairs = zip(panel, result.references, strict=False)
    return min(pairs, key=lambda pair: pair[1].bound)[0] if panel else None


def _member(panel: Sequence[LoadedReference], j: int) -> tuple[Part, int]:
    """Return the reference that class `j` of the union belongs to, and its number there."""
    for each in panel:
        if j < each.fit.n_classes:
            return each.part, j
        j -= each.fit.n_classes
    raise AssertionError  # the union has no other classes


def _samples(
    part: Split, classes: Iterable[int], names: Sequence[str] | Mapping[int, str], cache: SampleCache
) -> dict[str, tuple[dict[str, str], ...]]:
    """Return a few items of each class, from the test part; none where the data have no labels or cannot be shown."""
    labels = part.dataset.labels
    if labels is None or part.dataset.modality == "array":
        return {}
    chosen = list(classes)[:MAX_CLASSES]
    for k in chosen:
        if (id(part.dataset), k) not in cache:
            rows = part.test_rows[labels[part.test_rows] == k][:PER_CLASS]
            cache[id(part.dataset), k] = samples_of(part.dataset.items(rows))
    return {names[k]: cache[id(part.dataset), k] for k in chosen}
