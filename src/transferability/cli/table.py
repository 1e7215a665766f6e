"""Tables of text for terminals of any width: headings wrap, names lose their middle, what does not fit goes below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from transferability.display.formats import elide

__all__ = ["lay_out"]

_GAP = 2
_SHORTEST = 16  # letters that are left of a name


def lay_out(
    columns: Sequence[str], rows: Sequence[Sequence[str]], to_left: Sequence[bool], width: int | None = None
) -> list[list[str]]:
    """Return the lines of a table in blocks, each block the lines of its heading and one line for each row.

    Parameters
    ----------
    columns : sequence of str
        Headings.
    rows : sequence of sequence of str
    to_left : sequence of bool
        Whether a column is text: set to the left, and shortened in its middle where there is no room.
    width : int, optional
        Letters in a line; as many as it needs by default. Columns that do not fit stand in a further block, beside the
        first ones up to the first column of text.
    """
    widths = [max(map(cell_len, [column, *(row[k] for row in rows)])) for k, column in enumerate(columns)]
    if width is None or _total(widths) <= width:
        return [_lines(columns, rows, to_left, widths, list(range(len(columns))))]
    for k, column in enumerate(columns):
        longest_word = max(map(cell_len, column.split()), default=0)
        widths[k] = max([longest_word, *(cell_len(row[k]) for row in rows)])
    if _total(widths) > width:
        _shorten(widths, to_left, width)
    blocks = _blocks(widths, to_left, width)
    return [_lines(columns, rows, to_left, widths, block) for block in blocks]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _shorten(widths: list[int], to_left: Sequence[bool], width: int) -> None:
    """Take letters from the longest columns of text until the table fits or none can give any."""
    while (excess := _total(widths) - width) > 0:
        texts = sorted((widths[k], k) for k in range(len(widths)) if to_left[k] and widths[k] > _SHORTEST)
        if not texts:
            return
        longest, k = texts[-1]
        second = texts[-2][0] if len(texts) > 1 else _SHORTEST
        widths[k] = max(_SHORTEST, longest - min(excess, max(1, longest - second)))


def _blocks(widths: Sequence[int], to_left: Sequence[bool], width: int) -> list[list[int]]:
    """Return the columns of each block; the names of the rows stand in all of them."""
    names = list(range(next((k for k, text in enumerate(to_left) if text), 0) + 1))
    blocks = [list(names)]
    for k in range(len(names), len(widths)):
        if len(blocks[-1]) > len(names) and _total([widths[each] for each in [*blocks[-1], k]]) > width:
            blocks.append(list(names))
        blocks[-1].append(k)
    return blocks


def _lines(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    to_left: Sequence[bool],
    widths: Sequence[int],
    block: Sequence[int],
) -> list[str]:
    headings = [_wrapped(columns[k], widths[k]) for k in block]
    height = max(map(len, headings))
    heads = [[""] * (height - len(lines)) + lines for lines in headings]
    texts = [[lines[line] for lines in heads] for line in range(height)]
    texts += [[_fitted(row[k], widths[k]) for k in block] for row in rows]
    return [
        (" " * _GAP)
        .join(_padded(text, widths[k], to_left=to_left[k]) for text, k in zip(line, block, strict=True))
        .rstrip()
        for line in texts
    ]


def _wrapped(heading: str, width: int) -> list[str]:
    lines = [""]
    for word in heading.split():
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
    return [_fitted(line, width) for line in lines]


def _fitted(text: str, width: int) -> str:
    shown, length = text, width
    while cell_len(shown) > width and length > 1:  # letters may be two cells wide
        shown = elide(text, length)
        length -= 1
    return shown


def _padded(text: str, width: int, *, to_left: bool) -> str:
    space = " " * (width - cell_len(text))
    return text + space if to_left else space + text
