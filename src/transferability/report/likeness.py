"""What a target is like, in a sentence: its classes and the classes of reference packs that they lie nearest to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferability._printable import printable

if TYPE_CHECKING:
    from transferability.relatedness.resemblance import NearestClass

__all__ = ["likeness"]

_MOST = 6  # classes that are named


def likeness(nearest: Sequence[NearestClass]) -> str | None:
    """Return the sentence; None where nothing is known.

    Examples
    --------
    >>> from transferability.relatedness.resemblance import NearestClass
    >>> likeness([NearestClass("boot", "fashion", "Ankle boot", 0.9, None), NearestClass("cat", "digits", "6", 0.4, "x")])
    'nearest reference class of each class: boot → fashion: Ankle boot (90 % of rows), cat → digits: 6 (40 % of rows).'
    """
    if not nearest:
        return None
    shown = [
        f"{printable(each.target_class)} → {printable(each.reference)}: {printable(each.reference_class)} "
        f"({100 * each.share:.0f} % of rows)"
        for each in nearest[:_MOST]
    ]
    text = f"nearest reference class of each class: {', '.join(shown)}"
    if len(nearest) <= _MOST:
        return f"{text}."
    counts = Counter(each.reference for each in nearest).most_common()
    summary = ", ".join(f"{printable(name)} {count}" for name, count in counts)
    return f"{text}, … By reference, of {len(nearest)} classes: {summary}."
