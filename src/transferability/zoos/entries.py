"""What a zoo file says: `encoders.toml` beside this module, or a file of one's own."""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from transferability.encoders._reach import hub_facts
from transferability.encoders.base import Modality
from transferability.encoders.licences import licence_name
from transferability.encoders.naming import split_alias
from transferability.errors import DatasetError, OptionError, nearest_names

__all__ = ["SIZES", "Entry", "entry_of", "from_hub", "load_zoo"]

SIZES = ("tiny", "small", "base", "large")
"""The zoos of this package, by size and cost."""
_SHIPPED = Path(__file__).with_name("encoders.toml")
_FORM = 'encoders = ["timm:resnet50.a1_in1k", { identifier = "st:FOLDER", modality = "text" }]'


@dataclass(frozen=True)
class Entry:
    """One encoder of a zoo, with what is known of it before it is loaded.

    Attributes
    ----------
    identifier : str
        What `load_encoder` takes.
    modality : {"image", "text", "array", "tokens"}, optional
        None where a file does not say: it is tried on any data.
    family : str, optional
    parameters : int, optional
        Number of weights without a classifier.
    input : int, optional
        Pixels of an edge, or tokens that are read.
    gmacs : float, optional
        10⁹ multiplications and additions for one picture of that size, or for a text of 128 tokens.
    licence : str, optional
        Of the weights, by its SPDX identifier where it has one.
    pretraining : str, optional
        Data and objective.
    same_as : str, optional
        An entry with the same weights, which is left out where this one is here.
    zoo : str
        Where it is listed; "" in a file of one's own.
    """

    identifier: str
    modality: Modality | None = None
    family: str | None = None
    parameters: int | None = None
    input: int | None = None
    gmacs: float | None = None
    licence: str | None = None
    pretraining: str | None = None
    same_as: str | None = None
    zoo: str = ""

    @property
    def bytes(self) -> int | None:
        """Size of the weights as float32, about what a download takes."""
        return None if self.parameters is None else 4 * self.parameters


_KEYS = tuple(field.name for field in fields(Entry) if field.name != "zoo")


def from_hub(entry: Entry) -> Entry:
    """Return an entry with what the hub says of its size and licence, where it is a model there that no zoo lists."""
    prefix, _, spec = split_alias(entry.identifier)[1].partition(":")
    if entry.parameters is not None or prefix not in ("hf", "st") or Path(spec).expanduser().exists():
        return entry
    name, _, revision = spec.partition("@")
    parameters, licence = hub_facts(name, revision or None)
    return replace(entry, parameters=parameters, licence=entry.licence or licence)


def load_zoo(name: str | os.PathLike[str]) -> tuple[Entry, ...]:
    """Return the encoders of a zoo: tiny, small, base or large, or a TOML file of one's own.

    A file has a list `encoders` of identifiers, or of tables with the keys of `Entry`; `include` lists zoos of this
    package whose encoders come first.

    Raises
    ------
    OptionError
        If there is no such zoo or file, or a key or value in it cannot be used.

    Examples
    --------
    >>> load_zoo("tiny")[0].identifier
    'packaged:efficientnet-lite0'
    """
    if str(name) in SIZES:
        return _shipped()[str(name)]
    path = Path(name).expanduser()
    if not path.is_file():
        message = f"`zoo` must be {', '.join(SIZES)}, or a TOML file; got {str(name)!r}. "
        hint = nearest_names(str(name), SIZES).partition(" Valid")[0]
        raise OptionError(message + (hint if hint.startswith("Did") else f"There is no file {path}."))
    given = _read(path)
    unknown = next((key for key in given if key not in ("encoders", "include")), None)
    if unknown is not None:
        message = f"zoo {path} must hold the keys encoders and include; got {unknown!r}. Write {_FORM}."
        raise OptionError(message)
    include = given.get("include", [])
    if not isinstance(include, list) or not all(each in SIZES for each in include):
        message = f"`include` of zoo {path} must be a list of {', '.join(SIZES)}; got {include!r:.100}."
        raise OptionError(message)
    own = _entries(given.get("encoders", []), f"zoo {path}", "")
    if not own and not include:
        message = f"zoo {path} must hold at least one encoder. Write {_FORM}."
        raise OptionError(message)
    found = {entry.identifier: entry for each in include for entry in _shipped()[each]}
    return tuple((found | {entry.identifier: entry for entry in own}).values())


def entry_of(identifier: str) -> Entry | None:
    """Return what the zoos of this package know of an encoder, or None."""
    _, identifier = split_alias(identifier)
    return _by_identifier().get(identifier)


@functools.cache
def _by_identifier() -> Mapping[str, Entry]:
    return {entry.identifier: entry for zoo in _shipped().values() for entry in zoo}


@functools.cache
def _shipped() -> Mapping[str, tuple[Entry, ...]]:
    given = _read(_SHIPPED)
    return {size: _entries(given[size]["encoders"], f"zoo {size}", size) for size in SIZES}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        message = f"zoo {path} cannot be read: {error.strerror}. Check its permissions."
        raise DatasetError(message) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        message = f"zoo {path} is not valid TOML: {reason}. Write {_FORM}."
        raise OptionError(message) from error


def _entries(given: Any, source: str, zoo: str) -> tuple[Entry, ...]:
    if not isinstance(given, list):
        message = f"`encoders` of {source} must be a list; got {type(given).__name__}. Write {_FORM}."
        raise OptionError(message)
    return tuple(_entry(each, f"encoder {number} of {source}", zoo) for number, each in enumerate(given, start=1))


def _entry(given: Any, where: str, zoo: str) -> Entry:
    table = {"identifier": given} if isinstance(given, str) else given
    if not isinstance(table, dict) or not isinstance(table.get("identifier"), str) or not table["identifier"]:
        message = f"{where} must be an identifier, or a table with the key identifier; got {given!r:.100}. "
        raise OptionError(message + f"Write {_FORM}.")
    hints = get_type_hints(Entry)
    for key, value in table.items():
        if key not in _KEYS:
            message = f"{where} must have keys that there are; got {key!r}. {nearest_names(key, _KEYS)}"
            raise OptionError(message)
        if key == "modality" and value not in get_args(Modality):
            message = f"`modality` of {where} must be one of {', '.join(get_args(Modality))}; got {value!r:.100}."
            raise OptionError(message)
        wanted = str if key == "modality" else next(kind for kind in get_args(hints[key]) or (hints[key],))
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            message = f"`{key}` of {where} must be of type {wanted.__name__}; got {value!r:.100}."
            raise OptionError(message)
    split_alias(table["identifier"])
    return Entry(**table | {"licence": licence_name(table.get("licence"))}, zoo=zoo)
