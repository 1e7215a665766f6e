"""Computes what is missing of a study, encoder by encoder, and keeps every piece as soon as it is done."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from transferability.encoders import FeatureFiles, forward, preprocess_of
from transferability.errors import TransferabilityError
from transferability.pipeline import Progress, Split, describe_run
from transferability.pipeline.data import Part, load_part
from transferability.pipeline.extraction import Extraction, load, views_of
from transferability.pipeline.measure import Measurement, score_columns
from transferability.pipeline.packs import PREFIX, PackSource, by_statistics
from transferability.ranking.result import Skipped
from transferability.ranking.store import ResultStore, StoredResult, result_key
from transferability.report.provenance import plain
from transferability.study.config import Study
from transferability.study.saved import pack_entry

__all__ = ["Cell", "plan_study", "run_study"]

_KIND = "relatedness"
_LAYOUT = 3  # raise it whenever the same key would mean another result
_WITHOUT_EFFECT = ("batch_size", "workers", "device", "cache")  # on the numbers, beyond rounding
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


class _Inventory:
    """The data sets of a study, each loaded once, and the keys of its cells."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.parts = {name: load_part(name, study.settings) for name in (*study.targets, *study.references)}
        self._stamps = {name: _stamp(name, part) for name, part in self.parts.items()}
        has_packs = any(isinstance(part, PackSource) for part in self.parts.values())
        self.estimator = by_statistics(study.relatedness) if has_packs else study.relatedness
        self._settings = {
            name: value for name, value in dataclasses.asdict(study.settings).items() if name not in _WITHOUT_EFFECT
        }

    def references(self, target: str) -> list[Part]:
        return [self.parts[name] for name in self.study.panel(target)]

    def key(self, encoder: str, target: str) -> str:
        return result_key(
            _KIND,
            layout=_LAYOUT,
            encoder=[encoder, _files_stamp(encoder)],
            target=self._stamps[target],
            references=[self._stamps[name] for name in self.study.panel(target)],
            settings=self._settings,
            relatedness={name: plain(value) for name, value in vars(self.estimator).items()},
        )

    def is_done(self, found: StoredResult | None) -> bool:
        if found is None or found.failed:
            return False
        wanted = {column.name for column in score_columns(self.study.scores)}
        return all(wanted <= {*entry["scores"], *entry["notes"]} for entry in found.result["entries"])


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
    What a cell's key covers: the identifier of the encoder (and, of `features:`, size and time of the files), the
    contents of target and references, settings and arguments that change numbers. An identifier stands for what it
    means the first time: if a hub's branch moves on, use `refresh`, or name a revision.
    """
    store = ResultStore(study.results)
    inventory = _Inventory(study)
    columns = score_columns(study.scores)
    measure = Measurement(inventory.estimator, columns, study.settings.seed, progress)
    results: dict[tuple[str, str], StoredResult] = {}
    for encoder in study.encoders:
        missing: dict[str, str] = {}
        for target in study.targets:
            key = inventory.key(encoder, target)
            found = store.get(key)
            if found is not None and inventory.is_done(found) and not refresh:
                results[encoder, target] = found
            else:
                missing[target] = key
        for target, key, result, seconds in _compute(inventory, measure, encoder, missing):
            failed = "reason" in result
            results[encoder, target] = store.put(key, _KIND, encoder, target, result, seconds, failed=failed)
            if tell:
                tell(Cell(encoder, target, key, not failed, seconds))
    return results


def _compute(
    inventory: _Inventory, measure: Measurement, encoder: str, missing: dict[str, str]
) -> Iterable[tuple[str, str, dict[str, Any], float]]:
    """Yield (target, key, result, seconds) of one encoder, loaded once."""
    if not missing:
        return
    study, started = inventory.study, time.perf_counter()
    try:
        views = views_of(load(encoder, study.settings), study.settings)
        extraction = Extraction(
            views, probabilities=measure.needs_probabilities, settings=study.settings, progress=measure.progress
        )
    except TransferabilityError as error:
        for target, key in missing.items():
            yield target, key, {"reason": str(error)}, time.perf_counter() - started
        return
    for target, key in missing.items():
        part, references = inventory.parts[target], inventory.references(target)
        entries, skipped = [], []
        for view in views:
            try:
                entries.append(pack_entry(measure(view, extraction, part, references)))
            except TransferabilityError as error:
                skipped.append(dataclasses.asdict(Skipped(view.name, str(error))))
        result: dict[str, Any] = {
            "target": part.name,
            "references": [each.name for each in references],
            "entries": entries,
            "skipped": skipped,
            "made": describe_run(inventory.estimator, study.settings, [part, *references]),
        }
        if not entries:
            result = {"reason": "; ".join(each["reason"] for each in skipped)}
        yield target, key, result, time.perf_counter() - started
        started = time.perf_counter()


def plan_study(study: Study) -> list[Cell]:
    """Return every cell of a study, and how long those that are missing may take; nothing is computed.

    An encoder that has results takes what it took. Another one is loaded and tried on a few items of each data set:
    the time of its extraction, without what the cache holds, and without the fit, which takes seconds.
    """
    store = ResultStore(study.results)
    inventory = _Inventory(study)
    before = [each for each in store.results(_KIND) if not each.failed]
    cells = []
    for encoder in study.encoders:
        took = [each.seconds for each in before if each.encoder == encoder]
        paid: set[str] = set()  # data sets whose extraction an earlier cell pays for
        for target in study.targets:
            key = inventory.key(encoder, target)
            found = store.get(key)
            if found is not None and inventory.is_done(found):
                cells.append(Cell(encoder, target, key, done=True, seconds=found.seconds))
                continue
            names = [name for name in (target, *study.panel(target)) if name not in paid]
            paid.update(names)
            seconds: float | None
            if found is not None and not found.failed:  # only a score is missing: the features are there
                seconds = sum(entry["relatedness"]["seconds"] for entry in found.result["entries"])
            else:
                seconds = median(took) if took else _extraction_seconds(inventory, encoder, names)
            cells.append(Cell(encoder, target, key, done=False, seconds=seconds))
    return cells


def _extraction_seconds(inventory: _Inventory, encoder: str, names: Iterable[str]) -> float | None:
    """Return what extraction of whole data sets would take, from a few items; None where the encoder fails."""
    try:
        loaded = load(encoder, inventory.study.settings)
        if isinstance(loaded, FeatureFiles):
            return 0.0
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


def _stamp(name: str, part: Part) -> list[str]:
    """Return an identifier of data, and what it stands for now."""
    return [name, part.dataset.fingerprint() + _labels_stamp(part) if isinstance(part, Split) else _files_stamp(name)]


def _labels_stamp(part: Split) -> str:
    labels = part.dataset.labels
    names = "" if part.dataset.class_names is None else "\n".join(part.dataset.class_names)
    return hashlib.sha256((b"" if labels is None else labels.tobytes()) + names.encode()).hexdigest()


def _files_stamp(identifier: str) -> str:
    """Return sizes and times of the files that an identifier such as `features:zoo/{data}.npz` stands for."""
    prefix, _, pattern = identifier.partition(":")
    if f"{prefix}:" not in (PREFIX, "features:"):
        return ""
    path = Path(pattern.replace("{data}", "*").replace("{encoder}", "*")).expanduser()
    files = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
    return " ".join(f"{each.name}:{each.stat().st_size}:{each.stat().st_mtime_ns}" for each in files)
