"""Text as tokens and back: characters of an alphabet, or a learned vocabulary.

A codec is exact: `decode(encode(text).ids)` is the text, for a learned vocabulary any text, for characters any text in
their alphabet. It also says where each token ends in the text, so that words are counted in the text itself and never
in what was decoded.
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from d3pm.errors import DataError, require_extra

__all__ = ["Characters", "Codec", "Encoded", "SubWords", "codec_of", "learn_bpe", "learn_unigram", "words_per_token"]

UNKNOWN = "·"  # how a mask, or any other token that stands for no text, is shown
END = "</s>"  # ends a line, as in the paper's LM1B [B.2]


class Encoded(NamedTuple):
    """Tokens of a text.

    Attributes
    ----------
    ids : int64 array of shape (n,)
    ends : int64 array of shape (n,)
        Where in the text each token ends, never falling.
    """

    ids: np.ndarray
    ends: np.ndarray


class Codec(Protocol):
    """From text to tokens and back."""

    n_tokens: int

    @property
    def end(self) -> int | None:
        """Return the token that ends a line, if there is one."""

    def encode(self, text: str) -> Encoded:
        """Return the tokens of a text."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of tokens."""


class Characters:
    """One token per character; it is the character's index in the alphabet.

    Letters are lowered where the alphabet has no capitals, other characters become spaces, and spaces do not repeat.
    """

    end: int | None = None

    def __init__(self, alphabet: str) -> None:
        if " " not in alphabet or len(set(alphabet)) < len(alphabet):
            message = (
                f"`alphabet` must hold different characters, a space among them, which stands for what it lacks; "
                f"got {alphabet!r}."
            )
            raise DataError(message)
        self.alphabet, self.n_tokens = alphabet, len(alphabet)
        self._table = {c: i for i, c in enumerate(alphabet)}
        self._lower = not any(c.isupper() for c in alphabet)

    def encode(self, text: str) -> Encoded:
        """Return the index of each character, without repeated spaces."""
        space = self._table[" "]
        letters = map(str.lower, text) if self._lower else text
        codes = np.fromiter((self._table.get(c, space) for c in letters), dtype=np.int64, count=len(text))
        repeated = np.zeros(len(codes), dtype=bool)
        repeated[1:] = (codes[1:] == space) & (codes[:-1] == space)
        kept = np.flatnonzero(~repeated)
        return Encoded(codes[kept], kept + 1)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the characters; what is none (a mask) shows as "·"."""
        return "".join(self.alphabet[i] if i < self.n_tokens else UNKNOWN for i in ids)


class SubWords:
    """Tokens of a learned vocabulary, of the libraries tokenizers or sentencepiece; each line ends with a token."""

    def __init__(self, model: Any, end: int, n_tokens: int, shown_as_unknown: Sequence[int] = ()) -> None:
        self.model, self.end, self.n_tokens = model, end, n_tokens
        self._unknown = frozenset(shown_as_unknown)

    def encode(self, text: str) -> Encoded:
        """Return the tokens of each line, joined by the token that ends a line."""
        ids, ends, start = [], [], 0
        lines = text.split("\n")
        for i, (line, (line_ids, line_ends)) in enumerate(zip(lines, self.model(lines), strict=True)):
            if i:
                ids.append(np.array([self.end]))
                ends.append(np.array([start]))
            ids.append(np.asarray(line_ids, dtype=np.int64))
            ends.append(start + np.asarray(line_ends, dtype=np.int64))
            start += len(line) + 1
        return Encoded(np.concatenate(ids), np.maximum.accumulate(np.concatenate(ends)))

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text; what ends a line is a line feed, what is no token (a mask) shows as "·"."""

        def kind(token: int) -> str:
            if token == self.end:
                return "\n"
            return UNKNOWN if token >= self.n_tokens or token in self._unknown else ""

        runs = itertools.groupby(map(int, ids), kind)
        return "".join(self.model.decode(list(run)) if not shown else shown * len(list(run)) for shown, run in runs)


