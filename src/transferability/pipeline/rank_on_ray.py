"""Encoders of a ranking on the actors of a Ray cluster, one encoder a task."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from transferability.errors import RowError
from transferability.pipeline.cluster import spread
from transferability.pipeline.data import Part, Progress, Settings
from transferability.pipeline.extraction import Extraction, Loaded, load, views_of
from transferability.pipeline.measure import Measurement
from transferability.ranking.result import Ranked, Skipped

__all__ = ["rank_on_ray"]


@dataclass
class _Encoders:
    """What an actor does: it loads an encoder, and measures it."""

    measure: Measurement
    settings: Settings
    target: Part
    references: Sequence[Part]
    _loaded: Loaded | None = field(default=None, init=False)

    def open(self, encoder: str | Loaded) -> None:
        self._loaded = None  # two models need not fit into memory together
        self._loaded = load(encoder, self.settings)

    def run(self, _encoder: str | Loaded, _task: int) -> list[Ranked]:
        assert self._loaded is not None  # opened before
        views = views_of(self._loaded, self.settings)
        extraction = Extraction(views, needs=self.measure.needs, settings=self.settings, progress=None)
        entries = []
        for view in views:
            started = time.perf_counter()
            entry = self.measure(view, extraction, self.target, self.references)
            entries.append(replace(entry, seconds=time.perf_counter() - started))
        return entries


def rank_on_ray(
    encoders: Sequence[str | Loaded],
    measure: Measurement,
    settings: Settings,
    target: Part,
    references: Sequence[Part],
    progress: Progress | None = None,
) -> tuple[list[Ranked], list[Skipped]]:
    """Return the entries of a ranking, and the encoders that failed, both in the order of the encoders.

    Encoders that are no identifiers, and data sets in memory, are sent to the actors; they must be picklable.

    Raises
    ------
    RowError
        If an item cannot be read, and no encoder was ranked before.
    MissingExtraError, OptionError
        As `pipeline.cluster.spread`.
    """
    entries: dict[int, list[Ranked]] = {}
    skipped: dict[int, Skipped] = {}
    work = _Encoders(replace(measure, progress=None), settings, target, references)
    on_gpu = None if settings.device is None else "cuda" in settings.device
    for found in spread(work, encoders, lambda *_: [0], on_gpu=on_gpu):
        encoder = encoders[found.group]
        if found.error is None:
            entries[found.group] = found.result
        elif isinstance(found.error, RowError) and not entries:
            raise found.error  # the next encoder would come upon it too, hours later
        else:
            skipped[found.group] = Skipped(encoder if isinstance(encoder, str) else encoder.name, str(found.error))
        if progress:
            progress("encoders", len(entries) + len(skipped), len(encoders))
    return [entry for _, each in sorted(entries.items()) for entry in each], [
        each for _, each in sorted(skipped.items())
    ]
