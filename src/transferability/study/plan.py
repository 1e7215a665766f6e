"""What a study has, and how long the rest may take."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from transferability.encoders import FeatureFiles, forward, preprocess_of
from transferability.errors import TransferabilityError
from transferability.pipeline import Split
from transferability.pipeline.extraction import Loaded
from transferability.ranking.store import ResultStore
from transferability.study.config import Study
from transferability.study.inventory import KIND, Inventory, is_certain

__all__ = ["Cell", "plan_study"]

_PROBE = 8  # items that an encoder is tried on for an estimate


@dataclass(frozen=True)
class Cell:
    """One encoder and one target.

    Attributes
    ----------
    encoder, target : str
        Identifiers.
    key : str
        In the results.
    done : bool
        Whether it is there, with all scores that are wanted. Failures are tried again.
    seconds : float or None
        What it took; of a cell to be done what it took with this encoder before, or an estimate. None if unknown.
    """

    encoder: str
    target: str
    key: str
    done: bool
    seconds: float | None


def plan_study(study: Study) -> list[Cell]:
    """Return every cell of a study, and how long those that are missing may take; nothing is computed.

    An encoder that has results takes what it took. Another one is loaded and tried on a few items of each data set:
    the time of its extraction, without what the cache holds, and without the fit, which takes seconds.
    """
    store = ResultStore(study.results)
    inventory = Inventory(study)
    before = [each for each in store.results(KIND) if not each.failed]
    cells = []
    for encoder in study.encoders:
        loaded = inventory.load(encoder)
        took = [each.seconds for each in before if each.encoder == encoder]
        paid: set[str] = set()  # data sets whose extraction an earlier cell pays for
        for target in study.targets:
            key = inventory.key(encoder, loaded, target)
            found = inventory.find([store], key, certain=is_certain(loaded))
            if found is not None and inventory.is_done(found):
                cells.append(Cell(encoder, target, key, done=True, seconds=found.seconds))
                continue
            names = [name for name in (target, *study.panel(target)) if name not in paid]
            paid.update(names)
            seconds: float | None
            if found is not None and not found.failed:  # only a score is missing: the features are there
                seconds = sum(entry["relatedness"]["seconds"] for entry in found.result["entries"])
            else:
                seconds = median(took) if took else _extraction_seconds(inventory, loaded, names)
            cells.append(Cell(encoder, target, key, done=False, seconds=seconds))
    return cells


def _extraction_seconds(
    inventory: Inventory, loaded: Loaded | TransferabilityError, names: Iterable[str]
) -> float | None:
    """Return what extraction of whole data sets would take, from a few items; None where the encoder fails."""
    if isinstance(loaded, TransferabilityError):
        return None
    if isinstance(loaded, FeatureFiles):
        return 0.0
    try:
        total = 0.0
        for part in (inventory.parts[name] for name in names):
            if not isinstance(part, Split):
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
