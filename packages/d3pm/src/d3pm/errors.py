"""Every error a user can cause. Messages say what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "CheckpointError",
    "ConfigError",
    "D3PMError",
    "DataError",
    "ImpossibleStateError",
    "MissingExtraError",
    "OptionError",
    "TokenError",
    "check_choice",
    "require_extra",
]


class D3PMError(Exception):
    """Base of all errors that say something about the caller's input or environment."""


class OptionError(D3PMError, ValueError):
    """An option, matrix or schedule outside its range."""


class TokenError(D3PMError, ValueError):
    """Tokens that are not integers from 0 to K − 1, or logits over another number of states."""


class ImpossibleStateError(D3PMError, ValueError):
    """A state that the forward process cannot reach from the clean one, so that the posterior is undefined."""


class ConfigError(D3PMError, ValueError):
    """A recipe with an unknown key, a missing value or settings that contradict each other."""


class DataError(D3PMError, ValueError):
    """Data that cannot be read or do not fit the model."""


class CheckpointError(D3PMError, ValueError):
    """A checkpoint that is damaged, or of another process or net."""


class MissingExtraError(D3PMError, ImportError):
    """A library that an optional extra installs is not there."""


def check_choice(value: object, valid: Iterable[str], argument: str) -> str:
    """Return `value` if it is one of `valid`, else raise `OptionError` naming the nearest."""
    names = list(valid)
    if isinstance(value, str) and value in names:
        return value
    message = f"`{argument}` must be one of {', '.join(map(repr, names))}; got {value!r}."
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.5) if isinstance(value, str) else []
    if close:
        message += f" Did you mean {close[0]!r}?"
    raise OptionError(message)


def require_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise  # the module is there; one of its own needs is not
        message = f"{purpose} needs the package `{error.name}`. Install it: pip install 'd3pm[{extra}]'"
        raise MissingExtraError(message, name=error.name) from error
