"""What a target is like, in a sentence: its classes and the classes of reference packs that they lie nearest to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from transferability._printable import printable

if TYPE_CHECKING:
    from transferability.relatedness.results.summary import RelatednessSummary

__all__ = ["likeness"]

_MOST = 6  # classes that are named


def likeness(result: RelatednessSummary) -> str | None:
    """Return the sentence; None where nothing is known."""
    nearest = result.nearest
    if not nearest:
        return None
    shown = [
        f"{printable(each.target_class)} → {printable(each.reference)}: {printable(each.reference_class)} "
        f"({100 * each.share:.0f} % of rows)"
        for each in nearest[:_MOST]
    ]
    text = f"nearest class of the installed reference packs: {', '.join(shown)}"
    if len(nearest) > _MOST:
        counts = Counter(each.reference for each in nearest).most_common()
        summary = ", ".join(f"{printable(name)} {count}" for name, count in counts)
        text += f", …; by reference, of {len(nearest)} classes: {summary}"
    closest = result.closest()
    text += f". Closest reference: {printable(closest.reference)}, bound {closest.bound:.3f}"
    if closest.reference != result.reference:
        text += f" ({printable(result.reference)}: {result.bound:.3f})"
    return f"{text}."
