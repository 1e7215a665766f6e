"""CoNLL files: one word a line with its tag, sentences apart by empty lines."""

from __future__ import annotations

import re
from pathlib import Path

from transferability.errors import FileDamagedError

__all__ = ["read_conll"]

_COMMENT = re.compile(r"#\s*[\w.-]+( [\w.-]+)* = |# newdoc|# newpar")  # CoNLL-U: "# sent_id = 3"


def read_conll(path: Path, column: int | None) -> tuple[list[list[str]], list[list[str]], tuple[str, ...]]:
    """Return the words and the tags of each sentence, and notes.

    Parameters
    ----------
    path : Path
        In UTF-8.
    column : int or None
        Column of the tags, counted from 0; None for the last, which must then be the same in every line.

    Raises
    ------
    FileDamagedError
        If a line has no word and tag, naming it, or if the words are numbers, as CoNLL-U has them.
    """
    try:
        lines = path.read_text("utf-8-sig").split("\n")  # and not at what else Unicode calls an end of line
    except (UnicodeDecodeError, OSError) as error:
        message = f"file {path} is not a CoNLL file in UTF-8: {error}. Export it again."
        raise FileDamagedError(message) from error
    sentences: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    width, first, n_comments = None, 0, 0
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r")
        parts = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        if not line.strip() or parts[0] == "-DOCSTART-":
            if sentences[-1]:
                sentences.append([])
                tags.append([])
            continue
        if not sentences[-1] and _COMMENT.match(line):
            n_comments += 1
            continue
        place = len(parts) - 1 if column is None else column
        if len(parts) < 2 or place >= len(parts) or not parts[0].strip() or not parts[place].strip():
            message = f"line {number} of {path} must hold a word and its tag in column {place or 1}; got {line!r:.200}."
            raise FileDamagedError(message)
        if column is None and width not in (None, len(parts)):
            message = f"line {number} of {path} has {len(parts)} columns where line {first} has {width}, so that the "
            message += f"last need not be the tag. Name its column: conll:{path}#{(width or 2) - 1}."
            raise FileDamagedError(message)
        if width is None:
            width, first = len(parts), number
        sentences[-1].append(parts[0])
        tags[-1].append(parts[place])
    if not sentences[-1]:  # the file may end in an empty line
        sentences.pop()
        tags.pop()
    _refuse_numbers(path, sentences)
    return sentences, tags, (f"{n_comments:,} comments are left out.",) if n_comments else ()


def _refuse_numbers(path: Path, sentences: list[list[str]]) -> None:
    """Refuse CoNLL-U, whose first column counts the words."""
    counted = [words for words in sentences if len(words) > 1]
    if counted and all(words[:2] in (["1", "2"], ["1-2", "1"]) for words in counted):
        message = (
            f"the first column of {path} counts the words (CoNLL-U); here it must hold the words. Cut the file to "
        )
        message += "the columns of words and tags: cut -f 2,4 FILE."
        raise FileDamagedError(message)
