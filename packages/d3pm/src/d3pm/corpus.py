"""Text and token data from files: one long stream, or an example per line."""

from __future__ import annotations

import dataclasses
import string
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from d3pm.config import DataConfig
from d3pm.dataset import Dataset, count_classes
from d3pm.errors import DataError, NoSuchFileError, TruncationWarning
from d3pm.spec import DataSpec, match_classes
from d3pm.tables import is_table, read_table
from d3pm.text import learn_bpe, learn_unigram, words_per_token

__all__ = ["as_stream", "encode_examples", "load_text", "pad", "read_text", "read_tokens", "say_cut"]

TRAIN, TEST = 0.90, 0.95  # 5 % in between are left for choosing settings, as text8 is divided
MOST_TOKENS = 2**20  # four times the largest vocabularies: what is beyond is no number of a token


class _Part(NamedTuple):
    """The lines of one split, and their labels where they have any."""

    lines: list[str]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()


def load_text(config: DataConfig, known: DataSpec | None = None, say_unlabelled: bool = False) -> Dataset:
    """Read the text of a recipe as tokens, of a known vocabulary or one that is learned; arguments as of `load_data`.

    Raises
    ------
    DataError
        If the file is missing, is no text, or is too short.
    """
    path = Path(config.path)
    if not config.path or not path.exists():
        message = f"`path` must name a text file; got {config.path!r}. Pass --data FILE."
        raise NoSuchFileError(message)
    if path.suffix in (".npy", ".npz"):
        return _token_array(path, config, known)
    train, test = _from_table(path, config, say_unlabelled) if is_table(path) else _from_file(path, config)
    spec = _spec(config, train) if known is None else known
    spec = dataclasses.replace(spec, shape=(config.length,), n_classes=0, classes=())
    if config.lines:
        return _as_examples(spec, config, train, test, known)
    if config.conditional:
        message = "`conditional` needs examples with a label each; set data.lines=true, or data.conditional=false."
        raise DataError(message)
    stream, _ = as_stream(spec, config, train.lines)
    test_stream, words = as_stream(spec, config, test.lines)
    return _checked_stream(Dataset(spec, stream, test_stream, test_words=words))


def _from_file(path: Path, config: DataConfig) -> tuple[_Part, _Part]:
    if path.is_dir():
        message = f"`path` must name a text file or a folder that datasets' save_to_disk wrote; {path} is a folder."
        raise DataError(message)
    text = read_text(path)
    if config.kind == "tokens" or config.lines:
        lines = [line for line in text.split("\n") if line.strip()]
        first, last = int(len(lines) * TRAIN), int(len(lines) * TEST)
        return _Part(lines[:first]), _Part(lines[last:])
    first, last = int(len(text) * TRAIN), int(len(text) * TEST)
    return _Part([text[:first]]), _Part([text[last:]])


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with the line ends of Unix."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = (
            f"`path` must be a text file in UTF-8; {path} is not, from byte {error.start} on. "
            "Convert it (iconv -f latin1 -t utf-8), or name a text."
        )
        raise DataError(message) from error
    if "\0" in text:
        message = f"`path` must be a text file in UTF-8; {path} holds binary data."
        raise DataError(message)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _from_table(path: Path, config: DataConfig, say_unlabelled: bool) -> tuple[_Part, _Part]:
    train, test = read_table(path, config, "text", say_unlabelled and config.lines)
    if test is not None:
        return _Part(train.items, train.labels, train.classes), _Part(test.items, test.labels, test.classes)
    order = np.random.default_rng(0).permutation(len(train.items))
    first, last = order[: int(len(order) * TRAIN)], order[int(len(order) * TEST) :]
    return tuple(  # type: ignore[return-value]
        _Part([train.items[i] for i in rows], None if train.labels is None else train.labels[rows], train.classes)
        for rows in (first, last)
    )


def _spec(config: DataConfig, train: _Part) -> DataSpec:
    """Return the spec of the tokens; a vocabulary is learned on the training part."""
    shape = (config.length,)
    if config.kind == "text":
        alphabet = string.ascii_lowercase + " " if config.alphabet == "text8" else config.alphabet
        spec = DataSpec("text", shape, len(alphabet), alphabet=alphabet)
    elif config.tokenizer in ("bpe", "sentencepiece"):
        learn = learn_bpe if config.tokenizer == "bpe" else learn_unigram
        lines = (line for item in train.lines for line in item.split("\n"))
        tokenizer = learn(lines, config.vocabulary)
        spec = DataSpec("text", shape, 0, tokenizer=tokenizer)
        spec = dataclasses.replace(spec, n_tokens=spec.codec.n_tokens)
    else:
        from d3pm.huggingface import tokenizer_spec

        spec = tokenizer_spec(config.tokenizer, config.length)
    return spec


