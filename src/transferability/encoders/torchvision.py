"""Pictures through torchvision: `torchvision:NAME`, `torchvision:NAME@WEIGHTS`, `torchvision:NAME@random`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transferability.encoders.base import Encoder, Precision
from transferability.encoders.family import Family, Presence, matching, without_library
from transferability.errors import EncoderError, UnknownNameError, nearest_names, require_extra

__all__ = ["FAMILY", "load", "presence", "search"]

FAMILY = Family(
    "torchvision:NAME[@WEIGHTS]", "torchvision's classifiers", ("image",), "torchvision", "torchvision", trainable=True
)


def presence(spec: str) -> Presence:
    """Return whether the weights of a classifier are in torch's cache."""
    missing = without_library(FAMILY)
    if missing is not None:
        return missing
    from torchvision import models

    name, _, revision = spec.partition("@")
    if revision == "random" or name not in models.list_models(module=models):
        return Presence("local" if revision == "random" else "download")
    weights = models.get_model_weights(name)
    file = _cached_file((weights[revision] if revision in weights.__members__ else weights.DEFAULT).url)
    return Presence("cached", size=file.stat().st_size) if file.is_file() else Presence("download")


def search(pattern: str) -> list[str]:
    """Return torchvision's classifiers that match."""
    models = require_extra("torchvision", "torchvision", f"encoder 'torchvision:{pattern}'").models
    return matching(pattern, models.list_models(module=models))


def load(spec: str, *, device: str | None, pool: str | None = None, precision: Precision = "float32") -> Encoder:
    """Return a torchvision classifier, fed by the transform that belongs to its weights.

    Parameters
    ----------
    spec : str
        `NAME` (torchvision's default weights), `NAME@WEIGHTS` such as `resnet50@IMAGENET1K_V1`, or `NAME@random` for
        untrained weights, the same in every run.
    device : str or None
        Where it runs.
    pool : {"mean", "max", "cls"}, optional
        Of hidden layers, by default the mean; the features are what they are.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic.

    Raises
    ------
    UnknownNameError
        If torchvision has no classifier or no weights of that name.
    EncoderError
        If the weights cannot be had.

    Notes
    -----
    The features are what enters the last linear layer; SqueezeNet, which has none, gives its pooled feature map.
    """
    name = f"torchvision:{spec}"
    models = require_extra("torchvision", "torchvision", f"encoder {name!r}").models
    from transferability.encoders import _torch
    from transferability.encoders._layers import check_pool
    from transferability.encoders.networks import PictureNetwork, Transform, before_head

    layer_pool = check_pool(pool) or "mean"
    model_name, _, revision = spec.partition("@")
    known = models.list_models(module=models)
    if model_name not in known:
        message = f"torchvision has no classifier {model_name!r}. {nearest_names(model_name, known)}"
        raise UnknownNameError(message.rstrip())
    all_weights = models.get_model_weights(model_name)
    untrained = revision == _torch.RANDOM
    if revision and not untrained and revision not in all_weights.__members__:
        message = f"torchvision has no weights {revision!r} for {model_name!r}. "
        message += nearest_names(revision, [*all_weights.__members__, _torch.RANDOM])
        raise UnknownNameError(message)
    chosen = all_weights[revision] if revision and not untrained else all_weights.DEFAULT
    with _torch.loading(name), _torch.seeded():
        if not untrained:
            _respect_offline(chosen.url)
        # Some constructors warn that they initialise slowly unless they are told how; trained weights replace it all.
        extra = {"init_weights": True} if untrained and model_name in ("googlenet", "inception_v3") else {}
        model = models.get_model(model_name, weights=None if untrained else chosen, progress=False, **extra)
    head = _last_layer(model)
    transform = chosen.transforms()
    details = {
        "source": name,
        "preprocessing": " ".join(repr(transform).split()),
        "versions": _torch.versions("torchvision", "pillow"),
    }
    return PictureNetwork(
        name,
        model,
        before_head(model, head),
        Transform(transform),
        details,
        device,
        n_parameters=_torch.count_parameters(model) - _torch.count_parameters(head),
        pooling="input of the last linear layer",
        probabilities=True,
        class_names=None if untrained else chosen.meta["categories"],
        layer_pool=layer_pool,
        n_prefix=1 if hasattr(model, "class_token") else 0,
        precision=precision,
        channels_last=True,
    )


def _last_layer(model: Any) -> Any:
    from torch import nn

    layers = list(model.modules())
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return (linear or [layer for layer in layers if isinstance(layer, nn.Conv2d)])[-1]


def _respect_offline(url: str) -> None:
    """Refuse a download where the Hugging Face variable that people set for "no network" is set."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE"):
        return
    file = _cached_file(url)
    if not file.is_file():
        message = f"HF_HUB_OFFLINE is set and {file} is not there"
        raise EncoderError(message)


def _cached_file(url: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
