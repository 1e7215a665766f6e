"""What must be known to read the results of a ranking: every note once, with the encoders that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from transferability._criteria import COUNTED_ONCE
from transferability.display.column_table import Entry

__all__ = ["copies_matter", "grouped", "result_notes"]

_NAMED = 5  # encoders in a note, before they are only counted
_SHOWN = 0.0005  # of an accuracy: what tables show


def copies_matter(entry: Entry) -> bool:
    """Tell whether the accuracy of all rows differs, as it is shown, from that of the rows that intervals count."""
    different, result = entry.get("different_rows"), entry.get("relatedness") or entry.get("result") or {}
    accuracy = result.get("transferred_accuracy")
    return different is not None and accuracy is not None and abs(different["accuracy"] - accuracy) >= _SHOWN


def result_notes(entries: Sequence[Entry]) -> list[str]:
    """Return the notes of the entries of `Ranking.to_dict`: on copies, on the relatedness, on scores and texts."""
    copied = next((entry["different_rows"] for entry in entries if entry.get("different_rows")), None)
    texts = []
    if copied is not None:
        counted = f"{copied['n_rows']:,} different rows of {copied['n_all']:,}"
        texts.append(f"{COUNTED_ONCE}: {counted}; accuracy and loss count every row.")
    # That of one encoder alone counts the rows that differ under it; a list those that differ under any.
    named = [
        (f"{note.removesuffix('.')}.", entry["encoder"])
        for entry in entries
        for note in entry["relatedness"].get("notes", ())
        if not note.startswith(COUNTED_ONCE)
    ]
    named += [(f"{name}: {note}", entry["encoder"]) for entry in entries for name, note in entry["notes"].items()]
    return texts + grouped(named, len(entries))


def grouped(notes: Iterable[tuple[str, str]], n_encoders: int) -> list[str]:
    """Return each note once, with those it is about; nobody is named where it is about all."""
    about: dict[str, list[str]] = {}
    for text, encoder in notes:
        about.setdefault(text, []).append(encoder)
    found = []
    for text, encoders in about.items():
        if len(encoders) == n_encoders > 1:
            found.append(f"{text} (all encoders)")
        else:
            more = f" and {len(encoders) - _NAMED} more" if len(encoders) > _NAMED else ""
            found.append(f"{', '.join(encoders[:_NAMED])}{more}: {text}")
    return found
