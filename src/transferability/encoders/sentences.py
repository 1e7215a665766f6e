"""Texts through sentence-transformers: `st:NAME`, `st:NAME@REV`, `st:FOLDER`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transferability.encoders._reach import folder_or_hub, search_hub
from transferability.encoders._tokens import PROBES, ROUNDING, as_columns, check_vocabulary, read
from transferability.encoders.base import (
    FEATURES,
    Encoder,
    Identity,
    Item,
    Modality,
    Outputs,
    Precision,
    Preprocess,
    Reading,
)
from transferability.encoders.family import Family, Presence
from transferability.encoders.identity import settings_of
from transferability.errors import EncoderError, one_line, require_extra

if TYPE_CHECKING:
    from transferability.encoders._compiler import Compiler

__all__ = ["FAMILY", "SentenceEncoder", "load", "presence", "search"]

FAMILY = Family(
    "st:NAME[@REV]", "sentence-transformers; also a folder", ("text",), "sentence_transformers",
    "sentence-transformers", trainable=True, from_hub=True,
)  # fmt: skip


def presence(spec: str) -> Presence:
    """Return whether the weights of a model are here."""
    return folder_or_hub(FAMILY, spec)


def search(pattern: str) -> list[str]:
    """Return models of sentence-transformers on the hub, or in its cache, that match."""
    return search_hub(pattern, f"st:{pattern}", "sentence-transformers")


_CAUGHT = "caught "  # in front of the names of hidden layers, among what the model itself puts into its dictionary


def load(
    spec: str, *, device: str | None, precision: Precision = "float32", trust_remote_code: bool = False
) -> Encoder:
    """Return a sentence-transformers model; its own modules tokenise, pool and perhaps project.

    Parameters
    ----------
    spec : str
        Name on the hub, optionally with `@REV`, or a folder.
    device : str or None
        Where it runs.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic.
    trust_remote_code : bool
        Whether code from its repository may be run.

    Raises
    ------
    EncoderError
        If it cannot be had, or needs code from its repository that may not be run.
    """
    name = f"st:{spec}"
    library = require_extra("sentence_transformers", "sentence-transformers", f"encoder {name!r}")
    from transferability.encoders._hub import quietly, source_and_revision
    from transferability.encoders._torch import loading, pick_device

    source, revision = source_and_revision(spec, name)
    with loading(name), quietly():
        model = library.SentenceTransformer(
            source, revision=revision, device=str(pick_device(device)), trust_remote_code=trust_remote_code
        )
    return SentenceEncoder(name, model, precision)


class SentenceEncoder:
    """A SentenceTransformer as an encoder of texts and pairs; hidden layers are the mean over the tokens of a text."""

    modality: Modality = "text"
    preprocess: Preprocess | None = None
    source_class_names: tuple[str, ...] | None = None
    pooling = "the model's own modules; hidden layers: mean over tokens"
    _compiler: Compiler | None = None

    def __init__(self, name: str, model: Any, precision: Precision = "float32") -> None:
        from transferability.encoders._layers import find_layers
        from transferability.encoders._torch import count_parameters

        self.name = name
        self.n_parameters = count_parameters(model)
        self._model = model.float().eval()
        self._precision: Precision = precision
        # The first module is the transformer, where there is one: what puts "token_embeddings" into the dictionary.
        self._layers = find_layers(model[0]) if hasattr(model[0], "auto_model") else {}
        self.outputs = (FEATURES, *self._layers)
        self._prompt = (getattr(model, "prompts", None) or {}).get(getattr(model, "default_prompt_name", None)) or ""
        limit = getattr(model, "max_seq_length", None)
        self._max_length = int(limit) if limit and math.isfinite(limit) else None
        self._tokenizer = model.tokenizer if hasattr(model.tokenizer, "all_special_ids") else None
        if self._tokenizer is not None:
            check_vocabulary(self._tokenizer, name)
        self._one_by_one = not self._hides_padding()
        self._settings = settings_of(self)

    def identity(self) -> Identity:
        """Return hashes of all settings (modules, tokeniser, prompts) and of the weights, versions, kind of device."""
        from transferability.encoders._compiler import device_kind
        from transferability.encoders._hub import tokenizer_hash
        from transferability.encoders._torch import versions

        return {
            "source": self.name,
            "settings": self._settings,
            "modules": [" ".join(repr(module).split()) for module in self._model],
            "prompt": self._prompt,
            "tokenizer": tokenizer_hash(self._model.tokenizer),
            "max_length": self._max_length,
            "pooling": self.pooling,
            "precision": self._precision,
            "weights": self._weights,
            "versions": versions("sentence-transformers", "transformers", "tokenizers"),
            "device": device_kind(self._model.device, self._compiler),
        }

    @property
    def _weights(self) -> str:
        from transferability.encoders._torch import weights

        return weights(self._model)

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of texts, as the model's own modules pool them."""
        return self.forward(items, [FEATURES])[FEATURES]

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> Outputs:
        """Return these outputs of one batch of texts; the model runs once."""
        from transferability.encoders._compiler import compiled_or_not
        from transferability.encoders._torch import computing, to_numpy

        layers = {name: self._layers[name] for name in outputs if name != FEATURES}
        compiled = compiled_or_not(self._compiler, self._batch_size(batch))
        with computing(self._model.device, self._precision), compiled:
            if layers:
                found = self._with_layers(list(batch), layers)
            else:
                size = self._batch_size(batch)
                rows = self._model.encode(list(batch), batch_size=size, convert_to_tensor=True, show_progress_bar=False)
                found = {FEATURES: rows}
        return {name: to_numpy(found[name]) for name in outputs}

    def reading(self, items: Sequence[Item]) -> Reading:
        """Return what the model gets to see of texts or pairs, behind its prompt."""
        if self._tokenizer is None or self._max_length is None:
            return Reading(0, 0, unknown=False)
        first, *second = as_columns(items)
        return read(self._tokenizer, [[self._prompt + text for text in first], *second], self._max_length)

    def _batch_size(self, batch: Sequence[Any]) -> int:
        return 1 if self._one_by_one else len(batch)

    def _hides_padding(self) -> bool:
        """Tell whether a text has the same features alone and beside a longer one; most models see to it."""
        self._one_by_one = False
        try:
            alone, beside = (self.encode(texts)[0] for texts in (PROBES[:1], PROBES))
        except Exception as error:
            message = f"encoder {self.name!r} cannot encode texts: {one_line(error)}."
            raise EncoderError(message) from error
        return bool(np.abs(alone - beside).max() <= ROUNDING * np.abs(alone).max())

    def compile(self) -> None:
        """Have the blocks of the transformer compiled while it encodes; see `load_encoder`."""
        from transferability.encoders._compiler import compiler_of

        self._compiler = compiler_of(self.name, self._layers, self._model.device, texts=True)

    @property
    def module(self) -> Any:
        """The model, all of its modules."""
        return self._model

    def differentiable(self, batch: Sequence[Any]) -> Any:
        """Return the features of one batch of texts, with gradients."""
        import torch

        tokenize = getattr(self._model, "preprocess", None) or self._model.tokenize  # the name until version 5
        size, parts = self._batch_size(batch), []
        for start in range(0, len(batch), size):
            tokens = tokenize(batch[start : start + size]).items()
            inputs = {key: each.to(self._model.device) if hasattr(each, "to") else each for key, each in tokens}
            parts.append(self._model(inputs)["sentence_embedding"])
        return torch.cat(parts)

    def _with_layers(self, texts: list[Any], layers: dict[str, Any]) -> dict[str, Any]:
        import torch

        from transferability.encoders._layers import caught
        from transferability.encoders._texts import pool_tokens

        def add_layers(_module: Any, _inputs: Any, features: Any) -> None:
            mask = features["attention_mask"].bool()
            for name, values in hidden.items():
                features[_CAUGHT + name] = pool_tokens(values.float(), mask, "mean")

        # The library sorts texts by length. What stands in the dictionary of its modules it sorts back.
        hook = self._model[0].register_forward_hook(add_layers)
        try:
            with caught(layers) as hidden:
                size = self._batch_size(texts)
                rows = self._model.encode(
                    texts, batch_size=size, output_value=None, convert_to_numpy=False, show_progress_bar=False
                )
        finally:
            hook.remove()
        keys = {FEATURES: "sentence_embedding", **{name: _CAUGHT + name for name in layers}}
        return {name: torch.stack([row[key] for row in rows]) for name, key in keys.items()}
