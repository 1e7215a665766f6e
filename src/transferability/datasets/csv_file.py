"""CSV files as tables of texts: nothing is cast, and what is no CSV file in UTF-8 is called by its name."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from transferability.errors import FileDamagedError

__all__ = ["csv_line", "header_of", "read_csv"]

_HEAD = 1 << 16
_DELIMITERS = (";", "\t", "|")
_OTHER_FORMATS = (
    (b"PK\x03\x04", "an Excel workbook or another ZIP archive", "Save it as CSV UTF-8 (comma delimited)"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "Save it as CSV UTF-8 (comma delimited)"),
    (b"PAR1", "a Parquet file", "Write parquet:FILE"),
    (b"\xff\xfe", "text in UTF-16", "Save it as CSV UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "Save it as CSV UTF-8"),
    (b"\x1f\x8b", "compressed by gzip", "Unpack it, or let its name end in .gz"),
    (b"SQLite format 3", "an SQLite database", "Export the table as CSV"),
    (b"%PDF", "a PDF document", "Export the table as CSV"),
)


def read_csv(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return a CSV file with a header line as an Arrow table of strings, and notes.

    The separator is a tab for `.tsv`, else a comma; where the header has no comma, a semicolon, tab or bar that
    divides it.

    Raises
    ------
    FileDamagedError
        If it is no CSV file in UTF-8, saying what it is or where it breaks.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    try:
        delimiter, names = header_of(path)
        table = arrow_csv.read_csv(
            str(path),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
        table.column_names  # noqa: B018 - decodes them
        _refuse_open_quote(path, table)
    except FileDamagedError:
        raise
    except Exception as error:  # Arrow's errors, the disk's, those of a decompressor
        reason = " ".join(str(error).split())[:300].rstrip(".")
        message = f"file {path} is not a CSV file in UTF-8: {reason}. Repair it or export it again."
        raise FileDamagedError(message) from error
    if path.suffix.lower() == ".tsv" or delimiter == ",":
        return table, ()
    shown = {";": "semicolons", "\t": "tabs", "|": "bars"}[delimiter]
    return table, (f"columns of {path.name} are separated by {shown}.",)


def header_of(path: Path) -> tuple[str, list[str]]:
    """Return what separates the columns of a CSV file, and their names.

    Raises
    ------
    FileDamagedError
        If it is no CSV file in UTF-8.
    """
    import pyarrow as pa

    with pa.input_stream(str(path)) as stream:  # unpacks .gz, .bz2, .zst
        head = stream.read(_HEAD)
    for mark, what, fix in _OTHER_FORMATS:
        if head.startswith(mark):
            message = f"file {path} is not a CSV file in UTF-8: it is {what}. {fix}."
            raise FileDamagedError(message)
    if b"\0" in head:
        message = f"file {path} is not a CSV file in UTF-8: it holds zero bytes. Export it again as CSV UTF-8."
        raise FileDamagedError(message)
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) - error.start > 4 or len(head) < _HEAD:  # else the cut goes through a character
            line = head.count(b"\n", 0, error.start) + 1
            message = f"file {path} is not a CSV file in UTF-8: byte {head[error.start]:#04x} in line {line}, as in "
            message += "Latin-1 or Windows-1252. Save it as CSV UTF-8."
            raise FileDamagedError(message) from error
        text = head[: error.start].decode("utf-8-sig")
    if path.suffix.lower() == ".tsv" or path.stem.lower().endswith(".tsv"):
        return "\t", _fields(text, "\t")
    by_commas = _fields(text, ",")
    if len(by_commas) > 1:
        return ",", by_commas
    divided = {delimiter: _fields(text, delimiter) for delimiter in _DELIMITERS}
    best = max(divided, key=lambda delimiter: len(divided[delimiter]))
    return (best, divided[best]) if len(divided[best]) > 1 else (",", by_commas)


def csv_line(path: Path, row: int) -> int | None:
    """Return the line at which a row of a CSV file begins: the header is line 1, and texts may have line breaks."""
    import pyarrow as pa

    try:
        with pa.input_stream(str(path)) as stream:  # unpacks .gz, .bz2, .zst
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
            reader = csv.reader(text, delimiter=header_of(path)[0])
            position, begins = -1, 1  # the header is no row
            for cells in reader:
                if cells and position == row:
                    return begins
                position += bool(cells)  # empty lines are passed over
                begins = reader.line_num + 1
    except (OSError, csv.Error):
        pass
    return None


def _fields(text: str, delimiter: str) -> list[str]:
    return next((row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row), [])


def _refuse_open_quote(path: Path, table: Any) -> None:
    """Refuse a file whose last cell holds the rest of the file, because its quotation mark is never closed."""
    if not table.num_rows:
        return
    last = table.slice(table.num_rows - 1).to_pylist()[0]
    if not any(isinstance(cell, str) and "\n" in cell for cell in last.values()):
        return
    import pyarrow as pa

    n_marks = 0
    with pa.input_stream(str(path)) as stream:
        while block := stream.read(1 << 20):
            n_marks += block.count(b'"')
    if n_marks % 2:
        message = f"file {path} is not a CSV file in UTF-8: a quotation mark that opens in its last row, line "
        message += f"{csv_line(path, table.num_rows - 1)}, is never closed. Close it, or double it within a text."
        raise FileDamagedError(message)
