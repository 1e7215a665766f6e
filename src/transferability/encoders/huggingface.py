"""Pictures or texts through transformers: `hf:ORG/NAME`, `hf:ORG/NAME@REV`, `hf:FOLDER`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability.encoders.base import Encoder, Identity, Item, Modality
from transferability.errors import EncoderError, require_extra

__all__ = ["load"]

_MAX_TOKENS = 512  # where neither tokeniser nor configuration names a limit


def load(spec: str, *, device: str | None) -> Encoder:
    """Return a transformers model with the processor or tokeniser that belongs to it.

    Parameters
    ----------
    spec : str
        Name on the hub, optionally with `@REV` (branch, tag or commit), or a folder as `save_pretrained` leaves it.
    device : str or None
        Where it runs.

    Raises
    ------
    EncoderError
        If it cannot be had, lacks weights of its body, or needs code from its repository: none is run.

    Notes
    -----
    What counts as the features:

    1. Models of pictures and texts (CLIP, SigLIP, …) encode pictures, with `get_image_features`.
    2. Other picture models: their `pooler_output` if its weights were trained or it has none; else the class token of
       the last layer, or the mean over positions where there is no class token. Many classifiers are published without
       the weights of the pooler that `AutoModel` adds; it would be random.
    3. Texts: the mean of the last layer over the tokens of the text; for encoder-decoders, of the encoder's. BERT's
       pooler is left alone: it was trained to tell whether two sentences follow each other, and serves for little else.
    """
    name = f"hf:{spec}"
    transformers = require_extra("transformers", "transformers", f"encoder {name!r}")
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    from transferability.encoders._hub import quietly, source_and_revision
    from transferability.encoders._torch import loading, seeded

    source, revision = source_and_revision(spec, name)
    with loading(name), quietly(), seeded():
        config = transformers.AutoConfig.from_pretrained(source, revision=revision)
        model, report = transformers.AutoModel.from_pretrained(source, revision=revision, output_loading_info=True)
        pictures = config.model_type in IMAGE_PROCESSOR_MAPPING_NAMES
        auto = transformers.AutoImageProcessor if pictures else transformers.AutoTokenizer
        processor = auto.from_pretrained(source, revision=revision)
    missing = [str(key) for key in report["missing_keys"]]
    untrained = [key for key in missing if not _is_optional(key)]
    if untrained:
        message = f"encoder {name!r} has no trained weights for {', '.join(untrained[:3])}"
        message += f" and {len(untrained) - 3} more" if len(untrained) > 3 else ""
        message += ": its features would be partly random. Check that it is a model of this type."
        raise EncoderError(message)
    if pictures:
        return _PictureModel(name, model, processor, device, trained_pooler=not any(map(_is_pooler, missing)))
    return _TextModel(name, model, processor, device)


def _is_pooler(key: str) -> bool:
    return "pooler" in key.split(".")


def _is_optional(key: str) -> bool:
    """Tell whether features do without this weight: poolers (see Notes), tokens used in pre-training only, buffers."""
    return _is_pooler(key) or key.endswith(("mask_token", "position_ids"))


class _TransformersModel:
    """What both kinds share: the model on its device, and the identity."""

    pooling = ""

    def __init__(self, name: str, model: Any, processor: Any, device: str | None) -> None:
        from transferability.encoders._torch import count_parameters, pick_device

        self.name = name
        self.n_parameters = count_parameters(model)
        self._device = pick_device(device)
        self._model = model.float().eval().to(self._device)
        self._processor = processor

    def identity(self) -> Identity:
        """Return the pooling, the hash of the weights, versions, the kind of device."""
        from transferability.encoders._torch import versions

        return {
            "source": self.name,
            "weights": self._weights,
            "pooling": self.pooling,
            "versions": versions("transformers", "tokenizers", "torchvision", "pillow"),
            "device": self._device.type,
        }

    @cached_property
    def _weights(self) -> str:
        from transferability.encoders._torch import weights

        return weights(self._model)


class _PictureModel(_TransformersModel):
    modality: Modality = "image"

    def __init__(self, name: str, model: Any, processor: Any, device: str | None, *, trained_pooler: bool) -> None:
        super().__init__(name, model, processor, device)
        self._trained_pooler = trained_pooler
        class_token = any(key.endswith("cls_token") for key, _ in model.named_parameters())
        self._position = "class token" if class_token else "mean"
        self.pooling = f"image features, else pooler if {trained_pooler}, else {self._position}"

    def identity(self) -> Identity:
        """Add the processor and its settings."""
        preprocessing = [type(self._processor).__name__, json.loads(self._processor.to_json_string())]
        return {**super().identity(), "preprocessing": preprocessing}

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of pictures."""
        import torch

        pixels = self._processor(images=list(items), return_tensors="pt")["pixel_values"].to(self._device)
        with torch.inference_mode():
            if hasattr(self._model, "get_image_features"):
                output = self._model.get_image_features(pixel_values=pixels)
                pooled = output if isinstance(output, torch.Tensor) else output.pooler_output  # a tensor until 4.x
            else:
                output = self._model(pixel_values=pixels)
                pooled = getattr(output, "pooler_output", None)
                if pooled is None or not self._trained_pooler:
                    pooled = self._pool(output.last_hidden_state)
        features: npt.NDArray[np.float32] = pooled.flatten(1).float().cpu().numpy()  # (n, c, 1, 1) -> (n, c)
        return features

    def _pool(self, hidden: Any) -> Any:
        if hidden.ndim == 4:
            return hidden.mean((2, 3))  # (n, c, h, w) -> (n, c)
        return hidden[:, 0] if self._position == "class token" else hidden.mean(1)  # (n, positions, d) -> (n, d)


class _TextModel(_TransformersModel):
    modality: Modality = "text"
    pooling = "mean over tokens"

    def __init__(self, name: str, model: Any, processor: Any, device: str | None) -> None:
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        super().__init__(name, model, processor, device)
        if processor.pad_token is None:  # GPT-like: the mask hides what fills the batch up, whatever it is
            processor.pad_token = processor.eos_token
        limits = (processor.model_max_length, getattr(model.config, "max_position_embeddings", None) or _MAX_TOKENS)
        self._max_length = min(limits) if limits[0] < 10**6 else min(limits[1], _MAX_TOKENS)

    def identity(self) -> Identity:
        """Add the tokeniser's rules and limit."""
        from transferability.encoders._hub import tokenizer_hash

        preprocessing = {"tokenizer": tokenizer_hash(self._processor), "max_length": self._max_length}
        return {**super().identity(), "preprocessing": preprocessing}

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of texts."""
        import torch

        tokens = self._processor(
            list(items), padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        ).to(self._device)
        if tokens["input_ids"].shape[1] == 0:  # nothing but empty texts, and a tokeniser that adds no tokens of its own
            return np.zeros((len(items), self._model.config.hidden_size), dtype=np.float32)
        with torch.inference_mode():
            inputs = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
            hidden = self._model(**inputs).last_hidden_state.float()  # (n, tokens, d)
            mask = tokens["attention_mask"].unsqueeze(-1).bool()  # (n, tokens, 1)
            pooled = hidden.where(mask, 0).sum(1) / mask.sum(1).clamp(min=1)  # (n, d); 0 for an empty text
        features: npt.NDArray[np.float32] = pooled.cpu().numpy()
        return features
