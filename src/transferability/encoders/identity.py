"""What decides an encoder's features, as a hash: the name under which they are kept.

`settings_hash` walks through the objects that compute, whatever library made them: modules, configurations, processors,
tokenisers, transforms, and our own functions around them. No list of fields can go stale: a setting that nobody has
heard of yet is an attribute of one of these objects, so it changes the hash. Weights have a hash of their own
(`_torch.weights`).
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import inspect
import json
import logging
import os
import re
import sys
import types
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transferability.encoders.base import Encoder

if TYPE_CHECKING:
    import torch

    from transferability.encoders.precomputed import FeatureFiles

__all__ = ["hash_json", "identity_of", "settings_hash", "settings_of", "source_hash"]

# Attributes that say where or how a model was loaded, or what it told, and decide no feature.
_SILENT = frozenset(
    {"_name_or_path", "name_or_path", "model_card_data", "_model_card_vars", "warnings_issued"}
    | {"pretrained_cfg", "default_cfg"}  # of timm: what follows from them is in the modules, and in the preprocessing
    | {"local_files_only", "is_local", "verbose", "deprecation_warnings"}  # offline, transformers changes the first
)
_TOLD = frozenset({"name", "_device", "_details"})
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def identity_of(encoder: Encoder | FeatureFiles) -> str:
    """Return a hash of everything that is known to decide an encoder's features.

    Equal hashes mean equal features for every encoder whose `identity()` is not None: that is what features are kept
    under in the cache. For the others, such as a function without a `version`, it stands for the name and the
    code: features under it may be stale where the code depends on something else.

    Parameters
    ----------
    encoder : Encoder or FeatureFiles
        For feature files, the contents of all files of the pattern are hashed.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> from transferability.encoders.function import FunctionEncoder
    >>> len(identity_of(FunctionEncoder("mine", len)))
    64
    """
    identity = encoder.identity()
    if identity is not None:
        return hash_json(identity)
    code = getattr(encoder, "code", None) or source_hash(type(getattr(encoder, "base", encoder)))
    return hash_json({"name": encoder.name, "code": code})


def hash_json(value: Any) -> str:
    """Return a hash of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def source_hash(thing: Any) -> str | None:
    """Return a hash of the file that defines a function or class; None where there is no file."""
    file = getattr(sys.modules.get(getattr(thing, "__module__", None) or ""), "__file__", None)
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    except OSError:  # it came out of an archive, or is gone
        return None


def settings_of(encoder: Any) -> str:
    """Return a hash of all settings of an encoder, but for its name, its device, and details that its identity tells.

    Two names of one model have the same.
    """
    return settings_hash({key: each for key, each in vars(encoder).items() if key not in _TOLD})


def settings_hash(*objects: Any) -> str:
    """Return a hash of all that these objects hold, but for the parameters of torch modules.

    It is the same in every process and wherever files lie. Take it before the objects are used: some keep
    notes of what they did.
    """
    return _Walk().digest(objects).hex()


