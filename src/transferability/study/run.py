"""Computes what is missing of a study, encoder by encoder, and keeps every piece as soon as it is done."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from transferability.errors import TransferabilityError
from transferability.pipeline import Progress, describe_run
from transferability.pipeline.encoder_cost import CostMeter
from transferability.pipeline.extraction import Extraction, Loaded, views_of
from transferability.pipeline.measure import Measurement, score_columns
from transferability.ranking.entry import Skipped
from transferability.ranking.store import ResultStore, StoredResult
from transferability.study.config import Study
from transferability.study.inventory import KIND, Cell, Inventory
from transferability.study.saved import pack_entry

__all__ = ["run_study"]


def run_study(
    study: Study,
    *,
    refresh: bool = False,
    progress: Progress | None = None,
    tell: Callable[[Cell], None] | None = None,
) -> dict[tuple[str, str], StoredResult]:
    """Compute what is missing, and return everything.

    Parameters
    ----------
    study : Study
    refresh : bool, default=False
        Compute what is there as well.
    progress : callable (what, done, total), optional
    tell : callable, optional
        Called with each cell as soon as it is kept.

    Returns
    -------
    dict of (encoder, target) to StoredResult

    Raises
    ------
    TransferabilityError
        If data or the file of results are at fault. An encoder that fails is kept as a failure; the others go on.

    Notes
    -----
    A cell's key is made of contents: of the encoder's weights, code and settings (its `identity()`), of data, labels
    and splits, of feature files and packs, and of all options that change numbers. So each encoder is loaded, also when
    its results are there. One that cannot tell what it depends on, such as a function without a `version`, is computed
    anew each time.
    """
    store = ResultStore(study.results)
    inventory = Inventory(study)
    columns = score_columns(study.scores)
    measure = Measurement(inventory.estimator, columns, study.settings.seed, progress)
    results: dict[tuple[str, str], StoredResult] = {}
    for encoder in study.encoders:
        loaded = inventory.load(encoder)
        missing: dict[str, str] = {}
        for target in study.targets:
            key = inventory.key(encoder, loaded, target)
            found = inventory.find(store, key, loaded)
            if found is not None and inventory.is_done(found) and not refresh:
                results[encoder, target] = found
            else:
                missing[target] = key
        for target, key, result, seconds in _compute(inventory, measure, encoder, loaded, missing):
            failed = "reason" in result
            results[encoder, target] = store.put(key, KIND, encoder, target, result, seconds, failed=failed)
            if tell:
                tell(Cell(encoder, target, key, not failed, seconds))
    return results


def _compute(
    inventory: Inventory,
    measure: Measurement,
    encoder: str,
    loaded: Loaded | TransferabilityError,
    missing: dict[str, str],
) -> Iterable[tuple[str, str, dict[str, Any], float]]:
    """Yield (target, key, result, seconds) of one encoder."""
    if not missing:
        return
    study, started = inventory.study, time.perf_counter()
    try:
        if isinstance(loaded, TransferabilityError):
            raise loaded
        views = views_of(loaded, study.settings)
        extraction = Extraction(views, needs=measure.needs, settings=study.settings, progress=measure.progress)
    except TransferabilityError as error:
        for target, key in missing.items():
            yield target, key, {"reason": str(error)}, time.perf_counter() - started
        return
    meter = CostMeter(encoder, cache=study.settings.cache)
    try:
        for target, key in missing.items():
            result = _cell(inventory, measure, meter, extraction, views, target)
            yield target, key, result, time.perf_counter() - started
            started = time.perf_counter()
    finally:
        meter.close()


def _cell(
    inventory: Inventory,
    measure: Measurement,
    meter: CostMeter,
    extraction: Extraction,
    views: Sequence[Loaded],
    target: str,
) -> dict[str, Any]:
    """Return what is stored of one encoder and target."""
    part, references = inventory.parts[target], inventory.references(target)
    entries, skipped = [], []
    for view in views:
        try:
            entry = measure(view, extraction, part, references)
            entries.append(pack_entry(meter.priced(entry, view, extraction)))
        except TransferabilityError as error:
            skipped.append(dataclasses.asdict(Skipped(view.name, str(error))))
    if not entries:
        return {"reason": "; ".join(each["reason"] for each in skipped)}
    return {
        "target": part.name,
        "references": [each.name for each in references],
        "entries": entries,
        "skipped": skipped,
        "made": describe_run(inventory.estimator, inventory.study.settings, [part, *references]),
    }