def as_stream(spec: DataSpec, config: DataConfig, lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return one long stream of tokens, and the words that begin at each; lines of a vocabulary's tokens are ended."""
    text = "\n".join(lines) + ("\n" if config.kind == "tokens" and lines else "")
    encoded = spec.codec.encode(text)
    return encoded.ids, words_per_token(text, encoded, spec.codec.end)


def _checked_stream(dataset: Dataset) -> Dataset:
    length = dataset.spec.shape[0]
    if len(dataset.train) <= length or len(dataset.test) < length:
        message = (
            f"`path` must hold more text: {len(dataset.train)} tokens to train on and {len(dataset.test)} to test on "
            f"for pieces of {length}. Set data.length lower."
        )
        if dataset.spec.alphabet:
            message += " Characters outside of data.alphabet are read as spaces, and repeated spaces as one."
        elif dataset.spec.tokenizer:
            message += " Text is divided between its lines: break a long one."
        raise DataError(message)
    return dataset


def _as_examples(spec: DataSpec, config: DataConfig, train: _Part, test: _Part, known: DataSpec | None) -> Dataset:
    """Return every line as an example, padded to the longest that the model reads."""
    if config.conditional:
        classes = train.classes if known is None else known.classes
        train, test = (p._replace(labels=match_classes(p.labels, p.classes, classes)) for p in (train, test))
        n_classes = count_classes(train.labels, test.labels, known)
        spec = dataclasses.replace(spec, n_classes=n_classes, classes=classes[:n_classes])
    if not train.lines or not test.lines:
        message = f"`path` must hold more lines; {len(train.lines)} to train on and {len(test.lines)} to test on."
        raise DataError(message)
    tokens, lengths, _, cut = encode_examples(spec, train.lines)
    test_tokens, test_lengths, words, test_cut = encode_examples(spec, test.lines)
    say_cut(cut + test_cut, len(train.lines) + len(test.lines), config.length, "Set data.length higher.")
    return Dataset(spec, tokens, test_tokens, train.labels, test.labels, False, lengths, test_lengths, words)


def encode_examples(spec: DataSpec, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return texts as padded tokens (n, N), their lengths, the words at each token, and how many texts were cut."""
    length, framed = spec.shape[0], len(spec.frame) > 0
    rows, word_rows, cut = [], [], 0
    room = length - len(spec.frame)
    for text in texts:
        encoded = spec.codec.encode(text)
        words = words_per_token(text, encoded, spec.codec.end)
        cut += len(encoded.ids) > room
        ids = encoded.ids[:room]
        if framed:
            ids = np.concatenate([spec.frame[:1], ids, spec.frame[1:]])
            words = np.concatenate([[0], words[:room], [1] * (len(spec.frame) - 1)])  # the last one ends the line
        if not len(ids):  # an empty text is one space, or one end of a line
            ids = np.array([spec.end if spec.tokenizer else spec.alphabet.index(" ")])
            words = np.array([int(bool(spec.tokenizer))])
        rows.append(ids)
        word_rows.append(words[: len(ids)])
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    return pad(rows, length), lengths, pad(word_rows, length), cut


def pad(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Return rows of different lengths as one array (n, length) int64, zeros at their ends."""
    padded = np.zeros((len(rows), length), dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded


def say_cut(cut: int, n: int, length: int, remedy: str = "") -> None:
    """Warn that some texts are longer than what is read."""
    if cut:
        message = f"{cut} of {n} texts are longer than the {length} tokens that the model reads; the rest is left out."
        warnings.warn(f"{message} {remedy}".strip(), TruncationWarning, stacklevel=3)


def _token_array(path: Path, config: DataConfig, known: DataSpec | None) -> Dataset:
    """Read integers: a stream (n,), or examples (n, N); of an .npz, x_train and x_test."""
    if config.conditional and known is None:
        message = f"`conditional` needs labels; the array {path} has none. Set data.conditional=false."
        raise DataError(message)
    parts = read_tokens(path, config)
    if len(parts) == 1:
        first, last = int(len(parts[0]) * TRAIN), int(len(parts[0]) * TEST)
        parts = [parts[0][:first], parts[0][last:]]
    train, test = parts
    if not train.size or not test.size:
        message = f"`path` must hold more tokens; {path} has {train.shape} to train on and {test.shape} to test on."
        raise DataError(message)
    spec = known or DataSpec("text", (config.length,), 2)
    n_tokens = max(spec.n_tokens, int(max(train.max(), test.max())) + 1)
    length = train.shape[1] if train.ndim == 2 else config.length
    spec = dataclasses.replace(spec, shape=(length,), n_tokens=n_tokens, n_classes=0, classes=())
    dataset = Dataset(spec, train, test, lines=config.lines)
    return dataset if train.ndim == 2 else _checked_stream(dataset)


def read_tokens(path: Path, config: DataConfig) -> list[np.ndarray]:
    """Return the one array of tokens of a file, or x_train and x_test."""
    if config.kind != "tokens":
        message = f"`path` must name a text file for characters; {path} is an array. Set data.kind=tokens."
        raise DataError(message)
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
    except (OSError, ValueError, EOFError, TypeError) as error:
        message = f"`path` must be an array of integers; {path} cannot be read: {error}."
        raise DataError(message) from error
    if "x_train" in arrays and "x_test" in arrays:
        parts = [arrays["x_train"], arrays["x_test"]]
    elif len(arrays) == 1 and next(iter(arrays.values())).ndim:
        parts = list(arrays.values())
    else:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items())) or "none"
        message = f"`path` must hold one array of tokens, or x_train and x_test; {path} holds {shapes}."
        raise DataError(message)
    for part in parts:
        if part.dtype.kind not in "iu" or part.ndim not in (1, 2) or not part.size:
            message = (
                f"`path` must hold whole numbers from 0, (n,) or (n, length); {path} has {part.dtype} {part.shape}."
            )
            raise DataError(message)
        least, most = int(part.min()), int(part.max())
        if least < 0 or most >= MOST_TOKENS:
            message = (
                f"`path` must hold tokens from 0 to {MOST_TOKENS - 1:,} at most; {path} has {least:,} to {most:,}. "
                "Number them anew: np.unique(tokens, return_inverse=True)."
            )
            raise DataError(message)
    if parts[0].ndim != parts[-1].ndim or parts[0].shape[1:] != parts[-1].shape[1:]:
        message = f"`path` must hold x_train and x_test of one shape; {path} has {parts[0].shape} and {parts[1].shape}."
        raise DataError(message)
    return parts
