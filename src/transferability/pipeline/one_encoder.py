"""One encoder on one target, from loading it to its entries in the ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transferability.errors import TransferabilityError
from transferability.pipeline.data import AnyEncoder, Part, Settings
from transferability.pipeline.encoder_cost import CostMeter
from transferability.pipeline.extraction import Extraction, load, views_of
from transferability.pipeline.measure import Measurement
from transferability.ranking.entry import Ranked

__all__ = ["EncoderSkippedError", "measure_encoder"]


class EncoderSkippedError(Exception):
    """An encoder, or one of its views, that cannot be ranked.

    Attributes
    ----------
    encoder : str
        Its name.
    reason : TransferabilityError
    """

    def __init__(self, encoder: str, reason: TransferabilityError) -> None:
        super().__init__(f"{encoder}: {reason}")
        self.encoder = encoder
        self.reason = reason


def measure_encoder(
    measure: Measurement, encoder: AnyEncoder, settings: Settings, target: Part, references: Sequence[Part]
) -> Iterator[Ranked]:
    """Load an encoder, and yield each of its views with what it costs.

    Raises
    ------
    EncoderSkippedError
        If it cannot be loaded, extracted or measured.
    """
    name = encoder if isinstance(encoder, str) else str(getattr(encoder, "name", getattr(encoder, "__name__", encoder)))
    meter = CostMeter(encoder if isinstance(encoder, str) else None, cache=settings.cache)
    try:
        loaded = load(encoder, settings)
        meter.loaded()
        views = views_of(loaded, settings)
        extraction = Extraction(views, needs=measure.needs, settings=settings, progress=measure.progress)
        for view in views:
            name = view.name
            yield meter.priced(measure(view, extraction, target, references), view, extraction)
    except TransferabilityError as error:
        raise EncoderSkippedError(name, error) from error
    finally:
        meter.close()
