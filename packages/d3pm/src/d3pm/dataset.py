"""Tokens to train and to test on, and the batches that a net reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from d3pm.errors import DataError
from d3pm.spec import DataSpec

__all__ = ["Batch", "Dataset", "count_classes"]


class Batch(NamedTuple):
    """Examples as a net reads them.

    Attributes
    ----------
    tokens : int64 tensor of shape (B, …)
    labels : int64 tensor of shape (B,) or None
    attention_mask : bool tensor of shape (B, N) or None
        True at real positions, where texts differ in length; None where all are whole.
    """

    tokens: Tensor
    labels: Tensor | None
    attention_mask: Tensor | None

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(*(value if value is None else value.to(device) for value in self))

    @property
    def n_positions(self) -> int:
        """Return the number of positions of all examples, without padding."""
        return self.tokens.numel() if self.attention_mask is None else int(self.attention_mask.sum())

    def rows(self, rows: slice) -> Batch:
        """Return some of the examples."""
        return Batch(*(value if value is None else value[rows] for value in self))


@dataclass
class Dataset:
    """Tokens to train and to test on.

    Attributes
    ----------
    spec : DataSpec
        Its `lengths` are those of the training examples.
    train, test : arrays
        Pictures (n, *shape) uint8 or int64; text as one long stream (n,), cut at will, or as padded examples (n, N).
    train_labels, test_labels : arrays of shape (n,) or None
    train_lengths, test_lengths : arrays of shape (n,) or None
        Of padded examples.
    test_words : array of the shape of `test`, or None
        Words of the original text that begin at each token; see `d3pm.text.words_per_token`.
    lines : bool, default=False
        Of data that are not padded: their spec says the lengths all the same (data.lines=true), which are all whole.
    """

    spec: DataSpec
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    flip: bool = False
    train_lengths: np.ndarray | None = None
    test_lengths: np.ndarray | None = None
    test_words: np.ndarray | None = None
    lines: bool = False
    _permutations: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        lengths: tuple[int, ...] = ()
        if self.train_lengths is not None:
            lengths = tuple(np.bincount(self.train_lengths, minlength=self.spec.shape[0] + 1)[1:].tolist())
        elif self.lines:
            lengths = (*(0 for _ in range(self.spec.shape[0] - 1)), len(self._pieces(self.train)))
        self.spec = replace(self.spec, lengths=lengths)

    def batch(self, step: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Batch:
        """Return the training batch of a step: a function of its arguments alone, so that training resumes exactly.

        Examples go by in a new order each epoch; a stream of text is cut at random places.
        """
        rng = np.random.default_rng((seed, step, rank))
        if self.train.ndim == 1:
            length = self.spec.shape[0]
            starts = rng.integers(len(self.train) - length + 1, size=size)
            return Batch(torch.from_numpy(self.train[starts[:, None] + np.arange(length)].astype(np.int64)), None, None)
        n = len(self.train)
        positions = (step * world + rank) * size + np.arange(size)
        rows = np.array([self._order(seed, int(p) // n)[int(p) % n] for p in positions])
        tokens = self.train[rows]
        if self.flip:
            mirrored = rng.random(size) < 0.5
            tokens = np.where(mirrored.reshape(-1, *(1,) * (tokens.ndim - 1)), tokens[:, :, ::-1], tokens)
        labels = None if self.train_labels is None else self.train_labels[rows]
        lengths = None if self.train_lengths is None else self.train_lengths[rows]
        return self._batch(tokens, labels, lengths)

    def _batch(self, tokens: np.ndarray, labels: np.ndarray | None, lengths: np.ndarray | None) -> Batch:
        told = torch.from_numpy(labels.astype(np.int64)) if labels is not None and self.spec.n_classes else None
        real = None
        if lengths is not None:
            real = torch.from_numpy(np.arange(tokens.shape[1]) < lengths[:, None])
        return Batch(torch.from_numpy(tokens.astype(np.int64)), told, real)

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        key = (seed, epoch)
        if key not in self._permutations:
            if len(self._permutations) > 2:
                self._permutations.clear()
            self._permutations[key] = np.random.default_rng((seed, 7, epoch)).permutation(len(self.train))
        return self._permutations[key]

    def train_examples(self) -> Batch:
        """Return all training examples in order; a stream in pieces that do not overlap."""
        return self._batch(self._pieces(self.train), self.train_labels, self.train_lengths)

    def test_examples(self, n: int = 0) -> Batch:
        """Return the first n test examples (all by default); a stream in pieces that do not overlap."""
        n = n or len(self.test)
        labels = None if self.test_labels is None else self.test_labels[:n]
        lengths = None if self.test_lengths is None else self.test_lengths[:n]
        return self._batch(self._pieces(self.test)[:n], labels, lengths)

    def n_words(self, n: int = 0) -> int | None:
        """Return the words of the first n test examples in the original text, ends of lines too; None if unknown."""
        if self.test_words is None:
            return None
        words = self._pieces(self.test_words)
        return int(words[: n or len(words)].sum())

    def _pieces(self, values: np.ndarray) -> np.ndarray:
        if values.ndim > 1:
            return values
        length = self.spec.shape[0]
        return values[: len(values) // length * length].reshape(-1, length)

    def frequencies(self) -> np.ndarray:
        """Return how often each token occurs in the training data, (n_tokens,)."""
        counts = np.bincount(self._real(self.train, self.train_lengths), minlength=self.spec.n_tokens)
        return counts / counts.sum()

    def digest(self) -> str:
        """Return a digest of all tokens, labels, lengths and names of classes: equal for the same data alone."""
        digest = hashlib.sha256(repr(self.spec.classes).encode())
        for name in ("train", "test", "train_labels", "test_labels", "train_lengths", "test_lengths"):
            values = getattr(self, name)
            if values is not None:
                digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def marginal_bits(self) -> float:
        """Return bits per position of the test data under the training frequencies: the mark every model must beat."""
        p = (self.frequencies() + 1e-12) / (1 + 1e-12 * self.spec.n_tokens)
        return float(-np.log2(p[self._real(self.test, self.test_lengths)]).mean())

    @staticmethod
    def _real(tokens: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        if lengths is None:
            return tokens.reshape(-1)
        real: np.ndarray = tokens[np.arange(tokens.shape[1]) < lengths[:, None]]
        return real


def count_classes(
    train_labels: np.ndarray | None, test_labels: np.ndarray | None, known: DataSpec | None = None
) -> int:
    """Return how many classes a conditional model is told of, else say that there is nothing to tell.

    A model that is `known` has its own; 0 where the examples to test it on have no labels.
    """
    if known is not None and known.n_classes:
        largest = max(0 if labels is None else int(labels.max(initial=0)) for labels in (train_labels, test_labels))
        if largest >= known.n_classes:
            message = f"`data` must be of the classes 0 to {known.n_classes - 1} of this checkpoint; got {largest}."
            raise DataError(message)
        return 0 if test_labels is None else known.n_classes
    if train_labels is not None and test_labels is None:
        message = (
            "`conditional` needs labels of the test part too; those of the data are to train on alone. Leave it out, "
            "or set data.conditional=false."
        )
        raise DataError(message)
    if train_labels is None or test_labels is None or len(np.unique(train_labels)) < 2:
        message = (
            "`conditional` needs labels of two classes or more; the data have none. Set data.conditional=false, or "
            "name the column of a dataset: data.label_column."
        )
        raise DataError(message)
    if int(test_labels.max(initial=0)) > int(train_labels.max()):
        message = f"`conditional` needs every class in training; the test labels have {int(test_labels.max())} too."
        raise DataError(message)
    n_classes, present = int(train_labels.max()) + 1, np.unique(train_labels)
    if known is None and len(present) < n_classes:
        missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        message = (
            f"`conditional` needs labels without gaps, each of them in training; of 0 … {n_classes - 1} class "
            f"{missing} has no training example. Number them anew: np.unique(labels, return_inverse=True)."
        )
        raise DataError(message)
    return n_classes