class _Tokenizer:
    """A tokenizer of the library tokenizers: lines to ids and where they end."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.model.encode_special_tokens = True  # "</s>" in a text is four characters of that text

    def __call__(self, lines: list[str]) -> Iterator[tuple[list[int], list[int]]]:
        for start in range(0, len(lines), 10_000):  # in parallel, without all encodings in memory at once
            for encoding in self.model.encode_batch(lines[start : start + 10_000], add_special_tokens=False):
                yield encoding.ids, [end for _, end in encoding.offsets]

    def decode(self, ids: list[int]) -> str:
        return str(self.model.decode(ids, skip_special_tokens=False))


class _SentencePiece:
    """A model of the library sentencepiece: lines to ids and where they end."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, lines: list[str]) -> Iterator[tuple[list[int], list[int]]]:
        for line in lines:
            pieces = self.model.encode(line, return_type="proto").pieces
            yield [piece.id for piece in pieces], [piece.end for piece in pieces]

    def decode(self, ids: list[int]) -> str:
        return str(self.model.decode(ids))


@functools.lru_cache(maxsize=8)
def codec_of(alphabet: str, tokenizer: str, end: int = 0) -> Codec:
    """Return the codec that a `DataSpec` describes: of its alphabet, or of its stored tokenizer."""
    if not tokenizer:
        return Characters(alphabet)
    if tokenizer.startswith("sentencepiece:"):
        sentencepiece = require_extra("sentencepiece", "tokens", "a model of sentencepiece's tokens")
        proto = base64.b64decode(tokenizer.partition(":")[2])
        pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
        return SubWords(_SentencePiece(pieces), end, pieces.get_piece_size())
    tokenizers = require_extra("tokenizers", "tokens", "a model of tokens")
    model = tokenizers.Tokenizer.from_str(tokenizer)
    special = [i for i, token in model.get_added_tokens_decoder().items() if token.special]
    return SubWords(_Tokenizer(model), end, model.get_vocab_size(), special)


def learn_bpe(lines: Iterable[str], n_tokens: int) -> str:
    """Return the JSON of a byte-pair vocabulary learned on lines; token 0 ends a line."""
    tokenizers = require_extra("tokenizers", "tokens", "data kind 'tokens'")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return str(tokenizer.to_str())


def learn_unigram(lines: Iterable[str], n_tokens: int) -> str:
    """Return a sentencepiece vocabulary learned on lines, as the paper's [B.2]; token 0 ends a line.

    Nothing is normalised and unknown characters fall back to bytes, so that decoding gives the text back.
    """
    sentencepiece = require_extra("sentencepiece", "tokens", "data.tokenizer = 'sentencepiece'")
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=written,
            vocab_size=n_tokens,
            model_type="unigram",
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            byte_fallback=True,
            eos_id=0,
            unk_id=1,
            bos_id=-1,
            pad_id=-1,
            hard_vocab_limit=False,
            num_threads=1,  # the same vocabulary on every machine
            minloglevel=2,
        )
    except RuntimeError as error:
        message = f"`vocabulary` must fit the text: sentencepiece cannot learn {n_tokens} tokens ({error})."
        raise DataError(message) from error
    return "sentencepiece:" + base64.b64encode(written.getvalue()).decode("ascii")


def words_per_token(text: str, encoded: Encoded, end: int | None) -> np.ndarray:
    """Return how many words of the text each token begins, (n,): their sum is the number of words.

    A word is what spaces separate; the end of a line counts as one, as the paper counts [B.2], where it has a token.
    """
    counts = np.zeros(len(encoded.ids), dtype=np.int64)
    if len(counts):
        starts = np.fromiter((match.start() for match in re.finditer(r"\S+", text)), dtype=np.int64)
        at = np.searchsorted(encoded.ends, starts, side="right").clip(max=len(counts) - 1)
        np.add.at(counts, at, 1)
    if end is not None:
        counts += encoded.ids == end
    return counts
