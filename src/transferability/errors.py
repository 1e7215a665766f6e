"""Every error a user can cause, as one tree.

Each class derives from `TransferabilityError` and from the built-in that fits, so that callers may catch either.
Messages say what is wrong, where (argument, row, file) and what to do.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

__all__ = [
    "DatasetError",
    "DatasetNameError",
    "EncoderError",
    "EncoderNameError",
    "FeatureError",
    "FileDamagedError",
    "LabelError",
    "MissingExtraError",
    "NoSuchFileError",
    "OptionError",
    "OutputError",
    "RowError",
    "TaskError",
    "TransferabilityError",
    "UnknownNameError",
    "is_wrong_call",
    "nearest_names",
    "no_such_file",
    "one_line",
    "passes_through",
    "require_extra",
]


class TransferabilityError(Exception):
    """Base of all errors that say something about the caller's input or environment."""


class FeatureError(TransferabilityError, ValueError):
    """Features of the wrong dtype, rank, shape or with values that are not finite."""


class LabelError(TransferabilityError, ValueError):
    """Labels that are not integers from 0, of the wrong length, of one class only, or with an empty class."""


class TaskError(TransferabilityError, ValueError):
    """Two tasks that do not fit each other or the question asked."""


class OptionError(TransferabilityError, ValueError):
    """An option outside its range or set of values."""


class UnknownNameError(TransferabilityError, ValueError):
    """A name (encoder, dataset, score) that nobody knows; the message lists the nearest."""


class EncoderError(TransferabilityError, ValueError):
    """An encoder that cannot be loaded or does not return features."""


class EncoderNameError(EncoderError):
    """An encoder that is not written as it must be, that is not where it is said to be, or that is not given."""


class DatasetError(TransferabilityError, ValueError):
    """Data that cannot be read; the message names the file or the row."""


class DatasetNameError(DatasetError):
    """Data that are not written as they must be, or have no column, split or part of that name."""


class NoSuchFileError(DatasetNameError):
    """A file or folder that is not there."""


class RowError(DatasetError):
    """A row that cannot be read: the data are at fault, whichever encoder comes upon it."""


class FileDamagedError(TransferabilityError, ValueError):
    """A file that is truncated, corrupt or of another format than its name says."""


class OutputError(TransferabilityError, OSError):
    """An output that cannot be written: no such place, no permission, no space."""


class MissingExtraError(TransferabilityError, ImportError):
    """A library that an optional extra installs is not there."""


def is_wrong_call(error: BaseException | None) -> bool:
    """Tell whether an option or a name is at fault, or a file that is not there, and not what the files hold."""
    wrong = OptionError | UnknownNameError | EncoderNameError | DatasetNameError | FileNotFoundError
    while error is not None:
        if isinstance(error, wrong):
            return True
        error = error.__cause__
    return False


def no_such_file(path: Path, kind: str = "file") -> str:
    """Return the sentence on a path where nothing is, with the names beside it that are alike."""
    try:
        beside = sorted(each.name for each in path.parent.iterdir())
    except OSError:
        beside = []
    close = difflib.get_close_matches(path.name, beside, n=2)
    hint = f" Did you mean {' or '.join(str(path.parent / each) for each in close)}?" if close else ""
    return f"there is no {kind} {path}.{hint}"


def nearest_names(name: str, valid: Iterable[str]) -> str:
    """Return a hint with the closest valid names, or all of them when there are few.

    Examples
    --------
    >>> nearest_names("logmee", ["logme", "nce"])
    "Did you mean 'logme'? Valid names: logme, nce."
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(repr(each) for each in close)}? " if close else ""
    if len(names) <= 40:
        hint += f"Valid names: {', '.join(names)}."
    return hint.strip()


def passes_through(error: BaseException) -> bool:
    """Tell whether an error is not about what a library did: one of ours, or somebody who wants to stop.

    Libraries in Rust panic, and user code exits, with what is no `Exception`.
    """
    return isinstance(error, TransferabilityError | KeyboardInterrupt | GeneratorExit)


def one_line(error: BaseException | str, most: int = 300) -> str:
    r"""Return what an error of any library says as one line of at most `most` characters, without a full stop.

    Examples
    --------
    >>> one_line(ValueError("two\nlines."))
    'two lines'
    >>> one_line(MemoryError())
    'MemoryError'
    """
    said = " ".join(str(error)[: 4 * most].split())
    said = said if len(said) <= most else said[: most - 1].rstrip() + "…"
    return said.rstrip(".") or type(error).__name__


def require_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra installs it.

    Parameters
    ----------
    module : str
        The module to import, dotted if need be.
    extra : str
        The extra of this package that brings it.
    purpose : str
        What needs it, as the subject of a sentence ("encoder 'timm:resnet18'").

    Raises
    ------
    MissingExtraError
        If the module, or the package that holds it, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that is there but fails to import one of its own needs is another story: let it be told.
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        message = f"{purpose} needs the package `{error.name}`. Install it: pip install 'transferability[{extra}]'"
        raise MissingExtraError(message, name=error.name) from error
