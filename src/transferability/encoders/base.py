"""What an encoder is: something that turns a batch of pictures, texts or arrays into one row of numbers each.

To add one of your own, either write a function and name it `python:module:function`, or publish a package whose entry
point in the group `transferability.encoders` has the prefix as its name and this as its value::

    def load(spec: str, *, device: str | None) -> Encoder: ...   # spec is what follows the prefix and its colon

What it returns needs no more than `Encoder` asks for. One that has more to give, class probabilities or hidden layers,
or that wants its items prepared in other processes while it computes, is a `MultiOutputEncoder`. `load` may also take
`pool` (str or None) and `precision` (str), keyword-only, if the encoder has that choice; `check_pool` helps. An encoder
with a method `compile()` is asked to compile its network where the user wants that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from transferability.settings import Precision

__all__ = [
    "FEATURES",
    "PROBABILITIES",
    "DeviceEncoder",
    "Encoder",
    "Identity",
    "Item",
    "Modality",
    "MultiOutputEncoder",
    "Outputs",
    "Precision",
    "Preprocess",
    "Reading",
    "Running",
    "TextReader",
    "TrainableEncoder",
]

FEATURES = "features"
"""The output that every encoder has: the penultimate layer, pooled."""
PROBABILITIES = "probabilities"
"""The output of a classifier with its head: one probability per source class."""

Modality = Literal["image", "text", "array", "tokens"]
Item = Any
"""What the data's `modality` says: a PIL picture in RGB; a str or, for a pair, a tuple of two; an array of one
dimension; for "tokens" a tuple (words, position): the words of a sentence, and which of them is meant."""
Identity = dict[str, Any]
"""JSON values only."""
Outputs = dict[str, npt.NDArray[np.float32]]
"""Name of an output to its rows, (n, width)."""
Preprocess = Callable[[Item], npt.NDArray[Any]]
"""One item to one array. It can be pickled and holds no model: worker processes run it."""


@runtime_checkable
class Encoder(Protocol):
    """Turns batches of items into features. Whoever calls it chooses the batches; the device was chosen at loading."""

    @property
    def name(self) -> str:
        """What the user wrote, shown in results."""

    @property
    def modality(self) -> Modality | None:
        """What it encodes; None if it takes whatever it is given."""

    @property
    def n_parameters(self) -> int | None:
        """Number of weights, where that is known."""

    def identity(self) -> Identity | None:
        """Return everything that changes what `encode` returns, as JSON values; None if that cannot be told.

        Source, hash of the weights, preprocessing, pooling, versions of the libraries that compute: features are kept
        under a key made of it. Features of an encoder that returns None are never kept.
        """

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch, (len(items), n_features), finite.

        A row must not depend on the other items of its batch.
        """


@runtime_checkable
class MultiOutputEncoder(Encoder, Protocol):
    """An encoder that gives several outputs in one pass of its model.

    `encode(items)` is `forward([preprocess(item) for item in items], ["features"])["features"]`. Its `identity` covers
    whatever changes any output; which output is meant is not part of it.
    """

    @property
    def outputs(self) -> tuple[str, ...]:
        """All that it can return: "features" first, "probabilities" where it has them, then hidden layers in order."""

    @property
    def pooling(self) -> str:
        """How positions become one row, in words."""

    @property
    def source_class_names(self) -> tuple[str, ...] | None:
        """Names of the classes of "probabilities", where they are known."""

    @property
    def preprocess(self) -> Preprocess | None:
        """From an item to what `forward` takes; None if that is the item itself."""

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> Outputs:
        """Return these outputs of one batch of prepared items; the model runs once.

        A row must not depend on the other items of its batch.
        """


class Running(Protocol):
    """A batch that an encoder has been given and may still compute."""

    @property
    def finished(self) -> bool:
        """Whether `result` would not wait."""

    @property
    def seconds(self) -> float | None:
        """How long the device computed it, once there are results; None where `start` came back when it was done."""

    def result(self) -> Outputs:
        """Return the outputs; waits for them."""


@runtime_checkable
class DeviceEncoder(MultiOutputEncoder, Protocol):
    """An encoder that computes on a device which need not be waited for, and that can take pixels as they are."""

    @property
    def window(self) -> Preprocess | None:
        """From an item to 8-bit pixels that `forward` and `start` take too, and scale on the device."""

    def start(self, batch: Sequence[Any], outputs: Sequence[str]) -> Running:
        """Give the model a batch, as `forward` does; several are computed in the order in which they are given."""


class Reading(NamedTuple):
    """What an encoder of texts gets to see of some of them."""

    limit: int
    """Tokens of a text that it reads; what comes after them is cut off."""
    longer: int
    """How many of the texts are longer."""
    unknown: bool
    """Whether its tokeniser knows nothing of any of them."""


@runtime_checkable
class TextReader(Protocol):
    """An encoder of texts that can tell what it reads of them."""

    def reading(self, items: Sequence[Item]) -> Reading:
        """Return what it gets to see of these texts, pairs or words."""


@runtime_checkable
class TrainableEncoder(MultiOutputEncoder, Protocol):
    """An encoder whose weights can be trained on: the torch ones; `as_trainable` makes one of an ONNX graph."""

    @property
    def module(self) -> Any:
        """The torch module with the weights. Whoever trains it puts them back: others share the encoder."""

    def differentiable(self, batch: Sequence[Any]) -> Any:
        """Return the features of one batch of prepared items as a torch tensor (n, n_features) with gradients.

        Of arrays of one shape the batch may be a torch tensor on the encoder's device.
        """
