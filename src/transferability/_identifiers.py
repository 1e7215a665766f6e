"""Identifiers of encoders and data sets: `prefix:rest`, where the rest is the prefix's own business."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transferability.errors import UnknownNameError, nearest_names

__all__ = ["file_name", "split_fragment", "split_identifier"]


def split_identifier(identifier: str, prefixes: Iterable[str], argument: str, bare_fix: str) -> tuple[str, str]:
    """Split `prefix:rest` at the first colon; everything after it is opaque.

    Parameters
    ----------
    identifier : str
        What the user wrote.
    prefixes : iterable of str
        The prefixes that somebody answers to.
    argument : str
        What the identifier names ("encoder", "data"), for messages.
    bare_fix : str
        What to write instead, said when there is no prefix.

    Raises
    ------
    UnknownNameError
        Without a prefix, with an unknown one, or with nothing after it.
    """
    valid = sorted(prefixes)
    prefix, colon, rest = identifier.partition(":")
    if not colon:
        message = f"`{argument}` must be prefix:name; got {identifier!r}, without a prefix. {bare_fix}"
        raise UnknownNameError(message)
    if prefix not in valid:
        message = f"`{argument}` must start with a known prefix; got {identifier!r}. {nearest_names(prefix, valid)}"
        raise UnknownNameError(message)
    if not rest:
        message = f"`{argument}` must be prefix:name; got {identifier!r}, with nothing after the colon."
        raise UnknownNameError(message)
    return prefix, rest


def split_fragment(text: str) -> tuple[Path, str]:
    """Split `path#fragment`; a '#' that belongs to the name of an existing file stays there.

    Examples
    --------
    >>> path, fragment = split_fragment("reviews.csv#text=body")
    >>> path.name, fragment
    ('reviews.csv', 'text=body')
    """
    whole = Path(text).expanduser()
    if "#" not in text or _exists(whole):
        return whole, ""
    path, _, fragment = text.rpartition("#")
    return Path(path).expanduser(), fragment


def file_name(text: str) -> str:
    """Return an identifier as part of a file's name.

    Examples
    --------
    >>> file_name("timm:resnet18.a1_in1k")
    'timm-resnet18.a1_in1k'
    """
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for any file
        return False
