"""Names from files, made fit to be printed: what would move a terminal's cursor or turn its text is spelt out."""

from __future__ import annotations

import re

__all__ = ["UNSHOWABLE", "one_line", "printable"]

UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters, lone surrogates, and what turns the direction of all text that follows (right-to-left letters
need none of it). Tabs and line ends are not among them."""
_LONGEST = 2000


def printable(text: str) -> str:
    r"""Return a text in which escapes stand for all that is not shown, line ends and tabs among it.

    Examples
    --------
    >>> printable("red \x1b[31m\n")
    'red \\x1b[31m\\n'
    """
    return re.sub(r"[\t\n\r]", _escape, UNSHOWABLE.sub(_escape, text))


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Return a text on one line, printable, and with its middle left out where it is too long to read.

    Examples
    --------
    >>> one_line("of several   parts")
    'of several parts'
    """
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 200]} … {line[-190:]}"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
