"""Which prefix of an identifier is loaded by which module."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from transferability._hub import hub_problem, offline_where_it_does_not_answer
from transferability._identifiers import split_identifier
from transferability._validate import check_choice
from transferability.encoders._state import undisturbed
from transferability.encoders.base import Encoder, Precision
from transferability.encoders.compiled import compiled
from transferability.encoders.family import Family, Presence, without_library
from transferability.encoders.naming import renamed, split_alias
from transferability.encoders.outputs import select
from transferability.encoders.precomputed import FeatureFiles
from transferability.errors import EncoderError, OptionError, UnknownNameError, one_line, passes_through

__all__ = [
    "ENTRY_POINT_GROUP", "expand", "families", "is_trainable", "is_wildcard", "load_encoder", "prefixes_of",
    "presence_of",
]  # fmt: skip

ENTRY_POINT_GROUP = "transferability.encoders"

# Prefix -> module with `load(spec, *, device)`, imported when asked for: torch takes seconds. A plugin's entry point in
# the group above is the same thing from outside; a prefix of this table cannot be taken over. A `load` that has the
# parameters `pool` or `precision` offers that choice; the others refuse it. `FAMILY` says the rest (`family.py`).
_MODULES = {
    "features": "transferability.encoders.precomputed",
    "hf": "transferability.encoders.huggingface",
    "onnx": "transferability.encoders.onnx",
    "openclip": "transferability.encoders.openclip",
    "packaged": "transferability.encoders.packaged",
    "python": "transferability.encoders.function",
    "st": "transferability.encoders.sentences",
    "timm": "transferability.encoders.timm",
    "torchvision": "transferability.encoders.torchvision",
}


def families() -> dict[str, Family]:
    """Return what each family of this package says of itself, by prefix."""
    return {prefix: importlib.import_module(module).FAMILY for prefix, module in _MODULES.items()}


def prefixes_of(wanted: Callable[[Family], bool]) -> str:
    """Return the prefixes of the families of which something is true, as messages name them."""
    return ", ".join(f"{prefix}:" for prefix, family in families().items() if wanted(family))


def presence_of(identifier: str) -> Presence:
    """Return whether an encoder can be loaded on this machine; a plugin's is taken to be."""
    _, identifier = split_alias(identifier)
    prefix, _, spec = identifier.partition(":")
    if prefix not in _MODULES:
        return Presence("local")
    module = _module(prefix)
    if hasattr(module, "presence"):
        found: Presence = module.presence(spec)
        return found
    return without_library(module.FAMILY) or Presence("local")


def is_trainable(identifier: str) -> bool:
    """Tell whether the encoders of an identifier's family can be fine-tuned here; a plugin's are tried."""
    _, identifier = split_alias(identifier)
    prefix, _, spec = identifier.partition(":")
    if prefix not in _MODULES:
        return True
    module = _module(prefix)
    return bool(module.trainable(spec)) if hasattr(module, "trainable") else module.FAMILY.trainable


def is_wildcard(identifier: str) -> bool:
    """Tell whether an identifier stands for several encoders."""
    prefix, _, spec = identifier.partition(":")
    return ("*" in spec or "?" in spec) and prefix in _MODULES and hasattr(_module(prefix), "search")


def expand(identifier: str) -> list[str]:
    """Return the identifiers that one with wildcards stands for; any other stands for itself.

    Raises
    ------
    UnknownNameError
        If nothing matches.
    """
    if not is_wildcard(identifier):
        return [identifier]
    prefix, _, spec = identifier.partition(":")
    names = [f"{prefix}:{name}" for name in _module(prefix).search(spec)]
    if not names:
        problem = hub_problem() if prefix in ("hf", "st") else None
        message = f"no encoder matches {identifier!r}" + (f" in the cache of the hub: {problem}" if problem else "")
        message += ". `transferability encoders` lists what there is."
        raise UnknownNameError(message)
    return names


def _module(prefix: str) -> ModuleType:
    return importlib.import_module(_MODULES[prefix])


