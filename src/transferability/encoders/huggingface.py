"""Pictures or texts through transformers: `hf:ORG/NAME`, `hf:ORG/NAME@REV`, `hf:FOLDER`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transferability.encoders._reach import folder_or_hub, search_hub
from transferability.encoders.base import Encoder, Item, Precision
from transferability.encoders.family import Family, Presence
from transferability.errors import EncoderError, OptionError, require_extra

if TYPE_CHECKING:
    from transferability.encoders._layers import PositionPool

__all__ = ["FAMILY", "load", "presence", "search"]

FAMILY = Family(
    "hf:ORG/NAME[@REV]", "transformers, pictures or texts; also a folder", ("image", "text", "tokens"), "transformers",
    "transformers", trainable=True, from_hub=True,
)  # fmt: skip


def presence(spec: str) -> Presence:
    """Return whether the weights of a model are here."""
    return folder_or_hub(FAMILY, spec)


def search(pattern: str) -> list[str]:
    """Return models of transformers on the hub, or in its cache, that match."""
    return search_hub(pattern, f"hf:{pattern}", "transformers")


# End of an architecture's name, and what `transformers` calls the kind of head that it has.
_HEADS = {"ForImageClassification": "IMAGE", "ForSequenceClassification": "SEQUENCE", "ForTokenClassification": "TOKEN"}


def load(
    spec: str,
    *,
    device: str | None,
    pool: str | None = None,
    precision: Precision = "float32",
    trust_remote_code: bool = False,
) -> Encoder:
    """Return a transformers model with the processor or tokeniser that belongs to it.

    Parameters
    ----------
    spec : str
        Name on the hub, optionally with `@REV` (branch, tag or commit), or a folder as `save_pretrained` leaves it.
    device : str or None
        Where it runs.
    pool : {"mean", "max", "cls", "last"}, optional
        How positions become one row, in the last layer and in hidden ones: see Notes for what happens without it;
        "last", for texts only, is the last token, which is where decoders gather what they read.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic.
    trust_remote_code : bool
        Whether code from its repository may be run.

    Raises
    ------
    EncoderError
        If it cannot be had, lacks weights of its body, takes neither pictures nor texts, or needs code from its
        repository that may not be run.
    OptionError
        If there is no class token to pool by.

    Notes
    -----
    What counts as the features:

    The model itself says what it takes, by its `main_input_name`.

    1. Models of pictures and texts (CLIP, SigLIP, …) encode pictures, with `get_image_features`.
    2. Other picture models: their `pooler_output` if its weights were trained or it has none; else the class token of
       the last layer, or the mean over positions where there is no class token. Many classifiers are published without
       the weights of the pooler that `AutoModel` adds; it would be random.
    3. Texts: the mean of the last layer over the tokens of the text; for encoder-decoders, of the encoder's. BERT's
       pooler is left alone: it was trained to tell whether two sentences follow each other, and serves for little else.
       Of labelled words, the mean over the tokens that a word is cut into.

    Checkpoints published with the head of a classifier also give their class probabilities. Hidden layers are pooled
    by the mean unless `pool` says otherwise.
    """
    name = f"hf:{spec}"
    transformers = require_extra("transformers", "transformers", f"encoder {name!r}")

    from transferability.encoders._hub import quietly, source_and_revision
    from transferability.encoders._layers import POOLS, check_pool
    from transferability.encoders._torch import loading, seeded

    source, revision = source_and_revision(spec, name)
    origin = {"revision": revision, "trust_remote_code": trust_remote_code}
    with loading(name), quietly(), seeded():
        config = transformers.AutoConfig.from_pretrained(source, **origin)
        model, missing, classifier = _load_model(transformers, config, source, origin)
        pictures = _takes_pictures(model, name)
        auto = transformers.AutoImageProcessor if pictures else transformers.AutoTokenizer
        processor = auto.from_pretrained(source, **origin)
    chosen = check_pool(pool, POOLS if pictures else (*POOLS, "last"))
    untrained = [key for key in missing if not _is_optional(key)]
    if untrained:
        message = f"encoder {name!r} has no trained weights for {', '.join(untrained[:3])}"
        message += f" and {len(untrained) - 3} more" if len(untrained) > 3 else ""
        message += ": its features would be partly random. Check that it is a model of this type."
        raise EncoderError(message)
    if pictures:
        trained_pooler = not any(map(_is_pooler, missing))
        return _picture_model(name, model, classifier, processor, device, chosen, precision, trained_pooler)
    from transferability.encoders._texts import TextNetwork

    return TextNetwork(name, model, classifier, processor, device, chosen, precision)


def _takes_pictures(model: Any, name: str) -> bool:
    """Tell whether a model encodes pictures; refuse what takes neither pictures nor texts."""
    if _is_contrastive(model) or "pixel_values" in model.main_input_name:  # a name or a list of names
        return True
    if "input_ids" in model.main_input_name:
        return False
    message = f"encoder {name!r} takes `{model.main_input_name}`, which are neither pictures nor texts. "
    raise EncoderError(message + "Choose a model that takes `pixel_values` or `input_ids`.")


def _is_contrastive(model: Any) -> bool:
    return hasattr(model, "get_image_features") and hasattr(model, "get_text_features")


def _load_model(
    transformers: Any, config: Any, source: str, origin: dict[str, Any]
) -> tuple[Any, list[str], Any | None]:
    """Return the body, the weights it lacks, and the whole with its head if that was published and trained."""
    from transformers.models.auto import modeling_auto

    architecture = (config.architectures or [""])[0]
    head = next((kind for end, kind in _HEADS.items() if architecture.endswith(end)), None)
    if head and config.model_type in getattr(modeling_auto, f"MODEL_FOR_{head}_CLASSIFICATION_MAPPING_NAMES"):
        auto = getattr(transformers, f"AutoModelFor{head.capitalize()}Classification")
        classifier, report = auto.from_pretrained(source, **origin, output_loading_info=True)
        body = classifier.base_model
        prefix = f"{classifier.base_model_prefix}."
        missing = [str(key) for key in report["missing_keys"]]
        if body is not classifier and all(key.startswith(prefix) for key in missing):
            return body, [key.removeprefix(prefix) for key in missing], classifier
    alone = architecture in modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.values()  # an encoder without a decoder
    auto = transformers.AutoModelForTextEncoding if alone else transformers.AutoModel
    body, report = auto.from_pretrained(source, **origin, output_loading_info=True)
    missing = [str(key) for key in report["missing_keys"]]
    if config.is_encoder_decoder:  # its encoder is used, and may have been published alone
        missing = [key for key in missing if "decoder" not in key.split(".")]
    return body, missing, None


def _is_pooler(key: str) -> bool:
    return "pooler" in key.split(".")


def _is_optional(key: str) -> bool:
    """Tell whether features do without this weight: poolers (see Notes), tokens used in pre-training only, buffers."""
    return _is_pooler(key) or key.endswith(("mask_token", "position_ids"))


@dataclass(frozen=True)
class _Processor:
    """A processor as a `preprocess`."""

    processor: Any

    def __call__(self, item: Item) -> npt.NDArray[np.float32]:
        pixels = self.processor(images=item, return_tensors="pt")["pixel_values"]
        return np.asarray(pixels[0], dtype=np.float32)


def _picture_model(
    name: str,
    model: Any,
    classifier: Any | None,
    processor: Any,
    device: str | None,
    pool: PositionPool | None,
    precision: Precision,
    trained_pooler: bool,
) -> Encoder:
    from transferability.encoders._hub import class_names, configuration
    from transferability.encoders._layers import pool_positions, returned
    from transferability.encoders._torch import count_parameters, versions
    from transferability.encoders.networks import PictureNetwork

    class_token, n_prefix = _tokens_before_patches(model)
    if pool == "cls" and not class_token:
        message = f"`pool` must be 'mean' or 'max' for encoder {name!r}, which has no class token; got 'cls'."
        raise OptionError(message)
    own: PositionPool = "cls" if class_token else "mean"
    contrastive = _is_contrastive(model)
    body = getattr(model, "vision_model", model) if contrastive else model
    fixed = _without_masking(model)

    def features_of(output: Any) -> Any:
        pooled = getattr(output, "pooler_output", None)
        if pool is None and pooled is not None and trained_pooler:
            return pooled.flatten(1)  # (n, c, 1, 1) -> (n, c)
        return pool_positions(output.last_hidden_state, pool or own, n_prefix=n_prefix)

    def compute(batch: Any, probabilities: bool) -> tuple[Any, Any | None]:
        if contrastive and pool is None:
            found = model.get_image_features(pixel_values=batch)
            return getattr(found, "pooler_output", found), None  # a tensor until 4.x
        if not probabilities or classifier is None:
            return features_of(body(pixel_values=batch, **fixed(len(batch)))), None
        with returned(body) as outputs:
            logits = classifier(pixel_values=batch).logits
        return features_of(outputs[-1]), logits

    details = {
        "source": name,
        "configuration": configuration(model.config),
        "preprocessing": [type(processor).__name__, json.loads(processor.to_json_string())],
        "versions": versions("transformers", "torchvision", "pillow"),
    }
    return PictureNetwork(
        name,
        model if classifier is None else classifier,
        compute,
        _Processor(processor),
        details,
        device,
        n_parameters=count_parameters(model),
        pooling=pool or ("image features" if contrastive else f"pooler where it was trained, else {own}"),
        probabilities=classifier is not None,
        class_names=class_names(classifier),
        layer_pool=pool or "mean",
        n_prefix=n_prefix,
        body=body,
        channels=int(getattr(getattr(model.config, "vision_config", model.config), "num_channels", None) or 3),
        precision=precision,
    )


def _tokens_before_patches(model: Any) -> tuple[bool, int]:
    """Return whether there is a class token, and how many tokens stand before those of the picture."""
    tokens = [key.rpartition(".")[2] for key, _ in model.named_parameters()]
    class_token = "cls_token" in tokens or "class_embedding" in tokens
    n_registers = int(getattr(model.config, "num_register_tokens", None) or 0)
    return class_token, int(class_token) + int("distillation_token" in tokens) + n_registers


def _without_masking(model: Any) -> Callable[[int], dict[str, Any]]:
    """Let a masked autoencoder see whole pictures, in order; return what to call it with for a number of pictures.

    In pre-training it sees a random quarter of the patches, and goes on to do so in evaluation.
    """
    import torch

    if hasattr(model.config, "mask_ratio"):
        model.config.mask_ratio = 0.0
    patches = getattr(getattr(model, "embeddings", None), "patch_embeddings", None)
    if "noise" not in inspect.signature(model.forward).parameters or not hasattr(patches, "num_patches"):
        return lambda _n_pictures: {}
    order = torch.arange(int(getattr(patches, "num_patches", 0)), dtype=torch.float32)
    return lambda n_pictures: {"noise": order.expand(n_pictures, -1).to(model.device)}
