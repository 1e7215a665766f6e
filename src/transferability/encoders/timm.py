"""Pictures through timm: `timm:NAME`, `timm:hf-hub:ORG/NAME@REV`, `timm:local-dir:FOLDER`, `timm:NAME@random`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transferability.encoders._reach import hub_presence
from transferability.encoders.base import Encoder, Precision
from transferability.encoders.family import Family, Presence, without_library
from transferability.encoders.licences import licence_name
from transferability.errors import EncoderError, OptionError, UnknownNameError, nearest_names, require_extra

if TYPE_CHECKING:
    from transferability.encoders._layers import PositionPool
    from transferability.encoders.networks import Compute

__all__ = ["FAMILY", "encoder_of_model", "facts", "load", "presence", "search"]

FAMILY = Family(
    "timm:NAME", "timm; also `timm:hf-hub:ORG/NAME@REV`, `timm:local-dir:FOLDER`", ("image",), "timm", "timm",
    trainable=True, from_hub=True,
)  # fmt: skip


def presence(spec: str) -> Presence:
    """Return whether the weights of a model are here."""
    missing = without_library(FAMILY)
    if missing is not None:
        return missing
    if spec.startswith("local-dir:") or spec.endswith("@random"):
        return Presence("local")
    if spec.startswith("hf-hub:"):
        name, _, revision = spec.removeprefix("hf-hub:").partition("@")
        return hub_presence(FAMILY, name, revision or None)
    if "." in spec:  # timm keeps NAME.TAG under this name on the hub, and takes seconds to import
        return hub_presence(FAMILY, f"timm/{spec}")
    import timm

    config = timm.get_pretrained_cfg(spec) if timm.is_model_pretrained(spec) else None
    return hub_presence(FAMILY, getattr(config, "hf_hub_id", None) or f"timm/{spec}")


def search(pattern: str) -> list[str]:
    """Return timm's models with trained weights that match."""
    timm = require_extra("timm", "timm", f"encoder 'timm:{pattern}'")
    names: list[str] = timm.list_models(pattern, pretrained=True)
    return names


def facts(spec: str) -> tuple[int, int, str | None]:
    """Return parameters without the classifier, pixels of an edge, and licence, of a model that is not loaded.

    About 0.3 seconds: the architecture is built without weights.
    """
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model(spec, pretrained=False)
    size = model.pretrained_cfg["input_size"][-1]
    n_parameters = sum(each.numel() for each in model.parameters())
    n_parameters -= sum(each.numel() for each in _head(model).parameters())
    return n_parameters, size, licence_name(model.pretrained_cfg.get("license"))


def load(spec: str, *, device: str | None, pool: str | None = None, precision: Precision = "float32") -> Encoder:
    """Return a timm model, fed as its own configuration says.

    Parameters
    ----------
    spec : str
        `NAME` or `NAME.TAG` of timm's list, `hf-hub:ORG/NAME[@REV]`, `local-dir:FOLDER` (what timm's
        `save_for_hf` or a download leaves: `config.json` and `model.safetensors`), or `NAME@random` for untrained
        weights, the same in every run.
    device : str or None
        Where it runs.
    pool : {"mean", "max", "cls"}, optional
        By default the features are what the model's own head sees, `forward_head(pre_logits=True)`; with a pool they
        are the last feature map or the last tokens, pooled so. Hidden layers are pooled by it too, else by the mean.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic.

    Raises
    ------
    UnknownNameError
        If timm has no model of that name, or no trained weights for it.
    EncoderError
        If the weights cannot be had.
    OptionError
        If there is no class token to pool by.
    """
    name = f"timm:{spec}"
    timm = require_extra("timm", "timm", f"encoder {name!r}")
    from transferability.encoders import _torch
    from transferability.encoders._layers import check_pool

    model_name, _, revision = spec.rpartition("@")
    untrained = revision == _torch.RANDOM
    if not untrained:
        model_name = spec
    if ":" not in model_name:
        _check_name(model_name, trained=not untrained)
    chosen = check_pool(pool)
    with _torch.loading(name), _torch.seeded():
        model = timm.create_model(model_name, pretrained=not untrained)
    named = None if untrained else ":" not in model_name
    return encoder_of_model(
        model, name, device=device, pool=chosen, precision=precision, of_timm=named, channels_last=True
    )


