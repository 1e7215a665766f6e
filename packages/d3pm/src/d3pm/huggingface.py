"""To start from a Hugging Face masked language model in a local folder, and to go back to one.

An absorbing model over the vocabulary of a masked language model, with its mask token as the absorbing state, asks of
the net what it was trained for. `[data] tokenizer` names the folder of the tokenizer, `[net] kind = "masked_lm"` and
`path` that of the model, both as `save_pretrained` wrote them.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from d3pm.checkpoint import Checkpoint
from d3pm.config import Config
from d3pm.errors import CheckpointError, ConfigError, DataError, OptionError, require_extra
from d3pm.nets.head import Denoiser
from d3pm.nets.masked_lm import MaskedLanguageModel
from d3pm.spec import DataSpec

__all__ = ["export_masked_lm", "load_pretrained", "resolve_net", "tokenizer_spec"]

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# What a folder with a model has; an export would write over some of it.
MODEL_FILES = (
    "config.json", "tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "*.safetensors", "*.bin",
    "*.index.json", "*.h5", "*.msgpack",
)  # fmt: skip
NAMES = {
    "bos_token": ("[BOS]", "<s>"),
    "eos_token": ("[EOS]", "</s>"),
    "unk_token": ("[UNK]", "<unk>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def tokenizer_spec(folder: str, length: int) -> DataSpec:
    """Return the spec of texts of up to `length` tokens of the tokenizer in a folder.

    Raises
    ------
    DataError
        If there is no such tokenizer, or it has no mask token.
    """
    transformers = require_extra("transformers", "huggingface", "a Hugging Face tokenizer")
    path = Path(folder)
    if not path.is_dir():
        message = (
            f"`tokenizer` must be 'bpe', 'sentencepiece' or the folder of a Hugging Face tokenizer; got {folder!r}. "
            "Make one: AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)."
        )
        raise DataError(message)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        message = f"`tokenizer` must be the folder of a Hugging Face tokenizer; {folder} cannot be read: {error}."
        raise DataError(message) from error
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if not tokenizer.is_fast or tokenizer.mask_token_id is None or end is None:
        message = (
            f"`tokenizer` must be a fast one with a mask token and one that ends a text; {folder} has "
            f"{type(tokenizer).__name__}, mask {tokenizer.mask_token!r}, end {tokenizer.sep_token!r}."
        )
        raise DataError(message)
    model = _read_config(path) if (path / "config.json").is_file() else {}
    frame = (tokenizer.cls_token_id, end) if tokenizer.cls_token_id is not None else ()
    rules = {**json.loads(tokenizer.backend_tokenizer.to_str()), "padding": None, "truncation": None}
    return DataSpec(
        "text",
        (length,),
        int(model.get("vocab_size", len(tokenizer))),
        tokenizer=json.dumps(rules),
        end=int(end),
        frame=frame,
        mask=int(tokenizer.mask_token_id),
    )


def resolve_net(config: Config) -> Config:
    """Return the recipe with the model's own configuration in [net], so that a checkpoint needs no folder."""
    if config.net.get("kind") != "masked_lm" or "config" in config.net:
        return config
    path = config.net.get("path")
    if not isinstance(path, str) or not Path(path).is_dir():
        message = (
            f"`net.path` must be the folder of a Hugging Face model; got {path!r}. "
            "Make one: AutoModelForMaskedLM.from_pretrained(NAME).save_pretrained(FOLDER)."
        )
        raise ConfigError(message)
    return dataclasses.replace(config, net={**config.net, "config": _read_config(Path(path))})


def load_pretrained(denoiser: Denoiser, path: str, length: int) -> None:
    """Give the net the weights of the model in the folder; one with a configuration alone leaves it as drawn.

    Raises
    ------
    ConfigError
        If the weights cannot be read, or the model does not read texts of `length` tokens.
    """
    try:
        with torch.no_grad():
            denoiser.backbone(torch.full((1, length), denoiser.forbid or 0), torch.zeros(1))
    except (IndexError, RuntimeError) as error:
        message = f"`data.length` must be at most what the model in {path} reads; got {length} ({error})."
        raise ConfigError(message) from error
    if not any((Path(path) / name).is_file() for name in WEIGHTS):
        return
    transformers = require_extra("transformers", "huggingface", "net kind 'masked_lm'")
    try:
        source = transformers.AutoModelForMaskedLM.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        message = f"`net.path` must hold a model's weights; those in {path} cannot be read: {error}. Copy them again."
        raise ConfigError(message) from error
    denoiser.backbone.model.load_state_dict(source.state_dict())


def export_masked_lm(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write the net and its tokenizer as `AutoModelForMaskedLM` and `AutoTokenizer` read them; return the folder.

    Raises
    ------
    CheckpointError
        If the net is no Hugging Face model.
    OptionError
        If the folder holds a model, a tokenizer or a run already.
    """
    backbone, spec = checkpoint.denoiser.backbone, checkpoint.spec
    if not isinstance(backbone, MaskedLanguageModel):
        message = (
            f"`checkpoint` must hold a net of kind masked_lm to be exported; {checkpoint.path} holds "
            f"{type(backbone).__name__}. Start one from a Hugging Face folder: net.kind=masked_lm, net.path=FOLDER."
        )
        raise CheckpointError(message)
    transformers = require_extra("transformers", "huggingface", "exporting")
    tokenizers = require_extra("tokenizers", "huggingface", "exporting")
    folder = Path(folder)
    present = sorted(path.name for pattern in MODEL_FILES for path in folder.glob(pattern))
    if present:
        message = (
            f"`out` must be a folder without a model; {folder} holds {', '.join(dict.fromkeys(present))}. Choose "
            "another folder, or remove it first."
        )
        raise OptionError(message)
    folder.mkdir(parents=True, exist_ok=True)
    backbone.model.save_pretrained(folder)
    model = tokenizers.Tokenizer.from_str(spec.tokenizer)
    named = {
        role: next((name for name in names if model.token_to_id(name) is not None), None)
        for role, names in NAMES.items()
    }
    named |= {"mask_token": model.id_to_token(spec.mask), "sep_token": model.id_to_token(spec.end)}
    special = {role: name for role, name in named.items() if name is not None}
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=model, model_max_length=spec.shape[0], **special)
    wrapped.save_pretrained(folder)
    return folder


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"`net.path` must hold a config.json; the one in {path} cannot be read: {error}."
        raise ConfigError(message) from error
    if not isinstance(values, dict) or "model_type" not in values:
        message = f"`net.path` must hold the config.json of a model; the one in {path} names no model_type."
        raise ConfigError(message)
    dropped = ("architectures", "transformers_version", "torch_dtype", "dtype", "_name_or_path")
    return {key: value for key, value in values.items() if key not in dropped}
