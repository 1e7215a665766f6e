"""Outputs of encoders: which there are, and a hidden layer as an encoder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import as_numpy
from transferability.encoders.base import (
    FEATURES,
    PROBABILITIES,
    DeviceEncoder,
    Encoder,
    Identity,
    Item,
    Modality,
    MultiOutputEncoder,
    Outputs,
    Preprocess,
    Running,
)
from transferability.errors import OptionError, nearest_names

__all__ = [
    "OutputView",
    "accepts",
    "every_layer",
    "forward",
    "hidden_layers",
    "outputs_of",
    "preprocess_of",
    "select",
    "spread_layers",
    "start",
]


def outputs_of(encoder: Encoder) -> tuple[str, ...]:
    """Return the names of all that an encoder can return; a plain `Encoder` has its features."""
    return encoder.outputs if isinstance(encoder, MultiOutputEncoder) else (FEATURES,)


def preprocess_of(encoder: Encoder) -> Preprocess | None:
    """Return what makes an encoder's arrays of items, of pixels if it takes them; None if it takes the items."""
    if isinstance(encoder, DeviceEncoder) and encoder.window is not None:
        return encoder.window
    return encoder.preprocess if isinstance(encoder, MultiOutputEncoder) else None


def hidden_layers(encoder: Encoder) -> tuple[str, ...]:
    """Return the names of an encoder's hidden layers, from input to output."""
    return tuple(each for each in outputs_of(encoder) if each not in (FEATURES, PROBABILITIES))


def spread_layers(encoder: Encoder, at_most: int = 16) -> tuple[str, ...]:
    """Return hidden layers spread evenly over the depth of an encoder, from input to output; all of few."""
    layers = hidden_layers(encoder)
    places = np.linspace(0, len(layers) - 1, min(len(layers), at_most)).round().astype(int)
    return tuple(layers[place] for place in places)


def accepts(encoder: Encoder, modality: Modality) -> bool:
    """Tell whether an encoder takes items of a modality; some encoders of texts also take words in their sentence."""
    return encoder.modality in (None, modality) or modality in getattr(encoder, "also_takes", ())


def forward(encoder: Encoder, batch: Sequence[Any], outputs: Sequence[str]) -> Outputs:
    """Return outputs of a batch that `preprocess_of(encoder)` prepared, whatever kind of encoder it is."""
    if isinstance(encoder, MultiOutputEncoder):
        return encoder.forward(batch, outputs)
    return {name: as_numpy(encoder.encode(batch)) for name in outputs}


class _Finished:
    """Results that are there."""

    finished, seconds = True, None

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def result(self) -> Outputs:
        return self._outputs


def start(encoder: Encoder, batch: Sequence[Any], outputs: Sequence[str]) -> Running:
    """Give an encoder a batch as `forward` does; one that computes on a GPU is not waited for."""
    if isinstance(encoder, DeviceEncoder):
        return encoder.start(batch, outputs)
    return _Finished(forward(encoder, batch, outputs))


def select(encoder: Encoder, output: str | int) -> Encoder:
    """Return an encoder whose features are another output of this one; both share the loaded model.

    Parameters
    ----------
    encoder : Encoder
        Any; also a view that this function returned.
    output : str or int
        One of `outputs_of(encoder)`, or the number of a hidden layer, negative from the end.

    Returns
    -------
    Encoder
        `encoder` itself for "features"; else an `OutputView`, called NAME/layer=OUTPUT.

    Raises
    ------
    OptionError
        If the encoder has no such output; the nearest names are listed.

    Examples
    --------
    >>> from transferability.encoders.function import FunctionEncoder
    >>> select(FunctionEncoder("mine", len), "features").name
    'mine'
    """
    base = encoder.base if isinstance(encoder, OutputView) else encoder
    layers = hidden_layers(base)
    number = output if isinstance(output, int) else _as_number(output)
    if number is not None and str(output) not in layers:
        if not -len(layers) <= number < len(layers):
            said = f"{len(layers)} hidden layers, numbered from 0" if layers else "no hidden layers"
            message = f"`layer` must name a layer of encoder {base.name!r}, which has {said}; got {output}."
            raise OptionError(message)
        output = layers[number]
    known = outputs_of(base)
    if output not in known:
        message = (
            f"`layer` must name an output of encoder {base.name!r}; got {output!r}. {nearest_names(str(output), known)}"
        )
        raise OptionError(message.rstrip())
    if output == FEATURES or not isinstance(base, MultiOutputEncoder):
        return base
    return OutputView(base, str(output))


def every_layer(encoder: Encoder) -> list[Encoder]:
    """Return a view of each hidden layer, from input to output, so that layers can be ranked as encoders are.

    Raises
    ------
    OptionError
        If the encoder shows no hidden layers.
    """
    layers = hidden_layers(encoder)
    if not layers:
        message = f"`layer` must be left out for encoder {encoder.name!r}: it shows no hidden layers."
        raise OptionError(message)
    return [select(encoder, layer) for layer in layers]


class OutputView:
    """A hidden layer, or the probabilities, of an encoder as features.

    Attributes
    ----------
    base : MultiOutputEncoder
        The encoder with the model; several views of one base can be computed in one pass.
    output : str
        Which of its outputs this is.
    name : str
        Name of the base and the output.
    """

    def __init__(self, base: MultiOutputEncoder, output: str) -> None:
        self.base = base
        self.output = output
        self.name = f"{base.name}/layer={output}"

    @property
    def modality(self) -> Modality | None:
        """As the base's."""
        return self.base.modality

    @property
    def also_takes(self) -> tuple[Modality, ...]:
        """As the base's: see `accepts`."""
        return getattr(self.base, "also_takes", ())

    @property
    def n_parameters(self) -> int | None:
        """Number of weights of the base, whichever layer is meant."""
        return self.base.n_parameters

    @property
    def outputs(self) -> tuple[str, ...]:
        """The features, and the base's probabilities if it has them."""
        return (FEATURES, *((PROBABILITIES,) if PROBABILITIES in self.base.outputs else ()))

    @property
    def pooling(self) -> str:
        """As the base's."""
        return self.base.pooling

    @property
    def source_class_names(self) -> tuple[str, ...] | None:
        """As the base's."""
        return self.base.source_class_names

    @property
    def preprocess(self) -> Preprocess | None:
        """As the base's."""
        return self.base.preprocess

    def identity(self) -> Identity | None:
        """Return the identity of the base and the output."""
        identity = self.base.identity()
        return None if identity is None else {**identity, "output": self.output}

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> Outputs:
        """Return outputs of one batch; "features" are the output chosen."""
        wanted = {name: self.output if name == FEATURES else name for name in outputs}
        found = self.base.forward(batch, list(dict.fromkeys(wanted.values())))
        return {name: found[base_name] for name, base_name in wanted.items()}

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the output chosen, of one batch of items."""
        prepare = self.preprocess
        batch = items if prepare is None else [prepare(item) for item in items]
        return self.forward(batch, [FEATURES])[FEATURES]


def _as_number(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() else None
