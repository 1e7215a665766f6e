"""One encoder on one target, from loading it to its entries in the ranking."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from transferability.errors import TransferabilityError, is_wrong_call
from transferability.pipeline.data import AnyEncoder, Part
from transferability.pipeline.encoder_cost import CostMeter
from transferability.pipeline.extraction import Extraction, layer_encoders, load
from transferability.pipeline.measure import Measurement
from transferability.pipeline.side_by_side import in_parallel, side_by_side
from transferability.ranking.entry import Ranked
from transferability.settings import Settings

__all__ = ["EncoderSkippedError", "encoders_in_turn", "measure_encoder", "name_before_loading"]


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

    def __reduce__(self) -> tuple[type[EncoderSkippedError], tuple[str, TransferabilityError]]:
        return type(self), (self.encoder, self.reason)  # from another process

    @property
    def is_wrong_call(self) -> bool:
        """Whether an option or a name is at fault, or a file that is not there."""
        return is_wrong_call(self.reason)


def name_before_loading(encoder: AnyEncoder) -> str:
    """Return what an encoder is called in messages before it is loaded."""
    return encoder if isinstance(encoder, str) else str(getattr(encoder, "name", getattr(encoder, "__name__", encoder)))


def measure_encoder(
    measure: Measurement, encoder: AnyEncoder, settings: Settings, target: Part, references: Sequence[Part]
) -> Iterator[Ranked]:
    """Load an encoder, and yield each of its views with what it costs.

    Raises
    ------
    EncoderSkippedError
        If it cannot be loaded, extracted or measured.
    """
    name = name_before_loading(encoder)
    meter = CostMeter(encoder if isinstance(encoder, str) else None, cache=settings.cache)
    try:
        loaded = load(encoder, settings)
        meter.loaded()
        views = layer_encoders(loaded, settings)
        extraction = Extraction(views, needs=measure.needs, settings=settings, progress=measure.progress)
        for view in views:
            name = view.name
            yield meter.priced(measure(view, extraction, target, references), view, extraction)
    except TransferabilityError as error:
        raise EncoderSkippedError(name, error) from error
    finally:
        meter.close()


@dataclass(frozen=True)
class _Measuring:
    """What measures an encoder, here or in another process."""

    measure: Measurement
    settings: Settings
    target: Part
    references: Sequence[Part]

    def __call__(self, encoder: AnyEncoder) -> list[Ranked]:
        return list(measure_encoder(self.measure, encoder, self.settings, self.target, self.references))


def encoders_in_turn(
    measure: Measurement,
    encoders: Sequence[AnyEncoder],
    settings: Settings,
    target: Part,
    references: Sequence[Part],
) -> Generator[Callable[[], Iterable[Ranked]]]:
    """Yield for each encoder, in order, what measures it, as `measure_encoder` does.

    Where the features of all encoders are computed already, several are measured at once, one to a core. Each is
    computed as it would be alone. Models are measured one after the other, since their extraction uses all cores.
    """
    if in_parallel(encoders):
        yield from side_by_side(_Measuring(replace(measure, progress=None), settings, target, references), encoders)
        return
    for encoder in encoders:
        yield partial(measure_encoder, measure, encoder, settings, target, references)
