"""Computes what is missing of a study, encoder by encoder, and keeps every piece as soon as it is done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from transferability.encoders import FeatureFiles, forward, identity_of, preprocess_of
from transferability.encoders.identity import hash_json
from transferability.errors import TransferabilityError
from transferability.pipeline import Progress, Split, describe_run
from transferability.pipeline.data import Part, load_part, without_folds
from transferability.pipeline.extraction import Extraction, Loaded, load, views_of
from transferability.pipeline.measure import Measurement, score_columns
from transferability.pipeline.packs import PackSource, by_statistics, mark_of
from transferability.ranking.result import Skipped
from transferability.ranking.store import ResultStore, StoredResult, result_key
from transferability.report.provenance import plain
from transferability.study.config import Study
from transferability.study.saved import is_readable, pack_entry

__all__ = ["Cell", "plan_study", "run_study"]

_KIND = "relatedness"
_LAYOUT = 5  # raise it whenever the same key would mean another result
_WITHOUT_EFFECT = ("batch_size", "workers", "device", "cache", "trust_remote_code")  # on the numbers, beyond rounding
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
        names = list(dict.fromkeys((*study.targets, *study.references)))
        self.parts = dict(zip(names, without_folds([load_part(name, study.settings) for name in names]), strict=True))
        self._stamps = {name: _stamp(part) for name, part in self.parts.items() if isinstance(part, Split)}
        has_packs = any(isinstance(part, PackSource) for part in self.parts.values())
        self.estimator = by_statistics(study.relatedness) if has_packs else study.relatedness
        self._settings = {
            name: value for name, value in dataclasses.asdict(study.settings).items() if name not in _WITHOUT_EFFECT
        }

    def references(self, target: str) -> list[Part]:
        return [self.parts[name] for name in self.study.panel(target)]

    def load(self, encoder: str) -> Loaded | TransferabilityError:
        """Return a loaded encoder, or what is wrong with it."""
        try:
            return load(encoder, self.study.settings)
        except TransferabilityError as error:
            return error

    def key(self, encoder: str, loaded: Loaded | TransferabilityError, target: str) -> str:
        """Return the hash of everything that decides the results of a cell.

        By content: of the encoder (its identity), or of its feature files of these data; of the data, their labels and
        their split; of packs; and of every option that changes a number.
        """
        names = (target, *self.study.panel(target))
        return result_key(
            _KIND,
            layout=_LAYOUT,
            encoder=[encoder, self._identity(loaded, [self.parts[name].name for name in names])],
            target=[target, self._stamp_of(target, loaded)],
            references=[[name, self._stamp_of(name, loaded)] for name in names[1:]],
            settings=self._settings,
            relatedness={name: plain(value) for name, value in vars(self.estimator).items()},
        )

    def find(self, store: ResultStore, key: str, loaded: Loaded | TransferabilityError) -> StoredResult | None:
        """Return the result under a key, unless it may be out of date: some encoders cannot tell what they are."""
        if isinstance(loaded, TransferabilityError) or loaded.identity() is None:
            return None
        found = store.get(key)
        return found if found is None or is_readable(found) else None

    def is_done(self, found: StoredResult | None) -> bool:
        if found is None or found.failed:
            return False
        wanted = {column.name for column in score_columns(self.study.scores)}
        return all(wanted <= {*entry["scores"], *entry["notes"]} for entry in found.result["entries"])

    def _identity(self, loaded: Loaded | TransferabilityError, data: Iterable[str]) -> str | list[str]:
        if isinstance(loaded, TransferabilityError):
            return "cannot be loaded"
        if isinstance(loaded, FeatureFiles):
            return [_hash_of_file(loaded.path(name)) for name in data]
        identity = loaded.identity()
        if identity is None:
            return identity_of(loaded)
        # Where it computes changes the last digits, and a study may go on elsewhere.
        return hash_json({name: value for name, value in identity.items() if name != "device"})

    def _stamp_of(self, name: str, loaded: Loaded | TransferabilityError) -> str:
        part = self.parts[name]
        if isinstance(part, Split):
            return self._stamps[name]
        return "" if isinstance(loaded, TransferabilityError) else _hash_of_file(part.path(mark_of(loaded)))


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
    inventory = _Inventory(study)
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
        for target, key, result, seconds in _compute(inventory, measure, loaded, missing):
            failed = "reason" in result
            results[encoder, target] = store.put(key, _KIND, encoder, target, result, seconds, failed=failed)
            if tell:
                tell(Cell(encoder, target, key, not failed, seconds))
    return results


def _compute(
    inventory: _Inventory, measure: Measurement, loaded: Loaded | TransferabilityError, missing: dict[str, str]
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
        loaded = inventory.load(encoder)
        took = [each.seconds for each in before if each.encoder == encoder]
        paid: set[str] = set()  # data sets whose extraction an earlier cell pays for
        for target in study.targets:
            key = inventory.key(encoder, loaded, target)
            found = inventory.find(store, key, loaded)
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
    inventory: _Inventory, loaded: Loaded | TransferabilityError, names: Iterable[str]
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


def _stamp(part: Split) -> str:
    """Return a hash of data: items, labels, the names of classes, and which rows are fitted and measured on."""
    dataset = part.dataset
    total = hashlib.sha256(dataset.fingerprint().encode())
    for array in (dataset.labels, dataset.targets, part.fit_rows, part.test_rows):
        text = b"" if array is None else array.dtype.str.encode() + str(array.shape).encode() + array.tobytes()
        total.update(hashlib.sha256(text).digest())
    total.update(json.dumps([dataset.name, dataset.class_names]).encode())
    return total.hexdigest()


def _hash_of_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return "not there"
