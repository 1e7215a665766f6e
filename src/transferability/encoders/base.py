"""What an encoder is: something that turns a batch of pictures, texts or arrays into one row of numbers each.

To add one of your own, either write a function and name it `python:module:function`, or publish a package whose entry
point in the group `transferability.encoders` has the prefix as its name and this as its value::

    def load(spec: str, *, device: str | None) -> Encoder: ...   # spec is what follows the prefix and its colon
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Encoder", "Identity", "Item", "Modality"]

Modality = Literal["image", "text", "array"]
Item = Any
"""A PIL picture in RGB, a str, or an array of one dimension: what the encoder's `modality` says."""
Identity = dict[str, Any]
"""JSON values only."""


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
