"""From a table of a recipe to a dataclass: unknown keys and values of another type are errors."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, Literal, get_args, get_origin, get_type_hints

from d3pm.errors import ConfigError

__all__ = ["build_section", "refuse_moved", "refuse_unknown"]


def build_section(kind: type, values: dict[str, Any], where: str) -> Any:
    """Return the dataclass `kind` of these values."""
    hints = get_type_hints(kind)
    types = {f.name: _type_of(hints[f.name], f.default) for f in dataclasses.fields(kind)}
    refuse_unknown(values, types, where)
    checked = {}
    for key, value in values.items():
        wanted = types[key]
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)  # TOML writes 1 for 1.0
        if type(value) is not wanted:
            message = f"`{key}` in {where} must be of type {wanted.__name__}; got {value!r}."
            raise ConfigError(message)
        checked[key] = value
    return kind(**checked)


def _type_of(hint: Any, default: Any) -> type:
    """Return the type of a key's values: its default's, or where that is None the other one that the hint allows."""
    if default is not None:
        return type(default)
    (other,) = (part for part in get_args(hint) if part is not type(None))
    return type(get_args(other)[0]) if get_origin(other) is Literal else other


def refuse_moved(values: dict[str, Any], source: str) -> None:
    """Say where settings lie now that used to be in [loss]."""
    loss = values.get("loss")
    for key in ("mode", "first"):
        if isinstance(loss, dict) and key in loss:
            message = f"`{key}` in {source} must be in the table [conventions], not in [loss]: it belongs to the model."
            raise ConfigError(message)


def refuse_unknown(values: dict[str, Any], known: Any, where: str) -> None:
    """Raise `ConfigError` for a key that is not known, naming the nearest."""
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, list(known), n=1)
            hint = f" Did you mean `{close[0]}`?" if close else f" Known: {', '.join(known)}."
            message = f"`{key}` in {where} must be a known key.{hint}"
            raise ConfigError(message)
