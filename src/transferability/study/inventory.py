"""The data sets of a study, and the keys under which its results are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transferability.encoders import FeatureFiles, identity_of
from transferability.encoders.identity import hash_json
from transferability.errors import TransferabilityError
from transferability.pipeline import Split
from transferability.pipeline.data import Part, check_folds, check_own_half, load_part
from transferability.pipeline.extraction import Loaded, load
from transferability.pipeline.installed_packs import pack_files, pack_folders
from transferability.pipeline.measure import score_columns
from transferability.pipeline.packs import fingerprint_of
from transferability.pipeline.refusals import check_names, check_target_names
from transferability.ranking.store import ResultStore, StoredResult, result_key
from transferability.report.provenance import plain
from transferability.settings import Settings
from transferability.study.config import Study
from transferability.study.saved import is_readable

__all__ = ["KIND", "Cell", "Inventory", "is_certain"]

KIND = "relatedness"
_LAYOUT = 6  # raise it whenever the same key would mean another result
# On the numbers, beyond rounding; to 16 bits it is more than that.
_WITHOUT_EFFECT = {each.name for each in dataclasses.fields(Settings) if each.metadata.get("of_machine")} - {"dtype"}


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


class Inventory:
    """The data sets of a study, each loaded once, and the keys of its cells."""

    def __init__(self, study: Study) -> None:
        self.study = study
        names = list(dict.fromkeys((*study.targets, *study.references)))
        self.parts = {name: load_part(name, study.settings) for name in names}
        check_target_names([self.parts[name] for name in dict.fromkeys(study.targets)])
        check_names(study.encoders)
        for name in study.targets:  # before hours of extraction
            check_folds(self.parts[name], study.settings, study.relatedness.solver)
        if not study.references and not any("features:" in each for each in study.encoders):
            for name in study.targets:
                check_own_half(self.parts[name], packs=study.packs and bool(pack_folders()))
        self._stamps = {name: _stamp(part) for name, part in self.parts.items() if isinstance(part, Split)}
        self.estimator = study.relatedness
        self._settings = {
            name: value for name, value in dataclasses.asdict(study.settings).items() if name not in _WITHOUT_EFFECT
        }

    def references(self, target: str) -> list[Part]:
        """Return the references of a target."""
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
        packs = {} if self.study.references else {"packs": self._packs(loaded)}
        return result_key(
            KIND,
            layout=_LAYOUT,
            encoder=[encoder, self._identity(loaded, [self.parts[name].name for name in names])],
            target=[target, self._stamp_of(target, loaded)],
            references=[[name, self._stamp_of(name, loaded)] for name in names[1:]],
            settings=self._settings,
            relatedness={name: plain(value) for name, value in vars(self.estimator).items()},
            **packs,
        )

    def keys(self, encoder: str, loaded: Loaded | TransferabilityError) -> dict[str, str]:
        """Return the key of each target's cell of an encoder."""
        return {target: self.key(encoder, loaded, target) for target in self.study.targets}

    def find_in(self, stores: Iterable[ResultStore], key: str) -> StoredResult | None:
        """Return the result under a key that any of these files has, the most complete one."""
        found = [each for store in stores if (each := store.get(key)) is not None and is_readable(each)]
        return max(found, key=self.is_done, default=None)

    def is_done(self, found: StoredResult | None) -> bool:
        """Tell whether a result has all scores that are wanted."""
        if found is None or found.failed:
            return False
        wanted = {column.name for column in score_columns(self.study.scores)}
        return all(wanted <= {*entry["scores"], *entry["notes"]} for entry in found.result["entries"])

    def _packs(self, loaded: Loaded | TransferabilityError) -> list[str]:
        """Return hashes of the installed packs that join the target's own half."""
        if not self.study.packs or isinstance(loaded, TransferabilityError):
            return []
        return [_hash_of_file(path) for path in pack_files(fingerprint_of(loaded))]

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
        return "" if isinstance(loaded, TransferabilityError) else _hash_of_file(part.path(fingerprint_of(loaded)))


def is_certain(loaded: Loaded | TransferabilityError) -> bool:
    """Tell whether an encoder can be loaded, and tell what its features depend on."""
    return not isinstance(loaded, TransferabilityError) and loaded.identity() is not None


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
