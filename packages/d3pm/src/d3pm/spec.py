"""What a model must know of its data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from d3pm.errors import DataError
from d3pm.text import Codec, codec_of

__all__ = ["DataSpec", "check_fits", "match_classes"]


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its data, kept in checkpoints.

    Attributes
    ----------
    modality : {"image", "text"}
    shape : tuple of int
        Of one example's tokens: (H, W), (H, W, C) or (N,), of a text the longest.
    n_tokens : int
        Values that clean tokens take.
    largest : int
        Of a picture's raw values: 255, or 16 for scikit-learn's digits.
    alphabet : str
        Of characters; the token is the index.
    tokenizer : str
        A learned vocabulary, see `d3pm.text.codec_of`.
    end : int
        Token of a learned vocabulary that ends a line.
    frame : tuple of int
        Tokens that a single text begins and ends with; none but for Hugging Face models, which expect them.
    mask : int or None
        The vocabulary's own mask; None where the process adds one.
    n_classes : int
        Of a class-conditional model; 0 for none.
    classes : tuple of str
        Their names, where the data have names.
    lengths : tuple of int
        Training examples of 1, 2, …, N tokens, where each is a text of its own (data.lines=true); else empty.
    """

    modality: str
    shape: tuple[int, ...]
    n_tokens: int
    largest: int = 255
    alphabet: str = ""
    tokenizer: str = ""
    end: int = 0
    frame: tuple[int, ...] = ()
    mask: int | None = None
    n_classes: int = 0
    classes: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON's values."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        for key in ("classes", "lengths"):
            if not values[key]:  # as it was written before: what is computed with it is kept by it
                del values[key]
        return values

    @staticmethod
    def from_dict(values: dict[str, Any]) -> DataSpec:
        """Return the inverse of `to_dict`."""
        tuples = {key: tuple(values.get(key, ())) for key in ("frame", "classes", "lengths")}
        return DataSpec(**{**values, **tuples, "shape": tuple(values["shape"])})

    @property
    def differs_in_length(self) -> bool:
        """Return whether some training texts are shorter than the net reads, so that it knows of padding."""
        return any(self.lengths[:-1])

    @property
    def n_channels(self) -> int | None:
        """Return C of pictures with an axis of channels."""
        return self.shape[2] if len(self.shape) == 3 else None

    @property
    def unit(self) -> str:
        """Return what bits are counted per: dimensions of pictures, characters or tokens of text."""
        return "bits/dim" if self.modality == "image" else "bits/char" if self.alphabet else "bits/token"

    @property
    def codec(self) -> Codec:
        """Return what turns text into tokens and back."""
        if not (self.alphabet or self.tokenizer):
            message = "`data` are tokens without a vocabulary; this model knows numbers, not text."
            raise DataError(message)
        return codec_of(self.alphabet, self.tokenizer, self.end)

    def encode_text(self, text: str) -> np.ndarray:
        """Return the tokens of a text, (n,) int64."""
        return self.codec.encode(text).ids

    def decode_text(self, tokens: np.ndarray) -> str:
        """Return the text of tokens (n,); what stands for no text (a mask) shows as "·". Bare tokens are numbers."""
        if not (self.alphabet or self.tokenizer):
            return " ".join(map(str, tokens))
        return self.codec.decode(tokens)

    def without_frame(self, tokens: np.ndarray) -> np.ndarray:
        """Return the tokens of a text (n,) without those that begin and end it, where it has them."""
        if not self.frame:
            return tokens
        begin, end = self.frame
        start = int(len(tokens) > 0 and tokens[0] == begin)
        return tokens[start : len(tokens) - int(len(tokens) > start and tokens[-1] == end)]

    def to_pixels(self, tokens: np.ndarray) -> np.ndarray:
        """Return grey or RGB values from 0 to 255, uint8, of tokens; what is no level (a mask) becomes mid-grey."""
        top = self.n_tokens - 1
        values = np.where(tokens > top, 127, np.round(tokens * (255 / top)))
        return values.astype(np.uint8)


def check_fits(data: DataSpec, model: DataSpec) -> None:
    """Raise `DataError` if a model cannot read such data: of another shape, vocabulary or number of classes."""
    if (data.n_tokens, data.shape) != (model.n_tokens, model.shape):
        message = (
            f"`data` must be of shape {model.shape} with {model.n_tokens} values for this checkpoint; "
            f"got {data.shape} with {data.n_tokens}."
        )
        raise DataError(message)
    if (data.alphabet, data.tokenizer) != (model.alphabet, model.tokenizer) or data.n_classes > model.n_classes:
        message = (
            "`data` must have the vocabulary and the classes of this checkpoint. Read them with its spec: load_data."
        )
        raise DataError(message)


def match_classes(labels: np.ndarray | None, names: tuple[str, ...], known: tuple[str, ...]) -> np.ndarray | None:
    """Return labels by the numbers that a model gives to classes of these names; as they are where one has no names.

    Raises
    ------
    DataError
        If the model does not know a class that occurs.
    """
    if labels is None or not names or not known or names == known:
        return labels
    occurring = [names[i] for i in np.unique(labels)]
    unknown = next((name for name in occurring if name not in known), None)
    if unknown is not None:
        message = f"`data` must be of the classes of this checkpoint, {', '.join(known)}; got {unknown!r}."
        raise DataError(message)
    numbers = {i: known.index(name) for i, name in enumerate(names) if name in known}
    return np.array([numbers[int(label)] for label in labels], dtype=np.int64)
