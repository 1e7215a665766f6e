"""Encoders of a ranking on the actors of a Ray cluster, one encoder a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from transferability.errors import RowError
from transferability.pipeline.cluster import spread
from transferability.pipeline.data import Part
from transferability.pipeline.extraction import Loaded
from transferability.pipeline.measure import Measurement
from transferability.pipeline.one_encoder import EncoderSkippedError, measure_encoder
from transferability.ranking.entry import Ranked, Skipped
from transferability.settings import Settings

__all__ = ["rank_on_ray"]


@dataclass
class _Encoders:
    """What an actor does: it loads an encoder, and measures it."""

    measure: Measurement
    settings: Settings
    target: Part
    references: Sequence[Part]

    def open(self, _encoder: str | Loaded) -> None:
        """Nothing: each encoder is a task of its own."""

    def run(self, encoder: str | Loaded, _task: int) -> list[Ranked]:
        try:
            return list(measure_encoder(self.measure, encoder, self.settings, self.target, self.references))
        except EncoderSkippedError as error:
            raise error.reason from error


def rank_on_ray(
    encoders: Sequence[str | Loaded],
    measure: Measurement,
    settings: Settings,
    target: Part,
    references: Sequence[Part],
    tell: Callable[[Ranked | Skipped | None, int, int], None] | None = None,
) -> tuple[list[Ranked], list[Skipped]]:
    """Return the entries of a ranking, and the encoders that failed, both in the order of the encoders.

    Encoders that are no identifiers, and data sets in memory, are sent to the actors; they must be picklable. `tell` is
    called as in `rank`, in the order in which encoders are done.

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
        for entry in (*entries.get(found.group, ()), *([skipped[found.group]] if found.group in skipped else ())):
            if tell:
                tell(entry, len(entries) + len(skipped), len(encoders))
    return [entry for _, each in sorted(entries.items()) for entry in each], [
        each for _, each in sorted(skipped.items())
    ]
