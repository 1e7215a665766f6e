"""Pictures through timm: `timm:NAME`, `timm:hf-hub:ORG/NAME@REV`, `timm:local-dir:FOLDER`, `timm:NAME@random`."""

from __future__ import annotations

from transferability.encoders.base import Encoder
from transferability.errors import EncoderError, UnknownNameError, nearest_names, require_extra

__all__ = ["load"]


def load(spec: str, *, device: str | None) -> Encoder:
    """Return a timm model without its head, fed as its own configuration says.

    Parameters
    ----------
    spec : str
        `NAME` or `NAME.TAG` of timm's list, `hf-hub:ORG/NAME[@REV]`, `local-dir:FOLDER` (what timm's
        `save_for_hf` or a download leaves: `config.json` and `model.safetensors`), or `NAME@random` for untrained
        weights, the same in every run.
    device : str or None
        Where it runs.

    Raises
    ------
    UnknownNameError
        If timm has no model of that name, or no trained weights for it.
    EncoderError
        If the weights cannot be had.
    """
    name = f"timm:{spec}"
    timm = require_extra("timm", "timm", f"encoder {name!r}")
    from timm.data import create_transform, resolve_model_data_config

    from transferability.encoders import _torch

    model_name, _, revision = spec.rpartition("@")
    untrained = revision == _torch.RANDOM
    if not untrained:
        model_name = spec
    if ":" not in model_name:
        _check_name(model_name, trained=not untrained)
    with _torch.loading(name), _torch.seeded():
        model = timm.create_model(model_name, pretrained=not untrained, num_classes=0)
    if getattr(model, "num_classes", 0) != 0:
        message = f"encoder {name!r} keeps its classifier whatever timm is told. Choose another timm model."
        raise EncoderError(message)
    config = resolve_model_data_config(model)
    details = {
        "source": name,
        "preprocessing": {key: list(each) if isinstance(each, tuple) else each for key, each in config.items()},
        "pooling": "timm, num_classes=0",
        "versions": _torch.versions("timm", "torchvision", "pillow"),
    }
    transform = create_transform(**config, is_training=False)
    return _torch.TorchPictureEncoder(name, model, transform, details, device)


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
