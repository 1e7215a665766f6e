"""Pictures through torchvision: `torchvision:NAME`, `torchvision:NAME@WEIGHTS`, `torchvision:NAME@random`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transferability.encoders.base import Encoder
from transferability.errors import EncoderError, UnknownNameError, nearest_names, require_extra

__all__ = ["load"]


def load(spec: str, *, device: str | None) -> Encoder:
    """Return a torchvision classifier without its last layer, fed by the transform that belongs to its weights.

    Parameters
    ----------
    spec : str
        `NAME` (torchvision's default weights), `NAME@WEIGHTS` such as `resnet50@IMAGENET1K_V1`, or `NAME@random` for
        untrained weights, the same in every run.
    device : str or None
        Where it runs.

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
    _cut_head(model)
    transform = chosen.transforms()
    details = {
        "source": name,
        "preprocessing": " ".join(repr(transform).split()),
        "pooling": "input of the last linear layer",
        "versions": _torch.versions("torchvision", "pillow"),
    }
    return _torch.TorchPictureEncoder(name, model, transform, details, device)


def _cut_head(model: Any) -> None:
    from torch import nn

    layers = list(model.named_modules())
    linear = [key for key, layer in layers if isinstance(layer, nn.Linear)]
    convolution = [key for key, layer in layers if isinstance(layer, nn.Conv2d)]
    model.set_submodule((linear or convolution)[-1], nn.Identity())


def _respect_offline(url: str) -> None:
    """Refuse a download where the Hugging Face variable that people set for "no network" is set."""
    import torch

    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE"):
        return
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        message = f"HF_HUB_OFFLINE is set and {file} is not there"
        raise EncoderError(message)
