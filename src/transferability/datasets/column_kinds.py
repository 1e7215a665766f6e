"""What the columns of a table may hold, by their Arrow types: a cell never becomes its Python repr."""

from __future__ import annotations

from typing import Any

from transferability.errors import DatasetError

__all__ = ["kind_of", "require_kinds"]

_NUMBERS = ("integers", "numbers", "booleans")
_ANSWERS = ("texts", "dates", *_NUMBERS)
_ALLOWED = {
    "text": ("texts", "dates", "integers", "numbers"),
    "image": ("texts", "bytes", "records"),
    "words": ("texts", "lists of texts"),
    "label": _ANSWERS,
    "tags": ("texts", *(f"lists of {kind}" for kind in _ANSWERS)),
    "target": ("texts", *_NUMBERS, *(f"lists of {kind}" for kind in ("texts", *_NUMBERS))),
}
_FIXES = {
    "text": "Convert it to texts, or name another column: text=COLUMN.",
    "image": "Pictures are paths, the bytes of a file, or records with `bytes` and `path`: image=COLUMN.",
    "words": "Words are a list of texts in each row, or a text that spaces divide: words=COLUMN.",
    "label": "Number or name the classes; for numbers to predict write target=COLUMN.",
    "tags": "Tags are a list in each row, one per word: tags=COLUMN.",
    "target": "Targets are numbers, or a list of as many numbers in each row: target=COLUMN.",
}


def kind_of(type_: Any) -> str:
    """Return what a column of an Arrow type holds, in a word or three."""
    from pyarrow import types

    if types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if isinstance(type_, __import__("pyarrow").BaseExtensionType):
        return kind_of(type_.storage_type)
    for kind, tests in (
        ("texts", (types.is_string, types.is_large_string, types.is_string_view)),
        ("bytes", (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)),
        ("booleans", (types.is_boolean,)),
        ("integers", (types.is_integer,)),
        ("numbers", (types.is_floating, types.is_decimal)),
        ("dates", (types.is_date, types.is_timestamp, types.is_time)),
        ("records", (types.is_struct, types.is_map)),
        ("nothing", (types.is_null,)),
    ):
        if any(test(type_) for test in tests):
            return kind
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return f"lists of {kind_of(type_.value_type)}"
    return f"values of type {type_}"


def require_kinds(role: str, column: str, kind: str, source: str) -> None:
    """Raise `DatasetError` unless a column can play a role; a column of nothing is for those who look at its rows."""
    if kind in _ALLOWED[role] or kind in ("nothing", "lists of nothing"):
        return
    message = f"column {column!r} of {source} must hold {_listed(_ALLOWED[role])} to be read as {role}; "
    message += f"it holds {kind}. {_FIXES[role]}"
    raise DatasetError(message)


def _listed(kinds: tuple[str, ...]) -> str:
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"
