"""What is left to do of a study, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from statistics import median

from transferability.encoders import FeatureFiles, forward, preprocess_of
from transferability.errors import TransferabilityError
from transferability.pipeline import Split
from transferability.pipeline.encoder_cost import remembered
from transferability.pipeline.extraction import Loaded
from transferability.ranking.store import ResultStore, StoredResult
from transferability.study.config import Study
from transferability.study.inventory import KIND, Cell, Inventory, is_certain
from transferability.study.saved import is_readable
from transferability.study.shares import files_of

__all__ = ["plan_study"]

_PROBE = 8  # items that an encoder is tried on for an estimate


def plan_study(study: Study, share: str | None = None) -> list[Cell]:
    """Return every cell of a study, and how long those that are missing may take; nothing is computed.

    With `share` those of the share, as of `run_study`. What the files of other shares hold is done.

    Extraction is estimated from the items per second that were measured on this machine when the encoder encoded
    before, and the fit from what it took then. An encoder without a measured speed takes what its cells took; one
    without results is tried on a few items of each data set. What the cache holds is not subtracted.
    """
    study, own, others = files_of(study, share)
    stores = [ResultStore(path) for path in (own, *others) if path.exists()]
    inventory = Inventory(study)
    results = [each for store in stores for each in store.results(KIND)]
    before = [each for each in results if not each.failed and is_readable(each)]
    cells = []
    for encoder in study.encoders:
        loaded = inventory.load(encoder)
        earlier = [each for each in before if each.encoder == encoder]
        paid: set[str] = set()  # data sets whose extraction an earlier cell pays for
        for target in study.targets:
            key = inventory.key(encoder, loaded, target)
            found = inventory.find_in(stores, key) if is_certain(loaded) else None
            if found is not None and inventory.is_done(found):
                cells.append(Cell(encoder, target, key, done=True, seconds=found.seconds))
                continue
            names = [name for name in (target, *study.panel(target)) if name not in paid]
            paid.update(names)
            seconds: float | None
            if found is not None and not found.failed:  # only a score is missing: the features are there
                seconds = sum(entry["relatedness"]["seconds"] for entry in found.result["entries"])
            else:
                seconds = _estimate(inventory, loaded, names, earlier)
            cells.append(Cell(encoder, target, key, done=False, seconds=seconds))
    return cells


def _estimate(
    inventory: Inventory,
    loaded: Loaded | TransferabilityError,
    names: Sequence[str],
    earlier: Sequence[StoredResult],
) -> float | None:
    """Return what a cell may take: its extraction and its fit."""
    if isinstance(loaded, TransferabilityError):
        return None
    entries = [entry for each in earlier for entry in each.result["entries"]]
    fits = [entry["cost"]["fit_seconds"] for entry in entries if (entry.get("cost") or {}).get("fit_seconds")]
    known = isinstance(loaded, FeatureFiles) or (
        inventory.study.settings.cache and remembered(loaded).items_per_second is not None
    )
    if earlier and not known:
        return median(each.seconds for each in earlier)
    seconds = _extraction_seconds(inventory, loaded, names)
    return None if seconds is None else seconds + (median(fits) if fits else 0.0)


def _extraction_seconds(inventory: Inventory, loaded: Loaded, names: Iterable[str]) -> float | None:
    """Return what extraction of whole data sets would take; None where the encoder fails.

    By the speed that was measured on this machine when it encoded before, else by a few items.
    """
    if isinstance(loaded, FeatureFiles):
        return 0.0
    speed = remembered(loaded).items_per_second if inventory.study.settings.cache else None
    try:
        total = 0.0
        for part in (inventory.parts[name] for name in names):
            if not isinstance(part, Split):
                continue
            if speed is not None:
                total += len(part.dataset) / speed
                continue
            rows = range(min(_PROBE, len(part.dataset)))
            for _ in range(2):  # the first time is a warm-up
                started = time.perf_counter()
                items = part.dataset.items(rows)
                prepare = preprocess_of(loaded)
                forward(loaded, items if prepare is None else [prepare(each) for each in items], ["features"])
                seconds = time.perf_counter() - started
            total += seconds / len(rows) * len(part.dataset)
    except TransferabilityError:
        return None
    return total
