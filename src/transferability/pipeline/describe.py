"""What a report shows beside the numbers: points of the test parts, items of matched classes, how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from transferability.pipeline.data import Part, Settings, Split
from transferability.pipeline.extraction import Panelist
from transferability.pipeline.packs import PackSource
from transferability.relatedness.details import describe
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.result import Relatedness
from transferability.report.provenance import provenance
from transferability.report.samples import MAX_CLASSES, PER_CLASS, samples_of
from transferability.task import Task

__all__ = ["Seen", "describe_run", "described", "nearest"]

Seen = dict[tuple[int, int], tuple[dict[str, str], ...]]
"""Samples of each class of each data set, so that many encoders do not read them many times."""


def describe_run(estimator: TaskRelatedness, settings: Settings, parts: Sequence[Part] = ()) -> dict[str, Any]:
    """Return how a result was made: versions, machine, settings, data (the first is the target); JSON values."""
    data = [
        {"name": part.name, "fit_rows": len(part.fit_rows), "test_rows": len(part.test_rows)}
        | {"kind": part.dataset.modality, "role": "reference" if k else "target"}
        for k, part in enumerate(parts)
        if isinstance(part, Split)
    ]
    return provenance(asdict(settings), vars(estimator), data)


def described(
    result: Relatedness, panel: Sequence[Panelist], test: Task | None, target: Part, seen: Seen
) -> Relatedness:
    """Return the result with what pictures of it need."""
    _, reference_test, split = nearest(panel, result)
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


def nearest(panel: Sequence[Panelist], result: Relatedness) -> Panelist:
    """Return the reference whose bound stands; not by name, as two may share one."""
    return min(zip(panel, result.panel, strict=True), key=lambda pair: pair[1].bound)[0]


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
