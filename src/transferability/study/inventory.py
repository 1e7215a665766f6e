"""The data sets of a study, the keys of its cells, and what a cell holds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transferability.encoders import FeatureFiles, identity_of
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

__all__ = ["KIND", "Inventory", "compute", "is_certain"]

KIND = "relatedness"
_LAYOUT = 5  # raise it whenever the same key would mean another result
_WITHOUT_EFFECT = ("batch_size", "workers", "device", "cache", "trust_remote_code")  # on the numbers, beyond rounding


class Inventory:
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
        """Return the references of a target."""
        return [self.parts[name] for name in self.study.panel(target)]

    def measure(self, progress: Progress | None) -> Measurement:
        """Return what is measured of every cell."""
        return Measurement(self.estimator, score_columns(self.study.scores), self.study.settings.seed, progress)

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
            KIND,
            layout=_LAYOUT,
            encoder=[encoder, self._identity(loaded, [self.parts[name].name for name in names])],
            target=[target, self._stamp_of(target, loaded)],
            references=[[name, self._stamp_of(name, loaded)] for name in names[1:]],
            settings=self._settings,
            relatedness={name: plain(value) for name, value in vars(self.estimator).items()},
        )

    def keys(self, encoder: str, loaded: Loaded | TransferabilityError) -> dict[str, str]:
        """Return the key of each target's cell of an encoder."""
        return {target: self.key(encoder, loaded, target) for target in self.study.targets}

    def find(self, stores: Iterable[ResultStore], key: str, *, certain: bool) -> StoredResult | None:
        """Return the result under a key; None where it may be out of date: some encoders cannot tell what they are."""
        kept = (store.get(key) for store in stores if certain)
        found = [each for each in kept if each is not None and is_readable(each)]
        return max(found, key=self.is_done, default=None)

    def is_done(self, found: StoredResult | None) -> bool:
        """Tell whether a result has all scores that are wanted; failures are tried again."""
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


def is_certain(loaded: Loaded | TransferabilityError) -> bool:
    """Tell whether an encoder can be loaded, and tell what its features depend on."""
    return not isinstance(loaded, TransferabilityError) and loaded.identity() is not None


def compute(
    inventory: Inventory, measure: Measurement, loaded: Loaded | TransferabilityError, missing: dict[str, str]
) -> Iterable[tuple[str, str, dict[str, Any], float]]:
    """Yield (target, key, result, seconds) of one encoder; a result that has a reason is a failure."""
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
