"""Text networks of transformers as encoders: texts, pairs of texts, words within their sentence. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferability.encoders._hub import class_names
from transferability.encoders._layers import caught, find_layers, returned
from transferability.encoders._torch import computing, count_parameters, pick_device, to_numpy, versions, weights
from transferability.encoders.base import (
    FEATURES,
    PROBABILITIES,
    Identity,
    Item,
    Modality,
    Outputs,
    Precision,
    Preprocess,
)
from transferability.encoders.identity import settings_hash
from transferability.errors import EncoderError

__all__ = ["TextNetwork", "pool_tokens"]

_MAX_TOKENS = 512  # where neither tokeniser nor configuration names a limit


class _Batch(NamedTuple):
    """What the network reads, and which of its positions make each row."""

    inputs: dict[str, Tensor]  # each (n_texts, n_tokens)
    text_of_row: Tensor | None  # (n,); None where each text is a row
    mask: Tensor  # (n, n_tokens) bool

    def of_rows(self, values: Tensor) -> Tensor:
        """Return what belongs to each row: (n_texts, …) -> (n, …)."""
        return values if self.text_of_row is None else values[self.text_of_row]


class TextNetwork:
    """A transformers model of texts.

    Parameters
    ----------
    name : str
        What the user wrote.
    model : PreTrainedModel
        The body; of an encoder-decoder, its encoder is used.
    classifier : PreTrainedModel or None
        The whole, with a head whose logits are (n, n_classes) or, for words, (n, n_tokens, n_classes).
    tokenizer : PreTrainedTokenizer
        As published with the model.
    device : str or None
        See `pick_device`.
    pool : {"mean", "max", "cls", "last"} or None
        Over the tokens of a text, or of a word; None is the mean.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic.
    """

    modality: Modality = "text"
    also_takes: tuple[Modality, ...] = ("tokens",)
    preprocess: Preprocess | None = None  # tokenisers are fast, and pad a batch together

    def __init__(
        self,
        name: str,
        model: Any,
        classifier: Any | None,
        tokenizer: Any,
        device: str | None,
        pool: str | None,
        precision: Precision,
    ) -> None:
        if tokenizer.pad_token is None:  # GPT-like: the mask hides what fills the batch up, whatever it is
            tokenizer.pad_token = tokenizer.eos_token
        whole = model if classifier is None else classifier
        if classifier is not None:
            classifier.config.pad_token_id = tokenizer.pad_token_id  # decoders look for the last token that is none
        self._body = model.get_encoder() if model.config.is_encoder_decoder else model
        self.name = name
        self.n_parameters = count_parameters(self._body)
        self.pooling = f"{pool or 'mean'} over tokens"
        self.source_class_names = None if classifier is None else _tuple(class_names(classifier))
        self._pool = pool or "mean"
        self._precision: Precision = precision
        self._device = pick_device(device)
        self._network = (self._body if classifier is None else whole).float().eval().to(self._device)
        self._classifier = classifier
        self._tokenizer = tokenizer
        self._layers = find_layers(self._body)
        self.outputs = (FEATURES, *((PROBABILITIES,) if classifier is not None else ()), *self._layers)
        limits = (tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or _MAX_TOKENS)
        self._max_length = min(limits) if limits[0] < 10**6 else min(limits[1], _MAX_TOKENS)
        self._settings = settings_hash(vars(self))

    def identity(self) -> Identity:
        """Return hashes of all settings, the tokeniser's too, and of the weights; pooling, versions, kind of device."""
        return {
            "source": self.name,
            "weights": self._weights,
            "settings": self._settings,
            "pooling": self.pooling,
            "precision": self._precision,
            "versions": versions("transformers", "tokenizers"),
            "device": self._device.type,
        }

    @cached_property
    def _weights(self) -> str:
        return weights(self._network)

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of texts, pairs, or words in their sentences."""
        return self.forward(items, [FEATURES])[FEATURES]

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> Outputs:
        """Return these outputs of one batch; the network runs once, and on each sentence once."""
        read = self._read(batch)
        wanted = {name: self._layers[name] for name in outputs if name not in (FEATURES, PROBABILITIES)}
        with computing(self._device, self._precision), caught(wanted) as hidden, returned(self._body) as last:
            if PROBABILITIES in outputs and self._classifier is not None:
                logits = self._classifier(**read.inputs).logits.float()
            else:
                self._body(**read.inputs)
            found = {name: self._rows(values, read) for name, values in hidden.items()}
            if FEATURES in outputs:
                found[FEATURES] = self._rows(last[-1].last_hidden_state, read)
            if PROBABILITIES in outputs:
                found[PROBABILITIES] = self._shares(logits.softmax(-1), read)
        return {name: to_numpy(found[name]) for name in outputs}

    @property
    def module(self) -> Any:
        """The network, with its head if it has one."""
        return self._network

    def differentiable(self, batch: Sequence[Any]) -> Tensor:
        """Return the features of one batch, with gradients."""
        read = self._read(batch)
        return self._rows(self._body(**read.inputs).last_hidden_state, read)

    def _rows(self, hidden: Tensor, read: _Batch) -> Tensor:
        hidden = hidden.float()  # (n_texts, n_tokens, d)
        return pool_tokens(read.of_rows(hidden), read.mask, self._pool)

    def _shares(self, shares: Tensor, read: _Batch) -> Tensor:
        """Return the probabilities of each row; the mean over its tokens where the head gives them per token."""
        if shares.ndim == 2:
            return read.of_rows(shares)
        found = pool_tokens(read.of_rows(shares), read.mask, "mean")
        return found.where(read.mask.any(1, keepdim=True), 1 / shares.shape[-1])  # an empty text: nothing is known

    def _read(self, items: Sequence[Item]) -> _Batch:
        is_word = any(isinstance(item, tuple) and not isinstance(item[1], str) for item in items)
        return self._words(items) if is_word else self._texts(items)

    def _texts(self, items: Sequence[Item]) -> _Batch:
        """Tokenise texts or pairs, all of them of one kind."""
        pairs = isinstance(items[0], tuple)
        columns = [list(side) for side in zip(*items, strict=True)] if pairs else [list(items)]
        inputs = self._tokenize(*columns)
        return _Batch(inputs, None, inputs["attention_mask"].bool())

    def _words(self, items: Sequence[tuple[tuple[str, ...], int]]) -> _Batch:
        """Tokenise each sentence once, and find the tokens of each word that is asked for."""
        if not self._tokenizer.is_fast:
            message = (
                f"encoder {self.name!r} cannot tell which tokens a word is cut into: its tokeniser is not a fast one."
            )
            raise EncoderError(message)
        number = {words: row for row, words in enumerate(dict.fromkeys(words for words, _ in items))}
        inputs = self._tokenize([" ".join(words) for words in number], return_offsets_mapping=True)
        offsets = inputs.pop("offset_mapping").cpu().numpy()  # (n_texts, n_tokens, 2), in characters
        mask = np.zeros((len(items), offsets.shape[1]), dtype=bool)
        for row, (words, position) in enumerate(items):
            start = sum(len(word) + 1 for word in words[:position])
            begins, ends = offsets[number[words]].T  # (n_tokens,) each; both 0 for tokens that stand for no text
            mask[row] = (begins < start + len(words[position])) & (ends > start)
            if not mask[row].any():
                message = (
                    f"word {position} ({words[position]!r}) of the sentence that begins {' '.join(words)[:60]!r} has "
                )
                message += (
                    f"no token among the {self._max_length} that encoder {self.name!r} reads. Cut long sentences."
                )
                raise EncoderError(message)
        text_of_row = torch.tensor([number[words] for words, _ in items], device=self._device)
        return _Batch(inputs, text_of_row, torch.from_numpy(mask).to(self._device))

    def _tokenize(self, *columns: list[str], return_offsets_mapping: bool = False) -> dict[str, Tensor]:
        options: dict[str, Any] = {"return_offsets_mapping": True} if return_offsets_mapping else {}
        tokens = self._tokenizer(
            *columns, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt", **options
        )
        if tokens["input_ids"].shape[1] == 0:  # nothing but empty texts, and a tokeniser that adds no tokens of its own
            filler = torch.full((len(columns[0]), 1), self._tokenizer.pad_token_id)
            tokens = {"input_ids": filler, "attention_mask": torch.zeros_like(filler)}
        kept = {"input_ids", "attention_mask", "token_type_ids", "offset_mapping"}
        return {key: values.to(self._device) for key, values in tokens.items() if key in kept}


def pool_tokens(hidden: Tensor, mask: Tensor, pool: str) -> Tensor:
    """Return one row per item of (n, n_tokens, d), over the positions that the mask (n, n_tokens) leaves, or zeros."""
    if pool in ("cls", "last"):
        steps = torch.arange(mask.shape[1], device=mask.device)
        score = mask * (steps + 1 if pool == "last" else len(steps) - steps)
        picked = hidden[torch.arange(len(hidden), device=mask.device), score.argmax(1)]  # (n, d)
        return picked.where(mask.any(1, keepdim=True), 0)
    if pool == "max":
        return hidden.masked_fill(~mask[..., None], -torch.inf).amax(1).where(mask.any(1, keepdim=True), 0)
    return hidden.where(mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _tuple(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
