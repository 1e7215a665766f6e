"""Encoders under another name: `mini=st:/long/path`."""

from __future__ import annotations

import copy
from typing import Any

from transferability.encoders.base import Encoder
from transferability.encoders.precomputed import FeatureFiles
from transferability.errors import EncoderError, UnknownNameError

__all__ = ["renamed", "split_alias"]


def split_alias(identifier: str) -> tuple[str | None, str]:
    """Split `SHORT=IDENTIFIER`; an equals sign behind the prefix belongs to the identifier.

    Raises
    ------
    UnknownNameError
        If there is nothing on one side.

    Examples
    --------
    >>> split_alias("mini=st:/models/mini"), split_alias("onnx:a=b.onnx")
    (('mini', 'st:/models/mini'), (None, 'onnx:a=b.onnx'))
    """
    head, colon, _ = identifier.partition(":")
    alias, equals, prefix = head.partition("=")
    if not equals:
        return None, identifier
    if not alias.strip() or not prefix.strip() or not colon:
        message = f"`encoder` must be SHORT=PREFIX:NAME, such as mini=st:/models/mini; got {identifier!r}."
        raise UnknownNameError(message)
    return alias.strip(), identifier[len(alias) + 1 :].strip()


def renamed(encoder: Any, name: str) -> Any:
    """Return the same encoder under another name; its features are kept under what computes them, as before.

    Raises
    ------
    EncoderError
        If it does not let itself be renamed.
    """
    known: Encoder | FeatureFiles = encoder
    copied: Any = copy.copy(encoder)
    try:
        copied.identity = known.identity  # the name is part of some
        copied.name = name
    except AttributeError as error:
        message = f"encoder {known.name!r} cannot be called {name!r}: its class has fixed attributes. Leave the name."
        raise EncoderError(message) from error
    return copied
