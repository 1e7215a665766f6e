"""One way to write each kind of number, and names of any length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transferability._criteria import TRANSFERRED_ACCURACY
from transferability._printable import UNSHOWABLE

__all__ = [
    "FORMATS",
    "NOTHING",
    "TERMS",
    "amount",
    "confidence",
    "count",
    "elide",
    "interval",
    "number",
    "percent",
    "show",
    "size",
]

NOTHING = "–"
"""Shown where a number is not known."""
# Okabe and Ito's palette: told apart by colour-blind readers too.
TERMS = (
    ("reference_loss", "reference loss", "#0072B2"),
    ("label_mismatch", "label mismatch", "#E69F00"),
    ("distribution_mismatch", "distribution mismatch", "#56B4E9"),
)
"""Key, title and colour of the three terms of the bound."""


def number(value: float | None, digits: int = 3) -> str:
    """Format a number; a dash where there is none."""
    return NOTHING if value is None or value != value else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Format a share; a dash where there is none."""
    return NOTHING if value is None or value != value else f"{100 * value:.1f} %"


def confidence(evaluated_on: str) -> str:
    """Return how surely the intervals of 95 % hold: of folds approximately, on rows of one split exactly.

    Examples
    --------
    >>> confidence("test"), confidence("folds")
    ('95 % confidence', 'about 95 % confidence')
    """
    return f"{'about ' if evaluated_on == 'folds' else ''}95 % confidence"


def count(value: float | None) -> str:
    """Format a count as 4.8 M.

    Examples
    --------
    >>> count(4_800_000), count(999), count(None)
    ('4.8 M', '999', '–')
    """
    if value is None:
        return NOTHING
    return f"{value / 1e6:.1f} M" if value >= 100_000 else f"{value:,}"


def size(value: float | None) -> str:
    """Format a number of bytes as 1.2 GB.

    Examples
    --------
    >>> size(1_234_000_000), size(56_000_000)
    ('1.2 GB', '56 MB')
    """
    if value is None:
        return NOTHING
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def rate(value: float | None) -> str:
    """Format items per second, two digits or more."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def amount(quantity: str, value: float | None, *, unit: bool = True) -> str:
    """Format a value of one of the quantities that order encoders: an accuracy in percent, others in nats."""
    if quantity == TRANSFERRED_ACCURACY:
        return percent(value)
    return f"{number(value)} nats" if unit else number(value)


def interval(quantity: str, low: float, high: float, digits: int = 3) -> str:
    """Format the interval of a value, without its unit where that is nats."""
    if quantity == TRANSFERRED_ACCURACY:
        return f"{number(100 * low, 1)} – {percent(high)}"
    return f"{number(low, digits)} – {number(high, digits)}"


def show(text: Any, length: int = 90) -> str:
    """Return a text fit to be shown: control characters replaced, the middle left out where it is too long."""
    shown = UNSHOWABLE.sub("\ufffd", str(text))
    return shown if len(shown) <= length else f"{shown[: length - 12]}…{shown[-11:]}"


def elide(text: str, length: int) -> str:
    """Return a name of at most so many letters, its middle left out: both ends tell encoders apart.

    Examples
    --------
    >>> elide("timm:vit_small_patch16_224.augreg_in21k", 20)
    'timm:vit_s…reg_in21k'
    """
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def _pair(value: Sequence[float] | None, quantity: str) -> str:
    return NOTHING if value is None else interval(quantity, value[0], value[1])


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "place": str,
    "text": lambda value: NOTHING if value is None else str(value),
    "percent": percent,
    "percent interval": lambda value: _pair(value, TRANSFERRED_ACCURACY),
    "nats": number,
    "nats interval": lambda value: _pair(value, "nats"),
    "points": lambda value: NOTHING if value is None else f"{round(100 * value, 1) + 0.0:+.1f}",
    "score": lambda value: number(value, 4),
    "constant": lambda value: NOTHING if value is None else f"{value:.3g}",
    "count": count,
    "bytes": size,
    "rate": rate,
    "seconds": lambda value: number(value, 1),
    "mark": lambda value: "yes" if value else "" if value is not None else NOTHING,
}
"""Name of a format to what writes a value; each has something to say where the value is None."""
