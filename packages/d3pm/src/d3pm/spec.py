"""What a model must know of its data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from d3pm.errors import DataError
from d3pm.text import Codec, codec_of

__all__ = ["DataSpec", "check_fits"]


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

    def to_dict(self) -> dict[str, Any]:
        """Return JSON's values."""
        return {**asdict(self), "shape": list(self.shape), "frame": list(self.frame)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> DataSpec:
        """Return the inverse of `to_dict`."""
        return DataSpec(**{**values, "shape": tuple(values["shape"]), "frame": tuple(values.get("frame", ()))})

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
