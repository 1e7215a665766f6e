"""Texts through sentence-transformers: `st:NAME`, `st:NAME@REV`, `st:FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability.encoders.base import Encoder, Identity, Item, Modality
from transferability.errors import require_extra

__all__ = ["SentenceEncoder", "load"]


def load(spec: str, *, device: str | None) -> Encoder:
    """Return a sentence-transformers model; its own modules tokenise, pool and perhaps project.

    Parameters
    ----------
    spec : str
        Name on the hub, optionally with `@REV`, or a folder.
    device : str or None
        Where it runs.

    Raises
    ------
    EncoderError
        If it cannot be had, or needs code from its repository: none is run.
    """
    name = f"st:{spec}"
    library = require_extra("sentence_transformers", "sentence-transformers", f"encoder {name!r}")
    from transferability.encoders._hub import quietly, source_and_revision
    from transferability.encoders._torch import loading, pick_device

    source, revision = source_and_revision(spec, name)
    with loading(name), quietly():
        model = library.SentenceTransformer(source, revision=revision, device=str(pick_device(device)))
    return SentenceEncoder(name, model)


class SentenceEncoder:
    """A SentenceTransformer as an encoder of texts."""

    modality: Modality = "text"

    def __init__(self, name: str, model: Any) -> None:
        from transferability.encoders._torch import count_parameters

        self.name = name
        self.n_parameters = count_parameters(model)
        self._model = model.float().eval()

    def identity(self) -> Identity:
        """Return the modules with their settings, the tokeniser's limit, the hash of the weights, versions."""
        from transferability.encoders._hub import tokenizer_hash
        from transferability.encoders._torch import versions

        return {
            "source": self.name,
            "modules": [" ".join(repr(module).split()) for module in self._model],
            "tokenizer": tokenizer_hash(self._model.tokenizer),
            "max_length": self._model.max_seq_length,
            "weights": self._weights,
            "versions": versions("sentence-transformers", "transformers", "tokenizers"),
            "device": self._model.device.type,
        }

    @cached_property
    def _weights(self) -> str:
        from transferability.encoders._torch import weights

        return weights(self._model)

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of texts, as the model's own modules pool them."""
        features: npt.NDArray[np.float32] = self._model.encode(
            list(items), batch_size=len(items), convert_to_numpy=True, show_progress_bar=False
        )
        return features
