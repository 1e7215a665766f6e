"""Anything through a function of one's own: `python:module:function`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from transferability._array import as_numpy, is_sparse
from transferability.encoders.base import Encoder, Identity, Item, Modality
from transferability.encoders.family import Family
from transferability.encoders.identity import source_hash
from transferability.errors import EncoderError, EncoderNameError, nearest_names, one_line, passes_through

__all__ = ["FAMILY", "FunctionEncoder", "load"]

FAMILY = Family("python:module:function", "a function from a list of items to an array")


def load(spec: str, *, device: str | None) -> Encoder:
    """Return an encoder that calls `function(items) -> array of shape (len(items), n_features)`.

    Parameters
    ----------
    spec : str
        `module:function`. The module is imported as any other, also from the current folder.
    device : str or None
        Not used: the function computes where it likes.

    Raises
    ------
    EncoderError
        If there is no such module or function.

    Notes
    -----
    The function gets a list of PIL pictures in RGB, of str or pairs of str, of one-dimensional arrays, or of words in
    their sentences (words, position), as the data have it. It may have two attributes. `modality`, "image", "text",
    "array" or "tokens", refuses other data before anything is computed.
    `version`, a str, allows its features to be kept on disk: change it whenever the function, its weights or anything
    else behind it changes. Without it nothing is kept, because nobody can tell what a function depends on.
    """
    name = f"python:{spec}"
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        message = f"encoder {name!r} must be python:module:function."
        raise EncoderNameError(message)
    module = _import(module_name, name)
    function = getattr(module, attribute, None)
    if not callable(function):
        callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        message = f"encoder {name!r}: module {module_name!r} has no function {attribute!r}. "
        message += nearest_names(attribute, callables)
        raise EncoderNameError(message)
    return FunctionEncoder(name, function)


class FunctionEncoder:
    """A function as an encoder."""

    n_parameters = None
    ignores_device = "a function computes where its own code says"

    def __init__(self, name: str, function: Callable[[list[Item]], Any]) -> None:
        self.name = name
        modality = getattr(function, "modality", None)
        if modality not in (None, *get_args(Modality)):
            message = f"encoder {name!r}: `modality` must be one of {', '.join(map(repr, get_args(Modality)))}; "
            message += f"got {modality!r}."
            raise EncoderError(message)
        self.modality: Modality | None = modality
        self._function = function
        self.code = source_hash(function)  # now, and not when somebody has edited what was imported

    def identity(self) -> Identity | None:
        """Return name, version and hash of the function's file; None without a version."""
        version = getattr(self._function, "version", None)
        return None if version is None else {"source": self.name, "version": str(version), "code": self.code}

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return what the function returns, as a NumPy array.

        Raises
        ------
        EncoderError
            If the function takes one item, not a list of them.
        """
        given = list(items)
        try:
            found = self._function(given)
            if found is None:
                message = (
                    f"encoder {self.name!r} returned nothing; it must return one row of numbers per item. Is there "
                )
                raise EncoderError(message + "a `return` in the function?")
            if is_sparse(found):
                message = f"encoder {self.name!r} returned a sparse {type(found).__name__}; it must return an array. "
                raise EncoderError(message + "Write: lambda items: function(items).toarray()")
            rows = as_numpy(found)
        except Exception as error:
            if passes_through(error) or not self._takes_one(given):
                raise
            raise EncoderError(self._one_item()) from error
        if rows.shape[:1] != (len(given),) and self._takes_one(given):
            raise EncoderError(self._one_item())
        return rows

    def _takes_one(self, items: list[Item]) -> bool:
        """Tell whether the function returns the row of a single item when it is given that."""
        try:
            return as_numpy(self._function(items[0])).ndim <= 1
        except Exception as error:
            if passes_through(error):
                raise
            return False

    def _one_item(self) -> str:
        return (
            f"encoder {self.name!r} is a function of one item; an encoder takes a list of items and returns a row of "
            "numbers for each. Write: lambda items: numpy.stack([function(item) for item in items])"
        )


def _import(module_name: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a command's path does not hold the folder it is called in
    try:
        return importlib.import_module(module_name)
    except BaseException as error:
        if passes_through(error):
            raise
        reason = f"{type(error).__name__}: {one_line(error)}"
        message = f"encoder {name!r}: module {module_name!r} cannot be imported ({reason})."
        hint = _file_hint(module_name, name)
        missing = isinstance(error, ModuleNotFoundError) and module_name.startswith(error.name or "\0")
        raise (EncoderNameError if hint or missing else EncoderError)(message + hint) from error
    finally:
        sys.path.remove(here)


def _file_hint(module_name: str, name: str) -> str:
    """Return what to write where a file was given in place of a module; empty where it was not."""
    function = name.removeprefix(f"python:{module_name}:")
    folder, file = os.path.split(module_name)
    module = file.removesuffix(".py")
    if folder:
        return f" A path is no module: write python:{module}:{function}, with {folder!r} in PYTHONPATH."
    return f" A module has no suffix: python:{module}:{function}." if module != file else ""
