"""An encoder tried on a few items before it encodes them all: what a row must not depend on, and what it must.

A row may depend on its item and on nothing else. So some items are encoded alone, once more, and beside others, before
the first shard. What a library publishes usually keeps to that; what breaks it (masking at random, padding that is
mixed in, a normalisation over the batch) gives numbers that look right.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from transferability.datasets import Dataset
from transferability.encoders import FEATURES, PROBABILITIES, Encoder, preprocess_of
from transferability.encoders.base import TextReader
from transferability.errors import EncoderError
from transferability.features.inference import Model, preparing, where
from transferability.features.meter import warming_up
from transferability.features.prepare import prepare

__all__ = ["try_encoder"]

_ROUNDING = {"float32": 5e-3, "float16": 0.05, "bfloat16": 0.1}
"""Of the length of a row: kernels differ with the size of a batch, and a GPU's products are rounded."""
_SAME = 1e-6  # of the largest number: rows that differ by less are one row
_MANY = 32  # rows that are all the same for so many items are no accident

_tried: dict[int, tuple[weakref.ref[Encoder], set[tuple[str, ...]]]] = {}
"""By the `id` of an encoder, which need not be hashable."""


def try_encoder(encoder: Encoder, dataset: Dataset, outputs: Sequence[str], *, one_by_one: bool) -> None:
    """Encode a few items of a data set in several ways; once per encoder, kind of item and outputs in a process.

    Parameters
    ----------
    encoder : Encoder
    dataset : Dataset
    outputs : sequence of str
    one_by_one : bool
        Whether each item will be encoded by itself anyway, in batches of one.

    Raises
    ------
    EncoderError
        If a row is another when it is encoded again or beside other items, if all rows are the same, or if the
        tokeniser knows nothing of the texts.
    """
    known = _cases(encoder)
    case = (dataset.modality, *outputs)
    if case not in known:
        with warming_up():
            _Trial(encoder, dataset, outputs).run(one_by_one=one_by_one)
        known.add(case)


def _cases(encoder: Encoder) -> set[tuple[str, ...]]:
    """Return what an encoder was tried with, to be added to."""
    key = id(encoder)
    if key in _tried and _tried[key][0]() is encoder:
        return _tried[key][1]
    cases: set[tuple[str, ...]] = set()
    with suppress(TypeError):  # of a class with slots nothing can be remembered
        _tried[key] = (weakref.ref(encoder, lambda _: _tried.pop(key, None)), cases)
    return cases


