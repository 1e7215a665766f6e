"""Every error a user can cause. Messages say what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "D3PMError",
    "D3PMWarning",
    "DataError",
    "ImpossibleStateError",
    "LabelsWarning",
    "LengthWarning",
    "MissingExtraError",
    "NoSuchFileError",
    "OptionError",
    "StepsWarning",
    "TimesWarning",
    "TokenError",
    "TrainingError",
    "TruncationWarning",
    "check_choice",
    "check_list",
    "check_number",
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


class NoSuchFileError(CheckpointError, DataError):
    """A file or folder that was named and is not there."""


class TrainingError(D3PMError, ValueError):
    """A run that has come apart."""


class MissingExtraError(D3PMError, ImportError):
    """A library that an optional extra installs is not there."""


class D3PMWarning(UserWarning):
    """Base of what is said of the caller's input and is no error."""


class TruncationWarning(D3PMWarning):
    """Texts are longer than the model reads; what is beyond is left out."""


class StepsWarning(D3PMWarning):
    """The net runs another number of times than was asked for."""


class TimesWarning(D3PMWarning):
    """The net is asked at times that it was not trained at."""


class LabelsWarning(D3PMWarning):
    """Labels that the data have are not kept, for some are no classes."""


class LengthWarning(D3PMWarning):
    """Texts are sampled at full length, for want of knowing how long those of the training data were."""


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


def check_number(
    value: Any, argument: str, low: float, high: float = math.inf, *, whole: bool = False, above: bool = False
) -> Any:
    """Return a finite number from `low` to `high` (`above`: larger than `low`), else raise `OptionError`."""
    kinds = (int,) if whole else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and (low < value if above else low <= value) and value <= high:
        return value
    kind = "a whole number" if whole else "a number"
    limits = f"above {low:g}" if above else f"at least {low:g}"
    limits += f" and at most {high:g}" if high < math.inf else ""
    message = f"`{argument}` must be {kind}, {limits}; got {value!r}."
    raise OptionError(message)


def check_list(values: Any, argument: str) -> Sequence[Any]:
    """Return `values` if it is a list or tuple with something in it, else raise `OptionError`."""
    if isinstance(values, (list, tuple)) and values:
        return values
    message = f"`{argument}` must be a list with at least one entry; got {values!r}."
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
