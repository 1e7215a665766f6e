"""One encoder on one target, from loading it to its entries in the ranking."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from transferability.encoders import FeatureFiles
from transferability.errors import TransferabilityError, is_wrong_call
from transferability.pipeline.data import AnyEncoder, Part
from transferability.pipeline.encoder_cost import CostMeter
from transferability.pipeline.extraction import Extraction, layer_encoders, load
from transferability.pipeline.measure import Measurement
from transferability.ranking.entry import Ranked
from transferability.settings import Settings

__all__ = [
    "EncoderSkippedError", "are_computed", "encoders_in_turn", "in_parallel", "measure_encoder", "side_by_side",
]  # fmt: skip

T = TypeVar("T")

_AHEAD = 2  # encoders per core that are begun before the first one is done: results wait in memory


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

    @property
    def is_wrong_call(self) -> bool:
        """Whether an option or a name is at fault, or a file that is not there."""
        return is_wrong_call(self.reason)


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
        views = layer_encoders(loaded, settings)
        extraction = Extraction(views, needs=measure.needs, settings=settings, progress=measure.progress)
        for view in views:
            name = view.name
            yield meter.priced(measure(view, extraction, target, references), view, extraction)
    except TransferabilityError as error:
        raise EncoderSkippedError(name, error) from error
    finally:
        meter.close()


def encoders_in_turn(
    measure: Measurement,
    encoders: Sequence[AnyEncoder],
    settings: Settings,
    target: Part,
    references: Sequence[Part],
) -> Iterator[Callable[[], Iterable[Ranked]]]:
    """Yield for each encoder, in order, what measures it, as `measure_encoder` does.

    Where the features of all encoders are computed already, several are measured at once, one to a core: most of the
    time goes into products of matrices, which threads share. Each is computed as it would be alone. Models are measured
    one after the other, since their extraction uses all cores.
    """

    def measured(encoder: AnyEncoder) -> Iterator[Ranked]:
        return measure_encoder(measure, encoder, settings, target, references)

    if not in_parallel(encoders):
        for encoder in encoders:
            yield lambda encoder=encoder: measured(encoder)  # type: ignore[misc]
        return
    yield from side_by_side(lambda encoder: list(measured(encoder)), encoders)


def in_parallel(encoders: Sequence[AnyEncoder]) -> bool:
    """Tell whether encoders are measured side by side: there are several, of features that are computed already."""
    return _n_cores() > 1 and len(encoders) > 1 and are_computed(encoders)


def side_by_side(do: Callable[[AnyEncoder], T], encoders: Sequence[AnyEncoder]) -> Iterator[Callable[[], T]]:
    """Yield for each encoder, in order, what returns `do` of it: on threads, each with one core, begun ahead."""
    n_cores = _n_cores()
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(n_cores) as pool:
        begun: deque[Future[T]] = deque()
        try:
            for encoder in encoders:
                begun.append(pool.submit(do, encoder))
                if len(begun) >= _AHEAD * n_cores:
                    yield begun.popleft().result
            while begun:
                yield begun.popleft().result
        finally:
            for waiting in begun:
                waiting.cancel()


def are_computed(encoders: Sequence[AnyEncoder]) -> bool:
    """Tell whether the features of all encoders are computed already."""
    return all(
        isinstance(each, FeatureFiles)
        or (isinstance(each, str) and each.partition(":")[0].rpartition("=")[2] == "features")
        for each in encoders
    )


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
