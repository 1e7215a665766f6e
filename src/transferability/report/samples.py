"""Samples to look at: a few small pictures or short texts of a class, as JSON values."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

__all__ = ["MAX_CLASSES", "PER_CLASS", "sample_of", "samples_of"]

PER_CLASS = 3
MAX_CLASSES = 60
_SIDE = 56  # pixels
_LETTERS = 160


def samples_of(items: Iterable[Any]) -> tuple[dict[str, str], ...]:
    """Return what `sample_of` makes of each item that can be shown."""
    return tuple(found for found in map(sample_of, items) if found is not None)


def sample_of(item: Any) -> dict[str, str] | None:
    """Return a picture as ``{"image": data URI}``, a text as ``{"text": …}``, None for anything else.

    Pictures are shrunk to 56 pixels and written as JPEG, about a kilobyte each; texts are cut after 160 characters.
    """
    if isinstance(item, str):
        return {"text": _short(item)}
    if isinstance(item, tuple) and item and all(isinstance(part, str) for part in item):  # a pair of texts
        return {"text": " ⁄ ".join(_short(part) for part in item)}
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], tuple):  # a word of a sentence
        words, position = item
        return {"text": _short(" ".join(f"[{w}]" if k == position else str(w) for k, w in enumerate(words)))}
    if hasattr(item, "thumbnail"):
        small = item.convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=78, optimize=True)
        return {"image": "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")}
    return None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
