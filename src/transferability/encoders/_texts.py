"""Text networks of transformers as encoders: texts, pairs of texts, words within their sentence. Imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferability.encoders._compiler import Compiler, compiled_or_not, compiler_of, device_kind
from transferability.encoders._hub import class_names, configuration, tokenizer_hash
from transferability.encoders._layers import caught, find_layers, returned
from transferability.encoders._tokens import PROBES, ROUNDING, as_columns, check_vocabulary, read, token_limit
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
    Reading,
)
from transferability.encoders.identity import settings_of
from transferability.errors import EncoderError, one_line

__all__ = ["TextNetwork", "pool_tokens"]


class _Text(NamedTuple):
    """A text as its tokens."""

    ids: list[int]
    types: list[int] | None  # which text of a pair


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
        check_vocabulary(tokenizer, name)
        whole = model if classifier is None else classifier
        model.config.use_cache = False  # of keys and values, for generating; it takes memory, and some fail with it
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
        self._max_length = token_limit(tokenizer, model)
        signatures = [inspect.signature(each.forward).parameters for each in (self._network, self._body)]
        self._takes = {key for key in ("attention_mask", "token_type_ids") if all(key in each for each in signatures)}
        self._pads, whole_layers = self._try()
        self._layers = {name: layer for name, layer in self._layers.items() if name in whole_layers}
        self.outputs = (FEATURES, *((PROBABILITIES,) if classifier is not None else ()), *self._layers)
        if classifier is not None:  # the heads of decoders look for the last token that is no padding
            classifier.config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else -1
            self._pads = self._pads and tokenizer.pad_token_id is not None
        self._settings = settings_of(self)
        self._compiler: Compiler | None = None

    def identity(self) -> Identity:
        """Return hashes of all settings, the tokeniser's too, and of the weights; pooling, versions, kind of device."""
        return {
            "source": self.name,
            "weights": self._weights,
            "settings": self._settings,
            "configuration": configuration(self._body.config),
            "preprocessing": {"tokenizer": tokenizer_hash(self._tokenizer), "max_length": self._max_length},
            "pooling": self.pooling,
            "precision": self._precision,
            "versions": versions("transformers", "tokenizers"),
            "device": device_kind(self._device, self._compiler),
        }

    @property
    def _weights(self) -> str:
        return weights(self._network)

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of texts, pairs, or words in their sentences."""
        return self.forward(items, [FEATURES])[FEATURES]

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> Outputs:
        """Return these outputs of one batch; the network runs once, and on each sentence once.

        Of a network that does not hide padding from its rows, texts of one length go together, and the others after
        each other.
        """
        parts = [(rows, self._pass(read, outputs)) for rows, read in self._batches(batch)]
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return {name: np.concatenate([part[name] for _, part in parts])[order] for name in outputs}

    def reading(self, items: Sequence[Item]) -> Reading:
        """Return what the network gets to see of texts, pairs or words."""
        return read(self._tokenizer, as_columns(items), self._max_length)

    def _pass(self, read: _Batch, outputs: Sequence[str]) -> Outputs:
        wanted = {name: self._layers[name] for name in outputs if name not in (FEATURES, PROBABILITIES)}
        compiled = compiled_or_not(self._compiler, len(read.inputs["input_ids"]))
        with computing(self._device, self._precision), compiled, caught(wanted) as hidden, returned(self._body) as last:
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

    def compile(self) -> None:
        """Have the blocks of the network compiled while it encodes; see `load_encoder`."""
        self._compiler = compiler_of(self.name, find_layers(self._body), self._device, texts=True)

    @property
    def module(self) -> Any:
        """The network, with its head if it has one."""
        return self._network

    def differentiable(self, batch: Sequence[Any]) -> Tensor:
        """Return the features of one batch, with gradients."""
        parts = [(rows, self._rows(self._body(**r.inputs).last_hidden_state, r)) for rows, r in self._batches(batch)]
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return torch.cat([part for _, part in parts])[torch.from_numpy(order).to(self._device)]

    def _try(self) -> tuple[bool, set[str]]:
        """Tell whether a text has the same row alone and beside a longer one, and which layers give a row per token.

        Padding is not hidden where there is no mask (FNet), where a convolution or a recurrence passes over it. Some
        layers have fewer positions than the text has tokens, or take no part.
        """
        short, long = self._read([list(PROBES)])[0]
        if len(short.ids) in (0, len(long.ids)):
            return True, set(self._layers)
        try:
            found = []
            for texts in ([short], [short, long]):
                with computing(self._device, "float32"), caught(self._layers) as hidden:
                    output = self._body(**self._inputs(texts)[0])
                found.append(output.last_hidden_state[0, : len(short.ids)].float())
        except Exception as error:
            message = f"encoder {self.name!r} cannot encode texts: {one_line(error)}."
            raise EncoderError(message) from error
        hides = bool((found[0] - found[1]).abs().max() <= ROUNDING * found[0].abs().max())
        return hides, {name for name, values in hidden.items() if values.shape[:2] == (2, len(long.ids))}

    def _rows(self, hidden: Tensor, read: _Batch) -> Tensor:
        hidden = hidden.float()  # (n_texts, n_tokens, d)
        return pool_tokens(read.of_rows(hidden), read.mask, self._pool)

    def _shares(self, shares: Tensor, read: _Batch) -> Tensor:
        """Return the probabilities of each row; the mean over its tokens where the head gives them per token."""
        if shares.ndim == 2:
            return read.of_rows(shares)
        found = pool_tokens(read.of_rows(shares), read.mask, "mean")
        return found.where(read.mask.any(1, keepdim=True), 1 / shares.shape[-1])  # an empty text: nothing is known

    def _batches(self, items: Sequence[Item]) -> Iterator[tuple[npt.NDArray[np.intp], _Batch]]:
        """Yield what the network reads at once, with the positions of its rows among the items."""
        if any(isinstance(item, tuple) and not isinstance(item[1], str) for item in items):
            texts, text_of_row, spans = self._words(items)
        else:  # texts or pairs, all of them of one kind
            texts, _ = self._read(as_columns(items))
            text_of_row, spans = np.arange(len(texts)), None
        lengths = np.array([0 if self._pads else len(text.ids) for text in texts])
        for length in np.unique(lengths):
            chosen = np.flatnonzero(lengths == length)
            inputs, mask = self._inputs([texts[text] for text in chosen])
            if spans is None:
                yield chosen, _Batch(inputs, None, mask)
                continue
            rows = np.flatnonzero(lengths[text_of_row] == length)
            local = torch.from_numpy(np.searchsorted(chosen, text_of_row[rows])).to(self._device)
            mask = torch.zeros((len(rows), mask.shape[1]), dtype=torch.bool)
            for place, row in enumerate(rows):
                mask[place, spans[row]] = True
            yield rows, _Batch(inputs, local, mask.to(self._device))

    def _words(
        self, items: Sequence[tuple[tuple[str, ...], int]]
    ) -> tuple[list[_Text], npt.NDArray[np.intp], list[npt.NDArray[np.intp]]]:
        """Tokenise each sentence once; return the sentence of each word, and the tokens it is cut into."""
        if not self._tokenizer.is_fast:
            message = f"encoder {self.name!r} cannot tell which tokens a word is cut into: its tokeniser is not a "
            raise EncoderError(message + "fast one.")
        number = {words: row for row, words in enumerate(dict.fromkeys(words for words, _ in items))}
        texts, offsets = self._read([[" ".join(words) for words in number]], offsets=True)
        spans = []
        for words, position in items:
            start = sum(len(word) + 1 for word in words[:position])
            begins, ends = np.array(offsets[number[words]]).reshape(-1, 2).T  # 0 and 0 for tokens that are no text
            spans.append(np.flatnonzero((begins < start + len(words[position])) & (ends > start)))
            if len(spans[-1]) == 0:
                message = f"word {position} ({words[position]!r}) of the sentence that begins {' '.join(words)[:60]!r} "
                message += f"has no token among the {self._max_length} that encoder {self.name!r} reads. "
                raise EncoderError(message + "Cut long sentences.")
        return texts, np.array([number[words] for words, _ in items]), spans

    def _read(
        self, columns: Sequence[list[str]], *, offsets: bool = False
    ) -> tuple[list[_Text], list[list[tuple[int, int]]]]:
        """Tokenise texts, or pairs in two columns, cut to what the network reads; and where tokens lie in them."""
        options: dict[str, Any] = {"return_offsets_mapping": True} if offsets else {}
        found = self._tokenizer(*columns, padding=False, truncation=True, max_length=self._max_length, **options)
        ids = found["input_ids"]
        types = found["token_type_ids"] if "token_type_ids" in self._takes & set(found) else [None] * len(ids)
        return [_Text(*text) for text in zip(ids, types, strict=True)], found.get("offset_mapping", [])

    def _inputs(self, texts: Sequence[_Text]) -> tuple[dict[str, Tensor], Tensor]:
        """Return texts of any length side by side, filled up on the right, and the mask (n_texts, n_tokens) of tokens.

        On the right, so that positions count from a text's first token. Which token fills up does not matter, and one
        is there where nothing else is: of empty texts, and a tokeniser that adds no tokens of its own.
        """
        width = max(1, *(len(text.ids) for text in texts))
        ids = torch.full((len(texts), width), self._tokenizer.pad_token_id or 0)
        types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)] = torch.tensor(text.ids, dtype=ids.dtype)
            types[row, : len(text.ids)] = torch.tensor(text.types or 0)
            mask[row, : len(text.ids)] = 1
        known = {"attention_mask": mask} | ({} if texts[0].types is None else {"token_type_ids": types})
        inputs = {"input_ids": ids} | {key: values for key, values in known.items() if key in self._takes}
        return {key: values.to(self._device) for key, values in inputs.items()}, mask.bool().to(self._device)


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
