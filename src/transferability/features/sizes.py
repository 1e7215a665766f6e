"""Sizes as people write them: what a cache may take."""

from __future__ import annotations

import os
import re

from transferability.errors import OptionError

__all__ = ["SIZE_VARIABLE", "parse_size", "size_limit"]

SIZE_VARIABLE = "TRANSFERABILITY_CACHE_SIZE"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def size_limit() -> int | None:
    """Return what `TRANSFERABILITY_CACHE_SIZE` says, or None.

    Raises
    ------
    OptionError
        If it is no size.
    """
    limit = os.environ.get(SIZE_VARIABLE)
    return parse_size(limit, SIZE_VARIABLE) if limit else None


def parse_size(text: str, argument: str = "max-size") -> int:
    """Read a number of bytes with a unit, as people write them.

    Raises
    ------
    OptionError
        For anything else.

    Examples
    --------
    >>> parse_size("1.5 GB")
    1500000000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.strip().lower())
    if found:
        return int(float(found[1]) * _UNITS[found[2]])
    message = f"`{argument}` must be a size such as 500MB, 20GB or 1.5TB; got {text!r}."
    raise OptionError(message)
