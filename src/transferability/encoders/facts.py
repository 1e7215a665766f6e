"""What is known of an encoder beside its features: what it reads, and under which licence its weights are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from transferability.encoders.base import Encoder
from transferability.encoders.licences import licence_name

__all__ = ["input_size", "licence"]

_SIZES = ("input_size", "crop_size", "size")


def input_size(encoder: Encoder) -> str | None:
    """Return what an encoder reads of an item, as its preprocessing says it: "224 × 224", "128 tokens"; or None."""
    identity = encoder.identity() or {}
    found = identity.get("preprocessing")
    if isinstance(found, list) and len(found) == 2:  # transformers: the name of the processor and its settings
        found = found[1]
    if isinstance(found, str):  # torchvision and open_clip: the transform as text
        sizes = re.findall(r"crop_size=\[?(\d+)|CenterCrop\(size=\(?(\d+)", found)
        return _square(int(next(filter(None, sizes[-1])))) if sizes else None
    for settings in (found, identity):
        if isinstance(settings, Mapping):
            pixels = next((size for name in _SIZES if (size := _pixels(settings.get(name)))), None)
            if pixels:
                return pixels
            if isinstance(settings.get("max_length"), int):
                return f"{settings['max_length']} tokens"
    return None


def licence(identifier: str) -> str | None:
    """Return the licence of an encoder's weights, where the library or the package that brings them says it."""
    prefix, _, spec = identifier.partition(":")
    with suppress(Exception):  # a fact that nobody needs must not end a ranking
        if prefix == "timm" and ":" not in spec:
            import timm

            config = timm.get_pretrained_cfg(spec)
            return None if config is None else licence_name(config.license)
        if prefix == "packaged":
            from transferability.encoders.packaged import packaged_encoders

            return _of_package(getattr(packaged_encoders()[spec], "package", "").partition("==")[0])
        if prefix in ("hf", "st"):
            return _of_card(spec.partition("@")[0])
    return None


def _pixels(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = [value[name] for name in ("height", "width") if name in value] or value.get("shortest_edge")
    if isinstance(value, int):
        return _square(value)
    if isinstance(value, list) and len(value) in (2, 3) and all(isinstance(each, int) for each in value):
        return f"{value[-2]} × {value[-1]}"
    return None


def _square(side: int) -> str:
    return f"{side} × {side}"


def _of_package(name: str) -> str | None:
    try:
        about = metadata(name)
    except (PackageNotFoundError, ValueError):
        return None
    said: list[Any] = [about.json.get(name) for name in ("license_expression", "license")]
    said += [each.rpartition(" :: ")[2] for each in about.get_all("Classifier") or () if each.startswith("License ::")]
    return next(filter(None, map(licence_name, said)), None)


def _of_card(name: str) -> str | None:
    """Read the licence off a model card that lies here: of a local folder, or in the hub's cache."""
    folder = Path(name).expanduser()
    card: Path | str | None = folder / "README.md"
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "README.md")
        card = found if isinstance(found, str) else None
    if card is None or not Path(card).is_file():
        return None
    head = re.match(r"---\n(.*?)\n---", Path(card).read_text("utf-8", "replace")[:20_000], re.DOTALL)
    line = None if head is None else re.search(r"^license:\s*(\S+)\s*$", head[1], re.MULTILINE)
    return None if line is None else licence_name(line[1])
