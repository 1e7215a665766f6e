"""Which encoders a run is about: those that are named, those of a zoo, or what fits the data and the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from transferability.encoders import Encoder, FeatureFiles
from transferability.encoders.in_memory import encoder_of, is_array
from transferability.encoders.naming import renamed
from transferability.errors import OptionError
from transferability.pipeline.data import AnyEncoder, Part, Split
from transferability.pipeline.refusals import check_names
from transferability.zoos import EncoderChoice, choose

__all__ = ["Encoders", "Model", "choose_encoders", "default_encoder"]

Model = AnyEncoder | Callable[..., Any]
"""An encoder, or a model in memory: a torch module, a function."""
Encoders = Model | Sequence[Model] | Mapping[str, Model] | EncoderChoice | None
"""One or several encoders, with wildcards perhaps; a mapping gives them names. None for those that fit the data."""


def choose_encoders(
    encoders: Encoders, zoo: str | os.PathLike[str] | None, target: Part, *, trainable: bool = False
) -> EncoderChoice:
    """Return the encoders to compute for a target, in their order, and what must be said of the others.

    Raises
    ------
    OptionError
        If none is named and none is available, two have one name, or for a target that is statistics.
    EncoderError
        If something is no encoder.
    """
    if isinstance(encoders, EncoderChoice):
        return encoders
    named = _listed(encoders)
    if not named and not isinstance(target, Split):
        message = (
            f"`encoder` must be given for target {target.name!r}, which holds statistics: the encoder that it was "
        )
        raise OptionError(message + "made with.")
    modality = target.dataset.modality if isinstance(target, Split) else None
    choice = choose(named, zoo, modality, trainable=trainable)
    check_names(choice.encoders)
    return choice


def default_encoder(targets: Sequence[Part]) -> str | None:
    """Return the smallest encoder of the zoo that is here, None for data that are features or statistics already."""
    items = [part for part in targets if isinstance(part, Split) and part.dataset.modality != "array"]
    return str(choose_encoders(None, None, items[0]).encoders[0]) if items else None


def _listed(encoders: Encoders) -> list[Any]:
    """Return encoders as a list, those in memory as encoders, each under a name of its own."""
    if encoders is None:
        return []
    given: list[tuple[str | None, Any]]
    if isinstance(encoders, Mapping):
        given = list(encoders.items())
    elif (
        isinstance(encoders, str | Encoder | FeatureFiles)
        or not isinstance(encoders, Iterable)
        or callable(encoders)
        or is_array(encoders)
    ):
        given = [(None, encoders)]
    else:
        given = [(None, each) for each in encoders]
    found: list[Any] = []
    for name, each in given:
        if isinstance(each, str):
            found.append(each if name is None else f"{name}={each}")
            continue
        encoder = encoder_of(each)
        taken = [other if isinstance(other, str) else other.name for other in found]
        wanted = name or next(
            title for number in range(1, len(taken) + 2)
            if (title := encoder.name if number == 1 else f"{encoder.name}-{number}") not in taken
        )  # fmt: skip
        found.append(encoder if wanted == encoder.name else renamed(encoder, wanted))
    return found