def load_encoder(
    identifier: Any,
    device: str | None = None,
    *,
    layer: str | int | None = None,
    pool: str | None = None,
    precision: Precision = "float32",
    compile: bool = False,
    trust_remote_code: bool = False,
) -> Encoder | FeatureFiles:
    """Return the encoder that an identifier names.

    ==============================  ===================================================================================
    `timm:NAME`                     timm; also `timm:hf-hub:ORG/NAME@REV`, `timm:local-dir:FOLDER`
    `torchvision:NAME[@WEIGHTS]`    torchvision's classifiers
    `hf:ORG/NAME[@REV]`             transformers, pictures or texts; also a folder
    `st:NAME[@REV]`                 sentence-transformers; also a folder
    `openclip:ARCH/PRETRAINED`      open_clip's picture towers; also `openclip:ARCH/FILE`, `openclip:hf-hub:ORG/NAME`
    `onnx:FILE[#OUTPUT]`            ONNX Runtime, pictures; any tensor of the graph
    `python:module:function`        a function from a list of items to an array
    `features:PATTERN`              feature files; `{data}` is replaced by the data's name
    `packaged:NAME`                 weights that come in a package: `packaged:efficientnet-lite0`, …
    `timm:NAME@random`              untrained, also for torchvision: the baseline
    `SHORT=IDENTIFIER`              any of these, called SHORT in results
    ==============================  ===================================================================================

    Packages that declare an entry point in the group `transferability.encoders` add prefixes of their own.

    Parameters
    ----------
    identifier : str, torch module, function or encoder
        Prefix, colon, and what the prefix makes of the rest. Or a model that is in memory: a sentence-transformers or
        timm model, any other torch module (`encoders.in_memory.encoder_of` says how it is fed), or a function from a
        list of items to an array. An encoder is returned as it is.
    device : str, optional
        As torch names them: "cpu", "cuda", "cuda:1", "mps". By default the best there is.
    layer : str or int, optional
        A hidden layer in place of the features: its name, or its number from 0, negative from the end
        (`hidden_layers(encoder)` lists them). `select` and `every_layer` do the same to an encoder that is loaded.
    pool : str, optional
        How positions become one row, where the encoder has a choice: "mean", "max" or "cls" (the class token). By
        default as its makers pool; hidden layers by the mean.
    precision : {"float32", "bfloat16", "float16"}
        Of the model's arithmetic, through torch's autocast; features are float32 whatever it is.
    compile : bool, default=False
        Whether torch compiles the blocks of the network (`torch.compile`), once for all sizes of batches, when they
        first encode. On a CPU that takes minutes the first time, and features differ by rounding. Where it cannot be
        had, a warning of the log says why, and the network runs as it is.
    trust_remote_code : bool, default=False
        Whether `hf:` and `st:` may run code that comes with a model. Read that code first: it can do whatever you can.

    Raises
    ------
    UnknownNameError
        Without a prefix, for an unknown prefix or name; the nearest names are listed.
    EncoderError
        If the encoder cannot be loaded.
    MissingExtraError
        If a library is missing, with the command that installs it.
    OptionError
        If the device or the layer is not there, or the encoder has no such choice of `pool`, `precision` or `compile`.
    """
    if device is not None and not re.fullmatch(r"[a-z]+(:[0-9]+)?", device):
        message = f"`device` must be as torch names them: cpu, cuda, cuda:1 or mps; got {device!r}."
        raise OptionError(message)
    if not isinstance(identifier, str):
        return _in_memory(identifier, device, layer=layer, pool=pool, precision=precision, compile=compile)
    alias, identifier = split_alias(identifier)
    plugins = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    parts = [part.strip() for part in identifier.split(",")]
    if len(parts) > 1 and all(part.partition(":")[0] in {*_MODULES, *plugins} for part in parts):
        message = (
            f"`encoder` must be one encoder each; got {identifier!r}. Give a list; on the command line repeat the "
        )
        raise OptionError(message + "option: " + " ".join(f"-e {part}" for part in parts) + ".")
    if identifier == "packaged:":
        message = f"`encoder` must be packaged:NAME; got {identifier!r}. {_packaged_names()}"
        raise UnknownNameError(message)
    if is_wildcard(identifier):
        message = f"`encoder` must be one encoder here; got {identifier!r}, which stands for several. `rank` takes it."
        raise OptionError(message)
    prefix, rest = split_identifier(identifier, {*_MODULES, *plugins}, "encoder", _bare_fix(identifier))
    load: Callable[..., Encoder | FeatureFiles]
    with _one_sentence(identifier):
        load = importlib.import_module(_MODULES[prefix]).load if prefix in _MODULES else plugins[prefix].load()
        parameters = inspect.signature(load).parameters
    check_choice(precision, get_args(Precision), "precision")
    chosen = {"pool": pool, "precision": None if precision == "float32" else precision}
    options = {option: value for option, value in chosen.items() if value is not None}
    for option, value in options.items():
        if option not in parameters:
            message = (
                f"`{option}` must be left out for encoder {identifier!r}, which has no choice of it; got {value!r}."
            )
            raise OptionError(message)
    trusted = {"trust_remote_code": True} if trust_remote_code and "trust_remote_code" in parameters else {}
    with _one_sentence(identifier), _hub_asked_once(prefix, identifier):
        encoder = load(rest, device=device, **options, **trusted)
    encoder = compiled(encoder) if compile else encoder
    encoder = encoder if alias is None else renamed(encoder, alias)
    if layer is None:
        return encoder
    if isinstance(encoder, FeatureFiles):
        message = f"`layer` must be left out for encoder {identifier!r}: feature files hold one output; got {layer!r}."
        raise OptionError(message)
    return select(encoder, layer)