def encoder_of_model(
    model: Any,
    name: str,
    *,
    device: str | None,
    pool: PositionPool | None = None,
    precision: Precision = "float32",
    of_timm: bool | None = True,
    channels_last: bool = False,
) -> Encoder:
    """Return a timm model that is in memory, fed as its own configuration says.

    `of_timm` tells whether its classes are those of timm's own list; None where its head is untrained. A model of the
    caller keeps the layout of its weights.
    """
    from timm.data import create_transform, resolve_model_data_config

    from transferability.encoders import _torch
    from transferability.encoders.networks import PictureNetwork, Transform

    if not hasattr(model, "forward_head"):
        message = f"encoder {name!r} does not part its head from its body. Choose another timm model."
        raise EncoderError(message)
    n_prefix = getattr(model, "num_prefix_tokens", 0)
    if pool == "cls" and n_prefix == 0:
        message = f"`pool` must be 'mean' or 'max' for encoder {name!r}, which has no class token; got 'cls'."
        raise OptionError(message)
    config = resolve_model_data_config(model)
    details = {
        "source": name,
        "preprocessing": {key: list(each) if isinstance(each, tuple) else each for key, each in config.items()},
        "global_pool": str(getattr(model, "global_pool", "")),
        "versions": _torch.versions("timm", "torchvision", "pillow"),
    }
    has_head = model.num_classes > 0
    head_size = _torch.count_parameters(_head(model)) if has_head else 0
    transform = Transform(create_transform(**config, is_training=False))
    return PictureNetwork(
        name,
        model,
        _compute(model, pool, n_prefix),
        transform,
        details,
        device,
        n_parameters=_torch.count_parameters(model) - head_size,
        pooling=pool or "timm, forward_head(pre_logits=True)",
        probabilities=has_head,
        class_names=_class_names(model, of_timm=of_timm) if has_head and of_timm is not None else None,
        layer_pool=pool or "mean",
        n_prefix=n_prefix,
        channels=_channels(model),
        precision=precision,
        pixels=transform.pixels(),
        channels_last=channels_last,
    )


def _channels(model: Any) -> int:
    """Return how many channels the first layer takes, whatever its preprocessing says; 3 where timm names none."""
    first = model.pretrained_cfg.get("first_conv")
    layer = dict(model.named_modules()).get(first if isinstance(first, str) else (first or [None])[0])
    return int(getattr(layer, "in_channels", 3))


def _compute(model: Any, pool: PositionPool | None, n_prefix: int) -> Compute:
    from torch import Tensor

    from transferability.encoders._layers import pool_positions

    channels_last = True if getattr(model, "output_fmt", "") == "NHWC" else None

    def compute(batch: Tensor, probabilities: bool) -> tuple[Tensor, Tensor | None]:
        body = model.forward_features(batch)
        if pool is None:
            features = model.forward_head(body, pre_logits=True)
        else:
            features = pool_positions(body, pool, n_prefix=n_prefix, channels_last=channels_last)
        return features, model.forward_head(body) if probabilities and model.num_classes > 0 else None

    return compute


def _class_names(model: Any, *, of_timm: bool) -> list[str] | None:
    """Return the names that come with the weights; for timm's own models those of the ImageNet that has so many."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    names = model.pretrained_cfg.get("label_names")
    if names:
        return [str(each) for each in names]
    subset = infer_imagenet_subset(model) if of_timm else None
    if not subset:
        return None
    describe: Callable[[int], str] = ImageNetInfo(subset).index_to_description
    return [describe(index) for index in range(model.num_classes)]


def _head(model: Any) -> Any:
    """Return the classifier as one module; models with two have a tuple of them."""
    from torch import nn

    head = model.get_classifier()
    return nn.ModuleList(head) if isinstance(head, tuple) else head


def _check_name(model_name: str, *, trained: bool) -> None:
    import timm

    architecture = model_name.partition(".")[0]
    if not timm.is_model(architecture):
        message = f"timm has no model {architecture!r}. {nearest_names(model_name, timm.list_models())}"
        raise UnknownNameError(message.rstrip())
    # Without this check timm would return an architecture that has no weights at random, with no more than a log line.
    if trained and not timm.is_model_pretrained(model_name):
        tags = timm.list_models(f"{architecture}.*", pretrained=True)
        fix = nearest_names(model_name, tags) if tags else "It has none at all."
        message = f"timm has no trained weights {model_name!r}. {fix} Untrained: timm:{architecture}@random."
        raise UnknownNameError(message)