class _Trial:
    def __init__(self, encoder: Encoder, dataset: Dataset, outputs: Sequence[str]) -> None:
        self._encoder = encoder
        self._dataset = dataset
        self._outputs = outputs
        self._model = Model(encoder, dataset, outputs, "float32")
        identity = encoder.identity() or {}
        precision = str(identity.get("precision", "float32"))
        self._mixed = _COMPILED if "compiled" in str(identity.get("device", "")) else _MIXED
        self._rounding = _ROUNDING.get(precision, _ROUNDING["float32"])

    def run(self, *, one_by_one: bool) -> None:
        candidates = _spread(len(self._dataset), _MANY)
        if isinstance(self._encoder, TextReader):
            self._check_words(candidates)
        first, *others = self._pair(candidates)
        alone, again = self._encode([first]), self._encode([first])
        for output in self._outputs:
            self._check_same(alone[output][0], again[output][0], first, "encoded again", _RANDOM)
        if not others:
            return
        if one_by_one:
            self._check_different(candidates, alone, self._encode(others))
            return
        together = self._encode([first, *others])
        beside = f"beside {where(self._dataset, others)}"
        for output in self._outputs:
            self._check_same(alone[output][0], together[output][0], first, beside, self._mixed)
        self._check_different(candidates, together)

    def _pair(self, candidates: Sequence[int]) -> list[int]:
        """Return two rows whose items differ, of texts the shortest and the longest; one if there are no two."""
        items = self._dataset.items(candidates) if self._dataset.modality in ("text", "tokens") else None
        if items is not None:
            lengths = [len(str(item)) if str(item).strip() else -1 for item in items]
            order = sorted(range(len(items)), key=lambda place: lengths[place])
            spoken = [place for place in order if lengths[place] > 0] or order
            pair = [spoken[0], spoken[-1]]
            return [candidates[place] for place in pair[: 1 + (items[pair[0]] != items[pair[1]])]]
        first = self._prepared(candidates[:1])
        for other in candidates[1:]:
            if not _equal(first, self._prepared([other])):
                return [candidates[0], other]
        return [candidates[0]]

    def _prepared(self, rows: Sequence[int]) -> npt.NDArray[np.generic]:
        with preparing(self._encoder, self._dataset, rows):
            return np.asarray(prepare(self._dataset, preprocess_of(self._encoder), rows)[0])

    def _encode(self, rows: Sequence[int]) -> dict[str, npt.NDArray[np.floating]]:
        with preparing(self._encoder, self._dataset, rows):
            batch = prepare(self._dataset, preprocess_of(self._encoder), rows)
        return self._model(rows, batch)

    def _check_words(self, candidates: Sequence[int]) -> None:
        assert isinstance(self._encoder, TextReader)
        if self._encoder.reading(self._dataset.items(candidates)).unknown:
            message = f"encoder {self._encoder.name!r} knows no word of {where(self._dataset, candidates)}: its "
            message += "tokeniser makes unknown tokens of all of them. Is it the tokeniser that belongs to the model?"
            raise EncoderError(message)

    def _check_same(
        self, one: npt.NDArray[np.floating], other: npt.NDArray[np.floating], row: int, how: str, reason: str
    ) -> None:
        length = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)), float(np.finfo(np.float32).tiny))
        difference = float(np.linalg.norm(one - other)) / length
        if difference > self._rounding:
            message = f"encoder {self._encoder.name!r} must give an item the same features every time; those of "
            message += f"{where(self._dataset, [row])} differ by {difference:.2g} of their length when it is {how}. "
            raise EncoderError(message + reason)

    def _check_different(self, candidates: Sequence[int], *found: dict[str, npt.NDArray[np.floating]]) -> None:
        """Refuse rows that are all the same; of hidden layers a constant one may be among many."""
        layers = [output for output in self._outputs if output != PROBABILITIES]
        output = FEATURES if FEATURES in layers else layers[0] if len(layers) == 1 else None
        if output is None or not _constant(np.concatenate([each[output] for each in found])):
            return
        if isinstance(self._encoder, TextReader):  # what is cut off cannot make a difference; it is counted
            read = self._encoder.reading
            candidates = [row for row in candidates if read(self._dataset.items([row])).longer == 0]
        rows = [self._encode([row])[output] for row in candidates]
        if len(rows) > 1 and _constant(np.concatenate(rows)):
            message = f"encoder {self._encoder.name!r} must give different items different features; those of "
            message += f"{where(self._dataset, candidates)} are all the same. Weights, tokeniser or preprocessing do "
            raise EncoderError(message + "not belong to each other, or something is missing.")


_RANDOM = "Something in it is random: switch off masking, dropout or sampling."
_MIXED = "It mixes the items of a batch. Encode them one by one: `batch_size` 1; or mask what fills a batch up."
_COMPILED = (
    "It mixes the items of a batch (encode them one by one: `batch_size` 1), or torch compiles it wrongly: leave "
)
_COMPILED += "`compile` out."


def _spread(n_rows: int, most: int) -> list[int]:
    """Return rows from all over a data set, the first among them."""
    return [int(row) for row in np.unique(np.linspace(0, n_rows - 1, min(n_rows, most)).astype(int))]


def _equal(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _constant(rows: npt.NDArray[np.floating]) -> bool:
    return bool(np.ptp(rows, axis=0).max() <= _SAME * np.abs(rows).max())
