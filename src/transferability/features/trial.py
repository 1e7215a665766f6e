"""An encoder tried on a few items before it encodes them all: what a row must not depend on, and what it must.

A row may depend on its item and on nothing else. So some items are encoded alone, once more, and beside others, before
the first shard. What a library publishes usually keeps to that; what breaks it (masking at random, padding that is
mixed in, a normalisation over the batch) gives numbers that look right.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from transferability.datasets import Dataset
from transferability.encoders import FEATURES, Encoder, preprocess_of
from transferability.encoders.base import TextReader
from transferability.errors import EncoderError
from transferability.features.inference import Model, Rows, where
from transferability.features.preprocessing import prepare

__all__ = ["try_encoder"]

_ROUNDING = {"float32": 5e-3, "bfloat16": 0.1, "float16": 0.05}
"""Of the length of a row: kernels differ with the size of a batch, and a GPU's products are rounded."""
_PAIR = 2
_MANY = 32  # items that differ; rows that are all the same beside them are no accident

_tried: WeakKeyDictionary[Encoder, set[tuple[str, ...]]] = WeakKeyDictionary()


def try_encoder(encoder: Encoder, dataset: Dataset, outputs: Sequence[str], *, alone: bool) -> None:
    """Encode a few items of a data set in several ways; once per encoder, kind of item and outputs in a process.

    Parameters
    ----------
    encoder : Encoder
    dataset : Dataset
    outputs : sequence of str
    alone : bool
        Whether each item will be encoded by itself anyway, in batches of one.

    Raises
    ------
    EncoderError
        If a row is another when it is encoded again or beside other items, if all rows are the same, or if the
        tokeniser knows nothing of the texts.
    """
    known = _tried.setdefault(encoder, set())
    case = (dataset.modality, *outputs)
    if case in known:
        return
    _Trial(encoder, dataset, outputs).run(alone=alone)
    known.add(case)
