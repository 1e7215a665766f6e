"""What an encoder costs on this machine: measured while it works, remembered for when the cache has its features."""

from __future__ import annotations

import platform
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transferability.encoders import Encoder, FeatureFiles, OutputView
from transferability.encoders.facts import input_size, licence
from transferability.encoders.identity import hash_json
from transferability.encoders.naming import split_alias
from transferability.errors import FileDamagedError, OutputError
from transferability.features.store import default_cache_folder
from transferability.pipeline.extraction import Extraction, Loaded
from transferability.ranking.entry import EncoderCost, Ranked
from transferability.ranking.store import ResultStore
from transferability.zoos.entries import entry_of

__all__ = ["CostMeter", "remembered"]

_ENOUGH = 32  # items: of fewer the speed says little
_KIND = "cost"
_EVERY = 0.02  # seconds between two looks at the memory
_STATM = Path("/proc/self/statm")


class CostMeter:
    """Measures one encoder: begun before it is loaded, asked once for each of its views.

    Parameters
    ----------
    identifier : str or None
        What loads it; None of an encoder in memory.
    cache : bool
        Whether what was measured is remembered, as features are.
    """

    def __init__(self, identifier: str | None, *, cache: bool) -> None:
        self._identifier = None if identifier is None else split_alias(identifier)[1]
        self._cache = cache
        self._started = time.perf_counter()
        self._load_seconds: float | None = None
        self._memory = _PeakMemory()

    def loaded(self) -> None:
        """Say that the encoder is loaded."""
        self._load_seconds = time.perf_counter() - self._started

    def close(self) -> None:
        """Stop watching the memory."""
        self._memory.close()

    def priced(self, entry: Ranked, view: Loaded, extraction: Extraction) -> Ranked:
        """Return an entry with the seconds since the last one and what the encoder costs."""
        now = time.perf_counter()
        seconds, self._started = now - self._started, now
        load, self._load_seconds = self._load_seconds, None
        extracted = extraction.take_seconds()
        base = view.base if isinstance(view, OutputView) else view
        speed = self._speed(base, extraction)
        cost = EncoderCost(
            items_per_second=speed.items_per_second,
            dimension=entry.cost.dimension,
            input_size=None if isinstance(base, FeatureFiles) else input_size(base),
            peak_memory=speed.peak_memory,
            licence=self._licence(),
            load_seconds=load,
            extraction_seconds=extracted,
            fit_seconds=max(0.0, seconds - (load or 0.0) - extracted),
        )
        return replace(entry, identifier=self._identifier, seconds=seconds, cost=cost)

    def _licence(self) -> str | None:
        if self._identifier is None:
            return None
        known = entry_of(self._identifier)
        return licence(self._identifier) if known is None or known.licence is None else known.licence

    def _speed(self, encoder: Loaded, extraction: Extraction) -> Speed:
        if isinstance(encoder, FeatureFiles):
            return Speed()
        before = remembered(encoder) if self._cache else Speed()
        n_items, seconds = extraction.encoded
        if n_items < _ENOUGH and before.items_per_second is not None:
            return before
        if n_items == 0:
            return Speed()
        speed = Speed(n_items / seconds, self._memory.peak(encoder))
        if self._cache and n_items >= _ENOUGH:
            _remember(encoder, speed)
        return speed


@dataclass(frozen=True)
class Speed:
    """Items per second, and the largest memory in bytes; None where it is not known."""

    items_per_second: float | None = None
    peak_memory: int | None = None


def remembered(encoder: Encoder) -> Speed:
    """Return what was measured of an encoder on this machine before."""
    key = _key(encoder)
    if key is None or not _place().is_file():
        return Speed()
    try:
        found = ResultStore(_place()).get(key)
    except (FileDamagedError, OutputError):
        return Speed()
    if found is None or not isinstance(rate := found.result.get("rate"), int | float) or rate <= 0:
        return Speed()
    memory = found.result.get("memory")
    return Speed(float(rate), memory if isinstance(memory, int) else None)


def _remember(encoder: Encoder, speed: Speed) -> None:
    key = _key(encoder)
    if key is None:
        return
    result = {"rate": speed.items_per_second, "memory": speed.peak_memory}
    try:
        ResultStore(_place()).put(key, _KIND, encoder.name, platform.node(), result, 0.0, failed=False)
    except (FileDamagedError, OutputError):  # it can be measured again
        return


def _key(encoder: Encoder) -> str | None:
    identity = encoder.identity()
    return None if identity is None else hash_json({"identity": identity, "machine": platform.node()})


def _place() -> Path:
    return default_cache_folder() / "costs.sqlite"


class _PeakMemory:
    """The largest memory of the process, looked at many times a second; of a GPU, what torch allocated there."""

    def __init__(self) -> None:
        self._largest = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if _STATM.is_file():
            self._thread = threading.Thread(target=self._watch, daemon=True, name="memory")
            self._thread.start()
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()

    def peak(self, encoder: Encoder) -> int | None:
        """Return the largest so far, or None where the system does not tell."""
        cuda = _cuda()
        if cuda is not None and str((encoder.identity() or {}).get("device", "")).startswith("cuda"):
            return int(cuda.max_memory_allocated())
        return self._largest or None

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        import resource

        page = resource.getpagesize()
        while not self._stop.is_set():
            self._largest = max(self._largest, int(_STATM.read_text().split()[1]) * page)
            self._stop.wait(_EVERY)


def _cuda() -> Any | None:
    """Return torch.cuda where it is loaded and in use."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
