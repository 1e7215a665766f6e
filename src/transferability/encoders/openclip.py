"""Pictures through open_clip: `openclip:ARCH/PRETRAINED`, `openclip:ARCH/FILE`, `openclip:hf-hub:ORG/NAME`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transferability.encoders._reach import hub_presence
from transferability.encoders.base import Encoder, Precision
from transferability.encoders.family import Family, Presence, matching, without_library
from transferability.errors import EncoderNameError, UnknownNameError, nearest_names, require_extra

__all__ = ["FAMILY", "load", "presence", "search"]

FAMILY = Family(
    "openclip:ARCH/PRETRAINED", "open_clip's picture towers; also `openclip:ARCH/FILE`, `openclip:hf-hub:ORG/NAME`",
    ("image",), "open_clip", "open-clip", trainable=True, from_hub=True,
)  # fmt: skip


def presence(spec: str) -> Presence:
    """Return whether the weights of a model are here."""
    missing = without_library(FAMILY)
    if missing is not None:
        return missing
    if spec.startswith("hf-hub:"):
        return hub_presence(FAMILY, spec.removeprefix("hf-hub:"))
    architecture, _, pretrained = spec.partition("/")
    if spec.startswith("local-dir:") or spec.endswith("@random") or Path(pretrained).expanduser().is_file():
        return Presence("local")
    import open_clip

    repository = open_clip.get_pretrained_cfg(architecture, pretrained).get("hf_hub", "")
    return hub_presence(FAMILY, repository.rstrip("/")) if repository else Presence("download")


def search(pattern: str) -> list[str]:
    """Return open_clip's pairs of architecture and weights that match."""
    open_clip = require_extra("open_clip", "open-clip", f"encoder 'openclip:{pattern}'")
    return matching(pattern, [f"{architecture}/{tag}" for architecture, tag in open_clip.list_pretrained()])


def load(spec: str, *, device: str | None, precision: Precision = "float32") -> Encoder:
    """Return the picture tower of an open_clip model; its features are the embedding shared with texts.

    Parameters
    ----------
    spec : str
        `ARCH/PRETRAINED` as open_clip lists them (`ViT-B-32/laion2b_s34b_b79k`), `ARCH/FILE` with a checkpoint of
        one's own (`ViT-B-32//models/mine.pt`), `hf-hub:ORG/NAME`, `local-dir:FOLDER` (what a download from the hub
        leaves), or `ARCH@random` for untrained weights, the same in every run.
    device : str or None
        Where it runs.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic.

    Raises
    ------
    UnknownNameError
        If open_clip has no such architecture, or no such weights of it.
    EncoderError
        If the weights cannot be had.

    Notes
    -----
    The embedding is as `encode_image` gives it, not brought to length one. Texts for these models: `hf:` has their
    text towers. Hidden layers are those of the picture tower.
    """
    name = f"openclip:{spec}"
    open_clip = require_extra("open_clip", "open-clip", f"encoder {name!r}")
    from transferability.encoders import _torch
    from transferability.encoders.networks import PictureNetwork, Transform

    architecture, pretrained = _parts(open_clip, spec, name)
    untrained = pretrained == _torch.RANDOM
    with _torch.loading(name), _torch.seeded(), _quietly():
        if untrained:
            model, _, transform = open_clip.create_model_and_transforms(architecture, pretrained_text=False)
        else:
            model, transform = open_clip.create_model_from_pretrained(architecture, pretrained)
    visual = model.visual
    trunk = getattr(visual, "trunk", None)  # in a tower that timm brings
    prepare = Transform(transform)
    details = {
        "source": name,
        "preprocessing": " ".join(repr(transform).split()),
        "versions": _torch.versions("open-clip-torch", "timm", "torchvision", "pillow"),
    }

    def compute(batch: Any, _probabilities: bool) -> tuple[Any, None]:
        return model.encode_image(batch), None

    return PictureNetwork(
        name,
        visual,
        compute,
        prepare,
        details,
        device,
        n_parameters=_torch.count_parameters(visual),
        pooling="open_clip, encode_image",
        n_prefix=1 if hasattr(visual, "class_embedding") else getattr(trunk, "num_prefix_tokens", 0),
        precision=precision,
        pixels=prepare.pixels(),
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Give the root logger a handler: open_clip logs through it, which else installs one that prints, for good."""
    silent = logging.NullHandler()
    logging.getLogger().addHandler(silent)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(silent)


def _parts(open_clip: Any, spec: str, name: str) -> tuple[str, str | None]:
    """Return what open_clip calls the architecture and the weights."""
    if spec.startswith(("hf-hub:", "local-dir:")):
        folder = Path(spec.removeprefix("local-dir:"))
        if spec.startswith("local-dir:") and not folder.is_dir():
            message = f"encoder {name!r} cannot be loaded: there is no folder {folder}."
            raise EncoderNameError(message)
        return spec, None
    architecture, _, pretrained = spec.partition("/")
    if spec.endswith("@random"):
        architecture, pretrained = spec.removesuffix("@random"), "random"
    known = open_clip.list_models()
    if architecture not in known:
        message = f"open_clip has no architecture {architecture!r}. {nearest_names(architecture, known)}"
        raise UnknownNameError(message.rstrip())
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained not in ("random", *tags) and not Path(pretrained).expanduser().is_file():
        message = f"open_clip has no weights {pretrained!r} for {architecture!r}, and there is no such file. "
        message += nearest_names(pretrained, tags) if tags else "It has none at all."
        message += f" Untrained: openclip:{architecture}@random."
        raise UnknownNameError(message)
    return architecture, str(Path(pretrained).expanduser()) if Path(pretrained).expanduser().is_file() else pretrained
