"""Which encoder a row of a ranking is of: of a hidden layer, the encoder that it is a layer of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["base_encoder_of", "identifier_of"]

_LAYER = "/layer="
_FILE = re.compile(r"/[^/]*\.(onnx|pt2?|pth|py|safetensors|npz|npy|h5|hdf5)\b|/.*[#?]|/$", re.IGNORECASE)


def base_encoder_of(row: Mapping[str, Any]) -> str:
    """Return the name of the encoder that a row is of, as JSON values: of a ranking, or of who left a race.

    Rows of earlier versions do not say it, and their names are read. A path may have a folder that looks like a layer;
    what follows is a file then.

    Examples
    --------
    >>> base_encoder_of({"encoder": "hf:runs/layer=3", "base_encoder": "hf:runs/layer=3"})
    'hf:runs/layer=3'
    >>> base_encoder_of({"encoder": "timm:resnet18/layer=layer3"})
    'timm:resnet18'
    """
    name = row.get("base_encoder")
    return _read_of(str(row["encoder"])) if name is None else str(name)


def identifier_of(row: Mapping[str, Any]) -> str:
    """Return what loads the encoder that a row is of; its name where it was not loaded by an identifier."""
    identifier = row.get("identifier")
    if identifier is None:
        return base_encoder_of(row)
    return str(identifier) if "base_encoder" in row else _read_of(str(identifier))


def _read_of(name: str) -> str:
    whole, found, layer = name.rpartition(_LAYER)
    return whole if found and not _FILE.search(layer) else name
