"""Which prefix of an identifier is loaded by which module."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points

from transferability._identifiers import split_identifier
from transferability.encoders.base import Encoder
from transferability.encoders.precomputed import FeatureFiles

__all__ = ["ENTRY_POINT_GROUP", "load_encoder"]

ENTRY_POINT_GROUP = "transferability.encoders"

# Prefix -> module with `load(spec, *, device)`, imported when asked for: torch takes seconds. A plugin's entry point in
# the group above is the same thing from outside; a prefix of this table cannot be taken over.
_MODULES = {
    "features": "transferability.encoders.precomputed",
    "hf": "transferability.encoders.huggingface",
    "onnx": "transferability.encoders.onnx",
    "packaged": "transferability.encoders.packaged",
    "python": "transferability.encoders.function",
    "st": "transferability.encoders.sentences",
    "timm": "transferability.encoders.timm",
    "torchvision": "transferability.encoders.torchvision",
}


def load_encoder(identifier: str, device: str | None = None) -> Encoder | FeatureFiles:
    """Return the encoder that an identifier names.

    ==============================  ===================================================================================
    `timm:NAME`                     timm; also `timm:hf-hub:ORG/NAME@REV`, `timm:local-dir:FOLDER`
    `torchvision:NAME[@WEIGHTS]`    torchvision's classifiers
    `hf:ORG/NAME[@REV]`             transformers, pictures or texts; also a folder
    `st:NAME[@REV]`                 sentence-transformers; also a folder
    `onnx:FILE[#OUTPUT]`            ONNX Runtime, pictures; any tensor of the graph
    `python:module:function`        a function from a list of items to an array
    `features:PATTERN`              feature files, `{data}` stands for the data's name
    `packaged:NAME`                 weights that come in a package: `packaged:efficientnet-lite0`, …
    `timm:NAME@random`              untrained, also for torchvision: the baseline
    ==============================  ===================================================================================

    Packages that declare an entry point in the group `transferability.encoders` add prefixes of their own.

    Parameters
    ----------
    identifier : str
        Prefix, colon, and what the prefix makes of the rest.
    device : str, optional
        As torch names them: "cpu", "cuda", "cuda:1", "mps". By default the best there is.

    Raises
    ------
    UnknownNameError
        Without a prefix, for an unknown prefix or name; the nearest names are listed.
    EncoderError
        If the encoder cannot be loaded.
    MissingExtraError
        If a library is missing, with the command that installs it.
    OptionError
        If the device is not there.
    """
    plugins = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    prefix, rest = split_identifier(identifier, {*_MODULES, *plugins}, "encoder", _bare_fix(identifier))
    load: Callable[..., Encoder | FeatureFiles]
    load = importlib.import_module(_MODULES[prefix]).load if prefix in _MODULES else plugins[prefix].load()
    return load(rest, device=device)


def _bare_fix(identifier: str) -> str:
    if identifier.endswith(".onnx"):
        return f"Write onnx:{identifier}."
    if identifier.endswith((".npz", ".safetensors")):
        return f"Write features:{identifier}."
    if "/" in identifier:
        return f"Write hf:{identifier}, st:{identifier} or timm:hf-hub:{identifier}, as the model was published for."
    return f"Write timm:{identifier}, torchvision:{identifier} or packaged:{identifier}."