def _hub_asked_once(prefix: str, identifier: str) -> AbstractContextManager[None]:
    """Return what keeps libraries from asking again and again for what comes from a hub that does not answer."""
    from_hub = prefix in _MODULES and _module(prefix).FAMILY.from_hub
    if not from_hub or presence_of(identifier).state in ("local", "missing"):
        return nullcontext()
    return offline_where_it_does_not_answer()


def _in_memory(
    given: Any, device: str | None, *, layer: str | int | None, pool: str | None, precision: Precision, compile: bool
) -> Encoder | FeatureFiles:
    from transferability.encoders.in_memory import encoder_of

    if pool is not None:
        message = f"`pool` must be left out for an encoder that is in memory; got {pool!r}."
        raise OptionError(message)
    with _one_sentence(type(given).__name__):
        encoder = encoder_of(given, device=device, precision=precision, compile=compile)
    return encoder if layer is None or isinstance(encoder, FeatureFiles) else select(encoder, layer)


def _packaged_names() -> str:
    from transferability.encoders.packaged import packaged_encoders

    return f"Names: {', '.join(sorted(packaged_encoders()))}."


@contextmanager
def _one_sentence(identifier: str) -> Iterator[None]:
    """Turn what a library or a plugin raises while it loads into a sentence, and put back what it has set."""
    try:
        with undisturbed():
            yield
    except BaseException as error:  # plugins have errors of their own
        if passes_through(error):
            raise
        message = f"encoder {identifier!r} cannot be loaded: {type(error).__name__}: {one_line(error)}."
        raise EncoderError(message) from error


def _bare_fix(identifier: str) -> str:
    if not identifier:
        return "Name one: timm:NAME, hf:ORG/NAME, packaged:NAME."
    if identifier.endswith(".py"):
        return f"Write python:{Path(identifier).stem}:FUNCTION, in the folder of the file."
    if identifier.endswith(".onnx"):
        return f"Write onnx:{identifier}."
    if identifier.endswith((".npz", ".safetensors")):
        return f"Write features:{identifier}."
    if "/" in identifier:
        return f"Write hf:{identifier}, st:{identifier} or timm:hf-hub:{identifier}, as the model was published for."
    return f"Write timm:{identifier}, torchvision:{identifier} or packaged:{identifier}."