class _Walk:
    """Hashes of objects, each of them once; an object within itself is named, not entered again."""

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}
        self._entered: set[int] = set()
        self._kept: list[Any] = []  # so that no other object takes an id while it is known

    def digest(self, value: Any) -> bytes:
        """Return the hash of anything."""
        if value is None or (isinstance(value, bool | int | float | complex | bytes | str) and not _is_enum(value)):
            return _hash(type(value).__name__, _relocatable(value))
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in self._entered:
            return _hash("within itself", _name(type(value)))
        self._entered.add(id(value))
        found = self._compound(value)
        self._entered.discard(id(value))
        self._known[id(value)] = found
        self._kept.append(value)
        return found

    def _compound(self, value: Any) -> bytes:
        kind = _name(type(value))
        if isinstance(value, Mapping):
            return _hash(kind, *sorted(self.digest(key) + self.digest(each) for key, each in value.items()))
        if isinstance(value, AbstractSet):
            return _hash(kind, *sorted(map(self.digest, value)))
        if isinstance(value, list | tuple):
            return _hash(kind, *map(self.digest, value))
        if isinstance(value, np.ndarray | np.generic):
            array = np.ascontiguousarray(value)
            return _hash(kind, str(array.dtype), repr(array.shape), array.tobytes())
        if isinstance(value, Path | logging.Logger):
            return _hash(kind, value.name)
        if _is_enum(value):
            return _hash(kind, value.name)
        if isinstance(value, functools.partial):
            return _hash(kind, *map(self.digest, (value.func, value.args, value.keywords)))
        if isinstance(value, types.MethodType):
            return _hash(kind, _name(value.__func__), self.digest(value.__self__))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if inspect.isclass(value) or isinstance(value, types.ModuleType | types.BuiltinFunctionType):
            return _hash(kind, _name(value))
        return self._torch(value) or self._object(value)

    def _function(self, function: types.FunctionType) -> bytes:
        """Hash a function by its name, and by what was bound when it was made."""
        cells = (cell for cell in function.__closure__ or ())
        bound = [cell.cell_contents for cell in cells if cell != types.CellType()]  # an empty cell equals an empty one
        return _hash("function", _name(function), self.digest([bound, function.__defaults__, function.__kwdefaults__]))

    def _torch(self, value: Any) -> bytes | None:
        """Hash what torch knows better than its attributes say; None for anything else."""
        torch = sys.modules.get("torch")
        if torch is None:
            return None
        if isinstance(value, torch.nn.Parameter):
            return _hash("parameter", str(value.dtype), repr(tuple(value.shape)))
        if isinstance(value, torch.Tensor):
            return self._tensor(value.detach().cpu())
        if isinstance(value, torch.device):
            return _hash("device", value.type)
        if isinstance(value, torch.nn.Module):
            own = {key: each for key, each in vars(value).items() if key not in _module_machinery()}
            children, buffers = dict(value.named_children()), dict(value.named_buffers(recurse=False))
            return _hash(_name(type(value)), *map(self._attributes, (own, children, buffers)))
        return None

    def _tensor(self, tensor: torch.Tensor) -> bytes:
        from transferability.encoders._tensor_parts import is_plain, parts, raw

        if is_plain(tensor):
            return _hash("tensor", str(tensor.dtype), repr(tuple(tensor.shape)), raw(tensor).tobytes())
        about = (str(tensor.dtype), "nested" if tensor.is_nested else repr(tuple(tensor.shape)))
        return _hash("tensor", str(tensor.layout), *about, *map(self._tensor, parts(tensor)))

    def _object(self, value: Any) -> bytes:
        kind = _name(type(value))
        if hasattr(value, "backend_tokenizer") and hasattr(value.backend_tokenizer, "to_str"):
            # A call sets padding and truncation of what is behind a fast tokeniser; `init_kwargs` has what was saved.
            rest = {key: each for key, each in vars(value).items() if each is not value.backend_tokenizer}
            return _hash(kind, _rules(value.backend_tokenizer), self._attributes(rest))
        if hasattr(value, "to_str"):  # a tokeniser of `tokenizers`
            return _hash(kind, _rules(value))
        if hasattr(value, "serialized_model_proto"):  # SentencePiece
            return _hash(kind, value.serialized_model_proto())
        attributes = dict(getattr(value, "__dict__", {}))
        for each in type(value).__mro__:
            slots = each.__dict__.get("__slots__", ())
            names = (slots,) if isinstance(slots, str) else slots
            attributes |= {name: getattr(value, name) for name in names if hasattr(value, name)}
        attributes.pop("__weakref__", None)
        if attributes:
            return _hash(kind, self._attributes(attributes))
        try:
            known = copyreg.dispatch_table.get(type(value))
            return _hash(kind, self.digest(value.__reduce_ex__(4) if known is None else known(value)))
        except Exception:  # noqa: BLE001 - what cannot be pickled says so in many ways
            return _hash(kind, _ADDRESS.sub("", repr(value)))

    def _attributes(self, values: Mapping[str, Any]) -> bytes:
        told = {key: each for key, each in values.items() if key not in _SILENT}
        loaded = told.pop("init_kwargs", None)  # attributes too: those a tokeniser of transformers was loaded with
        return self.digest(told if loaded is None else {**told, "init_kwargs": self._attributes(loaded)})


@functools.cache
def _module_machinery() -> frozenset[str]:
    """Return the attributes of every torch module: its tables of parameters, buffers, children and hooks."""
    import torch

    return frozenset(vars(torch.nn.Module())) - {"training"}


def _rules(tokenizer: Any) -> str:
    return json.dumps({**json.loads(tokenizer.to_str()), "padding": None, "truncation": None}, sort_keys=True)


def _relocatable(value: Any) -> str | bytes:
    """Return a plain value; of a path only its last part, so that a cache can be shared between machines."""
    if isinstance(value, str) and os.path.isabs(value) and os.path.exists(value):  # noqa: PTH110, PTH117 - see below
        return Path(value).name  # `Path.exists` raises for what is too long for a path, a template of prompts say
    return value if isinstance(value, bytes) else repr(value)


def _is_enum(value: Any) -> bool:
    return isinstance(value, enum.Enum)


def _name(thing: Callable[..., Any] | types.ModuleType) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"


def _hash(*parts: str | bytes) -> bytes:
    total = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        total.update(len(content).to_bytes(8, "little"))  # lengths first, so that parts cannot run together
        total.update(content)
    return total.digest()
