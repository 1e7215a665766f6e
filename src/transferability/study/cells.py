"""What is computed of one encoder and one target of a study, and what is stored of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any

from transferability.errors import TransferabilityError
from transferability.pipeline import Progress, describe_run
from transferability.pipeline.encoder_cost import CostMeter
from transferability.pipeline.extraction import Extraction, Loaded, layer_encoders
from transferability.pipeline.measure import Measurement, score_columns
from transferability.ranking.entry import Skipped
from transferability.study.inventory import Inventory
from transferability.study.saved import pack_entry

__all__ = ["compute", "measurement"]


def measurement(inventory: Inventory, progress: Progress | None) -> Measurement:
    """Return what is measured of every cell."""
    study = inventory.study
    return Measurement(
        inventory.estimator, score_columns(study.scores), study.settings.seed, progress, installed=study.packs
    )


def compute(
    inventory: Inventory,
    measure: Measurement,
    encoder: str,
    loaded: Loaded | TransferabilityError,
    missing: dict[str, str],
) -> Iterable[tuple[str, str, dict[str, Any], float]]:
    """Yield (target, key, result, seconds) of one encoder; a result that has a reason is a failure."""
    if not missing:
        return
    study, started = inventory.study, time.perf_counter()
    try:
        if isinstance(loaded, TransferabilityError):
            raise loaded
        views = layer_encoders(loaded, study.settings)
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
